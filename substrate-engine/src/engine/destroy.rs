//! Removing a deployment, or a part of it.

use super::deploy::release;
use super::{Engine, EngineError};
use crate::journal::Purpose;
use crate::model::Name;
use crate::run::{Report, RunOptions};
use crate::validation::Desired;

impl Engine {
    /// Removes what was deployed, in the reverse of the order of dependencies, or what the selector of the options
    /// chooses of it. `documents` may be given for the secrets of directives that run before a removal.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when something of it is protected, and those of [`deploy`](Self::deploy).
    pub async fn destroy(
        &self,
        deployments: &[Name],
        documents: Option<&Desired>,
        options: &RunOptions,
    ) -> std::result::Result<Report, EngineError> {
        let journals = self.acquire(deployments).await?;
        let nothing = Desired::nothing(deployments.to_vec());
        let report = self.run(&nothing, &journals, &|_| Purpose::Destroy, documents, options).await;
        release(journals).await;
        report
    }
}

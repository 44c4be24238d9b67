//! What is no longer as it was deployed.

use std::fmt;

use serde::Serialize;

use super::{Engine, EngineError, identities, merged};
use crate::model::{Name, ResourceId};
use crate::plan::{Cause, StepAction};

use super::Selector;

/// A resource that is not as it was deployed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Drift {
    /// Which one.
    pub resource: ResourceId,
    /// Its facility.
    pub facility: Option<String>,
    /// In what, at least one thing.
    pub causes: Vec<Cause>,
    /// What would mend it.
    pub mended_by: StepAction,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes: Vec<String> = self.causes.iter().map(ToString::to_string).collect();
        write!(f, "{}: {} ({} mends it)", self.resource, causes.join("; "), self.mended_by)
    }
}

impl Engine {
    /// What somebody changed behind the engine's back, and what an interrupted run left unfinished. It compares with
    /// what was deployed last: documents are not needed, and changes in them are no drift.
    ///
    /// # Errors
    /// [`EngineError::Refused`] where something cannot be looked at or belongs to others now; those of
    /// [`state`](Self::state).
    pub async fn drift(&self, deployments: &[Name], selector: &Selector) -> Result<Vec<Drift>, EngineError> {
        let states = self.states(deployments).await?;
        let recorded = merged(&states);
        let as_deployed = self.desired_from(recorded.known(), None, deployments.to_vec())?;
        let look = self.look_and_plan(&as_deployed, &recorded, identities(&states), selector).await?;
        let drifts = look.plan.steps.into_iter().map(|step| Drift {
            resource: step.resource,
            facility: step.facility.map(|facility| facility.to_string()),
            causes: step.causes,
            mended_by: step.action,
        });
        Ok(drifts.collect())
    }
}

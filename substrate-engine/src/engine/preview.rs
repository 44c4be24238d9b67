//! What removing or rolling back would do: a look before it is asked for.

use super::rollback::last_run_of;
use super::{Engine, EngineError, RollbackOptions, Selector, identities, merged};
use crate::model::Name;
use crate::plan::Plan;
use crate::validation::Desired;

impl Engine {
    /// What [`destroy`](Self::destroy) would do. Changes nothing and locks nothing.
    ///
    /// # Errors
    /// Those of [`plan`](Self::plan).
    pub async fn plan_destroy(
        &self,
        deployments: &[Name],
        selector: &Selector,
    ) -> std::result::Result<Plan, EngineError> {
        self.plan(&Desired::nothing(deployments.to_vec()), selector).await
    }

    /// What [`rollback`](Self::rollback) would do. Changes nothing and locks nothing.
    ///
    /// # Errors
    /// Those of [`plan`](Self::plan), and [`NotFound`](substrate_core::ErrorKind::NotFound) when there was no such run.
    pub async fn plan_rollback(
        &self,
        deployments: &[Name],
        target: &RollbackOptions<'_>,
        selector: &Selector,
    ) -> std::result::Result<Plan, EngineError> {
        let states = self.states(deployments).await?;
        let before = |name: &Name| Some(target.before.unwrap_or_else(|| last_run_of(&states, name)));
        let desired = self.desired_before(&states, &before, target.documents).await?;
        let mut recorded = merged(&states);
        // As the rollback itself: what a run protected must be removable when that run is undone.
        recorded.lift_protection();
        Ok(self.look_and_plan(&desired, &recorded, identities(&states), selector).await?.plan)
    }
}

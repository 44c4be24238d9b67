//! Deploying: look, plan, carry out.

use std::collections::HashMap;
use std::time::SystemTime;

use futures_util::future::try_join_all;
use substrate_core::{Error, Result};

use super::world::World;
use super::{Engine, EngineError, Selector, identities, merged};
use crate::journal::{Journal, JournalState, Purpose, Record};
use crate::model::{Name, ResourceId};
use crate::plan::{Observed, Plan, Recorded, plan};
use crate::run::{Report, RunOptions, Running};
use crate::validation::Desired;

/// A plan and what it was made from.
pub(crate) struct Look {
    pub(crate) plan: Plan,
    pub(crate) observed: Observed,
}

impl Engine {
    /// Brings about what is desired.
    ///
    /// What was begun by a run that was killed is made up for first. Twice is the same as once: the second time there
    /// is nothing to do. Dropping the future is like killing the process; to stop in order, cancel the token of the
    /// options.
    ///
    /// # Errors
    /// Only what kept it from beginning: [`EngineError::Refused`] when there is no plan, [`EngineError::Failed`] with
    /// [`Conflict`](substrate_core::ErrorKind::Conflict) when another engine is at work on the deployment, or when the
    /// journal does not answer. What goes wrong afterwards is in the report.
    pub async fn deploy(
        &self,
        desired: &Desired,
        options: &RunOptions,
    ) -> std::result::Result<Report, EngineError> {
        let journals = self.acquire(desired.blueprints()).await?;
        let runs_before: HashMap<Name, u64> =
            states_of(&journals).into_iter().map(|(name, state)| (name, state.last_run())).collect();
        let report = self.run(desired, &journals, &|_| Purpose::Deploy, None, options).await;
        let report = match report {
            Ok(report)
                if !report.is_done() && options.rollback_on_failure && !options.cancel.is_cancelled() =>
            {
                self.undo_last(desired, &journals, &runs_before, report, options).await
            }
            other => other,
        };
        release(journals).await;
        report
    }

    /// Looks and plans against what the journals say, and carries out what there is to do.
    pub(crate) async fn run(
        &self,
        desired: &Desired,
        journals: &HashMap<Name, Journal>,
        purpose: &(dyn Fn(&Name) -> Purpose + Sync),
        documents: Option<&Desired>,
        options: &RunOptions,
    ) -> std::result::Result<Report, EngineError> {
        let states = states_of(journals);
        let mut recorded = merged(&states);
        // What a run protected while it made it must be removable when that run is undone.
        let undoes = journals.keys().any(|name| matches!(purpose(name), Purpose::Rollback { .. }));
        if undoes {
            recorded.lift_protection();
        }
        let look = self.look_and_plan(desired, &recorded, identities(&states), &options.selector).await?;
        if look.plan.is_empty() {
            let mut report = Report::new();
            report.unchanged = look.plan.kept.len();
            report.conclude(false, None);
            return Ok(report);
        }
        let mut steps: HashMap<&Name, usize> = HashMap::new();
        for step in &look.plan.steps {
            *steps.entry(&step.resource.blueprint).or_default() += 1;
        }
        // The number of a run belongs to a deployment: those that have nothing to do have no run.
        let taking_part: Vec<(&Name, &Journal, usize)> =
            journals.iter().filter_map(|(name, journal)| Some((name, journal, *steps.get(name)?))).collect();
        try_join_all(taking_part.iter().map(|(name, journal, steps)| {
            let run = journal.with_state(JournalState::last_run).saturating_add(1);
            let purpose = purpose(name);
            journal.append(Record::Began { run, purpose, steps: *steps, at: SystemTime::now() })
        }))
        .await?;
        let world = World::new(self, desired, &recorded, identities(&states)).with_documents(documents);
        let running = Running::new(&world, &look.observed, journals, options, undoes, look.plan.steps.len());
        let (report, lost) = running.carry_out(&look.plan).await;
        if lost.is_none() {
            let status = report.status;
            try_join_all(taking_part.iter().map(|(_, journal, _)| journal.append(Record::Ended { status })))
                .await?;
        }
        Ok(report)
    }

    pub(crate) async fn look_and_plan(
        &self,
        desired: &Desired,
        recorded: &Recorded,
        identities: HashMap<Name, String>,
        selector: &Selector,
    ) -> std::result::Result<Look, EngineError> {
        let world = World::new(self, desired, recorded, identities);
        let observed = world.observe().await;
        let plan = plan(desired, recorded, &observed)?;
        let plan = self.narrowed(plan, desired, recorded, selector);
        Ok(Look { plan, observed })
    }

    /// Becomes the owner of the journals of all blueprints; of none, when one of them has another owner.
    pub(crate) async fn acquire(&self, blueprints: &[Name]) -> Result<HashMap<Name, Journal>> {
        // In one order for everybody: two engines that want the same ones do not end up with half of them each.
        let mut names: Vec<&Name> = blueprints.iter().collect();
        names.sort_unstable();
        names.dedup();
        let mut journals = HashMap::with_capacity(names.len());
        for name in names {
            match Journal::acquire(&self.journals, name.as_str(), self.settings.lease).await {
                Ok(journal) => drop(journals.insert(name.clone(), journal)),
                Err(error) => {
                    release(journals).await;
                    return Err(error);
                }
            }
        }
        Ok(journals)
    }

    /// The plan without what does not take part: what the selector leaves out, what is for another environment, what
    /// is only done when it is named.
    fn narrowed(&self, plan: Plan, desired: &Desired, recorded: &Recorded, selector: &Selector) -> Plan {
        let environment = self.settings.environment.as_deref();
        plan.retaining(|step| {
            let id = &step.resource;
            let takes_part = match desired.get(id) {
                Some(resource) => {
                    let rules = &resource.declaration.rules;
                    rules.is_for(environment) && (!rules.skip_apply_all || selector.names(id))
                }
                None => recorded
                    .get(id)
                    .or_else(|| recorded.unfinished(id))
                    .is_none_or(|record| !record.skip_delete_all || selector.names(id)),
            };
            takes_part && selector.matches(id, step.facility.as_deref(), &labels_of(id, desired))
        })
    }
}

fn labels_of<'a>(id: &ResourceId, desired: &'a Desired) -> Vec<(&'a str, &'a str)> {
    let labels = desired
        .get(id)
        .and_then(|resource| resource.interpreted.interpretation.properties.get("labels")?.as_object());
    labels.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

/// Gives everything free. One that cannot be written to is free after its lease.
pub(crate) async fn release(journals: HashMap<Name, Journal>) {
    for (_, journal) in journals {
        let _: std::result::Result<(), Error> = journal.release().await;
    }
}

pub(crate) fn states_of(journals: &HashMap<Name, Journal>) -> HashMap<Name, JournalState> {
    journals.iter().map(|(name, journal)| (name.clone(), journal.with_state(Clone::clone))).collect()
}

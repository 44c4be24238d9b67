//! Going back to what was before a run.

use std::collections::HashMap;
use std::sync::Arc;

use substrate_core::{Error, Result};

use super::deploy::{release, states_of};
use super::{Engine, EngineError};
use crate::handler::Interpretation;
use crate::journal::{Journal, JournalState, Purpose};
use crate::model::{Lifecycle, Name, Part, Reference, Resource, ResourceId, Template};
use crate::plan::{Recorded, RecordedResource, uses_of};
use crate::run::{Report, RunOptions};
use crate::validation::{Desired, DesiredResource, Interpreted};

/// To where a rollback goes.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct RollbackOptions<'a> {
    /// Back to what was before this run of each deployment; before its last one unless it is given.
    pub before: Option<u64>,
    /// Documents that know the secrets of what has to be made again: the journal holds none.
    pub documents: Option<&'a Desired>,
}

impl<'a> RollbackOptions<'a> {
    /// Goes back to before a run, counted from 1.
    #[must_use]
    pub fn before_run(mut self, run: u64) -> Self {
        self.before = Some(run);
        self
    }

    /// Takes secrets from documents.
    #[must_use]
    pub fn with_documents(mut self, documents: &'a Desired) -> Self {
        self.documents = Some(documents);
        self
    }
}

impl Engine {
    /// Brings back what was before a run: what it made is removed, what it changed is changed back, what it removed is
    /// made again. What is as it was is not touched. It is a run like any other: it can be killed and run again, and
    /// rolled back itself.
    ///
    /// What a removal destroyed stays destroyed: a volume that is made again is empty.
    ///
    /// # Errors
    /// [`EngineError::Failed`] with [`NotFound`](substrate_core::ErrorKind::NotFound) when there was no such run, and
    /// those of [`deploy`](Self::deploy). A step that cannot be undone is in the report, as *stuck* and with what to do.
    pub async fn rollback(
        &self,
        deployments: &[Name],
        target: &RollbackOptions<'_>,
        options: &RunOptions,
    ) -> std::result::Result<Report, EngineError> {
        let journals = self.acquire(deployments).await?;
        let states = states_of(&journals);
        let before = |name: &Name| Some(target.before.unwrap_or_else(|| last_run_of(&states, name)));
        let report = self.roll_back(&journals, &before, target.documents, options).await;
        release(journals).await;
        report
    }

    /// Undoes the run that failed where there was one, and adds what came of it to the report. A deployment that had
    /// nothing to do keeps its earlier runs.
    pub(super) async fn undo_last(
        &self,
        desired: &Desired,
        journals: &HashMap<Name, Journal>,
        runs_before: &HashMap<Name, u64>,
        mut failed: Report,
        options: &RunOptions,
    ) -> std::result::Result<Report, EngineError> {
        let target = RollbackOptions::default().with_documents(desired);
        let states = states_of(journals);
        let begun = |name: &Name| {
            let last = last_run_of(&states, name);
            (runs_before.get(name).copied().unwrap_or(0) < last).then_some(last)
        };
        let undone = self.roll_back(journals, &begun, target.documents, options).await?;
        failed.message = match undone.is_done() {
            true => format!("{}; everything is as it was before", failed.message_of_failure()),
            false => format!("{}; rolling back failed too: {}", failed.message_of_failure(), undone.message),
        };
        failed.rollback = Some(Box::new(undone));
        Ok(failed)
    }

    /// `before` says for each deployment before which run it goes back; `None` leaves it as it is.
    async fn roll_back(
        &self,
        journals: &HashMap<Name, Journal>,
        before: &(dyn Fn(&Name) -> Option<u64> + Sync),
        documents: Option<&Desired>,
        options: &RunOptions,
    ) -> std::result::Result<Report, EngineError> {
        let states = states_of(journals);
        let desired = self.desired_before(&states, before, documents).await?;
        let purpose = |name: &Name| Purpose::Rollback { before: before(name).unwrap_or_default() };
        self.run(&desired, journals, &purpose, documents, options).await
    }

    /// What was before a run of each deployment.
    pub(super) async fn desired_before(
        &self,
        states: &HashMap<Name, JournalState>,
        before: &(dyn Fn(&Name) -> Option<u64> + Sync),
        documents: Option<&Desired>,
    ) -> Result<Desired> {
        let mut recorded = Recorded::default();
        for (name, state) in states {
            match before(name) {
                None => recorded.merge(state.recorded.clone()),
                Some(0) => return Err(Error::not_found(format!("nothing was ever deployed of `{name}`"))),
                Some(run) => recorded.merge(self.journals.state_before(name.as_str(), run).await?.recorded),
            }
        }
        self.desired_from(recorded.iter(), documents, states.keys().cloned().collect())
    }

    /// What was recorded, as what shall be.
    pub(crate) fn desired_from<'r>(
        &self,
        records: impl Iterator<Item = (&'r ResourceId, &'r Arc<RecordedResource>)>,
        documents: Option<&Desired>,
        blueprints: Vec<Name>,
    ) -> Result<Desired> {
        let resources = records.map(|(id, record)| {
            let handler =
                self.rules.handlers.find(&record.kind, record.version).map_err(Error::invalid_input)?;
            let (properties, unknown_secrets) =
                record.canonical.to_value(|path, digest| documents?.secret(id, path, digest));
            let uses = record.uses.iter().filter_map(|(property, reference)| {
                match Template::parse(&format!("${{{reference}}}")).ok()??.single()? {
                    Part::Reference(reference) => Some((property.clone(), reference.clone())),
                    _ => None,
                }
            });
            let interpretation = Interpretation { uses: uses.collect(), ..Interpretation::new(properties) };
            let declaration = Resource {
                version: record.version,
                references: references_in(&interpretation),
                lifecycle: Lifecycle { protect: record.protect, ..Lifecycle::default() },
                ..Resource::new(id.name.clone(), record.kind.as_str())
            };
            Ok(DesiredResource {
                id: id.clone(),
                declaration: Arc::new(declaration),
                interpreted: Arc::new(Interpreted {
                    handler: handler.clone(),
                    interpretation,
                    directives: Vec::new(),
                    facility: record.facility.as_deref().map(Arc::from),
                    canonical: record.canonical.clone(),
                    unknown_secrets,
                    own_specs: None,
                }),
                dependencies: record.dependencies.iter().cloned().collect(),
                delete_dependencies: record.delete_dependencies.as_deref().map(Arc::from),
            })
        });
        let resources = resources.collect::<Result<Vec<_>>>()?;
        Desired::new(resources, blueprints)
            .ok_or_else(|| Error::internal("the journal holds dependencies that go in a circle"))
    }

    /// What the journal of a deployment says: what was deployed and begun, its runs, and who is at work on it.
    ///
    /// # Errors
    /// Those of [`JournalStore::state`](crate::JournalStore::state).
    pub async fn state(&self, deployment: &Name) -> Result<JournalState> {
        self.journals.state(deployment.as_str()).await
    }
}

pub(super) fn last_run_of(states: &HashMap<Name, JournalState>, name: &Name) -> u64 {
    states.get(name).map_or(0, JournalState::last_run)
}

fn references_in(interpretation: &Interpretation) -> Vec<Reference> {
    let mut uses = Vec::new();
    uses_of("", &interpretation.properties, &mut uses);
    uses.into_iter().map(|(_, reference)| reference).collect()
}

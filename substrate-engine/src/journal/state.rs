//! What a journal adds up to: the one place that says which record may follow which.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::owner::Owner;
use super::record::{Purpose, Record, RunStatus};
use crate::model::ResourceId;
use crate::plan::{Recorded, RecordedResource, StepAction};

/// How records are read that this program writes.
pub(super) const FORMAT: u32 = 1;
/// Of more runs than this only the last ones are listed.
const MOST_RUNS: usize = 100;

/// A deployment as its journal tells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JournalState {
    /// What its resources are marked with; empty before the first record.
    pub identity: String,
    /// Who writes, until it is released.
    pub owner: Option<Owner>,
    /// What was deployed, and what was begun.
    pub recorded: Recorded,
    /// Its last runs, oldest first.
    pub runs: Vec<Run>,
    /// The steps that were begun and not finished.
    pending: BTreeMap<ResourceId, Pending>,
}

/// A step that was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) action: StepAction,
    /// What the resource shall be afterwards.
    pub(crate) next: Option<Arc<RecordedResource>>,
    /// Directives of it that were done.
    pub(crate) directives: BTreeSet<usize>,
}

/// A run of the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Run {
    /// Its number, from 1.
    pub number: u64,
    /// What it was for.
    pub purpose: Purpose,
    /// How many steps it had.
    pub steps: usize,
    /// When it began, by the clock of the machine that it ran on.
    pub at: SystemTime,
    /// How it ended; `None` while it runs, and for ever when it was killed.
    pub status: Option<RunStatus>,
    /// What failed in it, and why.
    pub failures: BTreeMap<ResourceId, String>,
}

/// A record that cannot follow what was before it: the journal was damaged, or written by another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IllegalRecord(String);

impl fmt::Display for IllegalRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IllegalRecord {}

impl JournalState {
    /// The number of the last run; 0 before the first.
    #[must_use]
    pub fn last_run(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.number)
    }

    pub(crate) fn pending(&self, id: &ResourceId) -> Option<&Pending> {
        self.pending.get(id)
    }

    /// Adds a record: the one function of legal transitions, for what is written and for what is read back.
    ///
    /// # Errors
    /// The record cannot follow; the state is as it was.
    pub fn apply(&mut self, record: &Record) -> Result<(), IllegalRecord> {
        let illegal = |why: &str| Err(IllegalRecord(why.to_owned()));
        match record {
            Record::Founded { .. } if !self.identity.is_empty() => return illegal("it is founded twice"),
            Record::Founded { format, .. } if *format != FORMAT => {
                return Err(IllegalRecord(format!(
                    "it has format {format}, and this program knows {FORMAT}: use the version that wrote it"
                )));
            }
            Record::Founded { identity, .. } => self.identity.clone_from(identity),
            _ if self.identity.is_empty() => return illegal("its first record is missing"),
            // Whoever comes next in the log is the owner: the store takes each number once.
            Record::Acquired { owner } => self.owner = Some(owner.clone()),
            _ if self.owner.is_none() => return illegal("something was written that nobody owned"),
            Record::Renewed => {}
            Record::Released => self.owner = None,
            Record::Began { run, purpose, steps, at } => {
                if Some(*run) != self.last_run().checked_add(1) {
                    return illegal("the runs are not in order");
                }
                if self.runs.len() == MOST_RUNS {
                    self.runs.remove(0);
                }
                self.runs.push(Run {
                    number: *run,
                    purpose: *purpose,
                    steps: *steps,
                    at: *at,
                    status: None,
                    failures: BTreeMap::new(),
                });
            }
            Record::Intended { resource, action, next } => {
                if self.running().is_none() {
                    return illegal("a step was taken outside of a run");
                }
                // A step of an earlier run that was interrupted is replaced by the one that makes up for it.
                let directives = match self.pending.remove(resource) {
                    Some(before) if same_creation(before.next.as_deref(), next.as_deref()) => {
                        before.directives
                    }
                    _ => BTreeSet::new(),
                };
                if let Some(next) = next.clone().or_else(|| self.recorded.get(resource).cloned()) {
                    self.recorded.begin(resource.clone(), next);
                }
                let pending = Pending { action: *action, next: next.clone(), directives };
                self.pending.insert(resource.clone(), pending);
            }
            Record::Progressed { resource, directive } => match self.pending.get_mut(resource) {
                Some(pending) => drop(pending.directives.insert(*directive)),
                None => return illegal("a step went on that was never begun"),
            },
            Record::Finished { resource, made } => {
                let Some(pending) = self.pending.get(resource) else {
                    return illegal("a step was finished that was never begun");
                };
                match (&pending.next, made) {
                    (Some(next), Some(made)) => {
                        let mut state = RecordedResource::clone(next);
                        state.identity.clone_from(&made.identity);
                        state.reported.clone_from(&made.reported);
                        state.outputs.clone_from(&made.outputs);
                        self.recorded.insert(resource.clone(), state);
                    }
                    (None, None) => drop(self.recorded.remove(resource)),
                    _ => return illegal("a step ended as something else than it was begun for"),
                }
                self.pending.remove(resource);
            }
            Record::Failed { resource, reason } => {
                if !self.pending.contains_key(resource) {
                    return illegal("a step failed that was never begun");
                }
                if let Some(run) = self.runs.last_mut() {
                    run.failures.insert(resource.clone(), reason.clone());
                }
            }
            Record::Ended { status } => match self.runs.last_mut().filter(|run| run.status.is_none()) {
                Some(run) => run.status = Some(*status),
                None => return illegal("a run ended that was never begun"),
            },
        }
        Ok(())
    }

    fn running(&self) -> Option<&Run> {
        self.runs.last().filter(|run| run.status.is_none())
    }
}

/// Whether two intents are about one creation, so that what was done to it counts.
fn same_creation(before: Option<&RecordedResource>, now: Option<&RecordedResource>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before.key == now.key && before.canonical == now.canonical,
        _ => false,
    }
}

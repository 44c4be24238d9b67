//! What came of a run.

use std::fmt;

use serde::Serialize;
use substrate_core::Error;

use super::timeline::Timeline;
use crate::journal::RunStatus;
use crate::model::ResourceId;
use crate::plan::StepAction;

/// What came of a run: what was done, what failed and why, and what to do next.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// How it ended.
    pub status: RunStatus,
    /// The same in a sentence, with what to do next.
    pub message: String,
    /// What was made.
    pub created: Vec<ResourceId>,
    /// What was changed where it is.
    pub updated: Vec<ResourceId>,
    /// What was made anew.
    pub replaced: Vec<ResourceId>,
    /// What was removed.
    pub deleted: Vec<ResourceId>,
    /// How many stayed as they were.
    pub unchanged: usize,
    /// What went wrong.
    pub failed: Vec<Failure>,
    /// What was not begun, and why.
    pub skipped: Vec<Skipped>,
    /// What came of undoing it, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Box<Report>>,
    /// Who waited for whom.
    #[serde(skip)]
    pub timeline: Timeline,
}

/// A step that went wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// Of which resource.
    pub resource: ResourceId,
    /// What was to be done.
    pub action: StepAction,
    /// Why it was not, in one line.
    pub reason: String,
    /// For an undoing that cannot succeed by being tried again: what has to be done by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
}

/// A step that was not begun.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// Of which resource.
    pub resource: ResourceId,
    /// Why.
    pub reason: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            status: RunStatus::Done,
            message: String::new(),
            created: Vec::new(),
            updated: Vec::new(),
            replaced: Vec::new(),
            deleted: Vec::new(),
            unchanged: 0,
            failed: Vec::new(),
            skipped: Vec::new(),
            rollback: None,
            timeline: Timeline::default(),
        }
    }

    /// Whether everything was done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.status == RunStatus::Done
    }

    /// How many steps were done.
    #[must_use]
    pub fn steps_done(&self) -> usize {
        self.created.len() + self.updated.len() + self.replaced.len() + self.deleted.len()
    }

    /// What failed, in a few words.
    pub(crate) fn message_of_failure(&self) -> String {
        format!("{} failed, {} not begun", self.failed.len(), self.skipped.len())
    }

    pub(crate) fn add_done(&mut self, action: StepAction, resource: ResourceId) {
        let list = match action {
            StepAction::Create => &mut self.created,
            StepAction::Update => &mut self.updated,
            StepAction::Replace | StepAction::ReplaceCreateFirst => &mut self.replaced,
            StepAction::Delete => &mut self.deleted,
            StepAction::Keep => return,
        };
        list.push(resource);
    }

    /// Puts the sentence and the status in, and everything in the order of ids.
    pub(crate) fn conclude(&mut self, cancelled: bool, lost: Option<&Error>) {
        let lists = [&mut self.created, &mut self.updated, &mut self.replaced, &mut self.deleted];
        lists.into_iter().for_each(|list| list.sort_unstable());
        self.failed.sort_by(|left, right| left.resource.cmp(&right.resource));
        self.skipped.sort_by(|left, right| left.resource.cmp(&right.resource));
        self.status = match (lost, cancelled, self.failed.is_empty()) {
            (Some(_), ..) | (None, _, false) => RunStatus::Failed,
            (None, true, true) if !self.skipped.is_empty() => RunStatus::Cancelled,
            _ => RunStatus::Done,
        };
        let counts = format!(
            "{} created, {} updated, {} replaced, {} deleted, {} unchanged",
            self.created.len(),
            self.updated.len(),
            self.replaced.len(),
            self.deleted.len(),
            self.unchanged
        );
        self.message = match (self.status, lost) {
            (RunStatus::Done, _) => counts,
            (_, Some(error)) => {
                format!("the journal cannot be written any more, so nothing more is done: {error}")
            }
            (RunStatus::Failed, _) => format!(
                "{counts}, {} failed, {} not begun: mend the cause and run the same again, or roll back",
                self.failed.len(),
                self.skipped.len()
            ),
            (RunStatus::Cancelled, _) => format!(
                "stopped when asked to: {counts}, {} not begun: run the same again to go on, or roll back",
                self.skipped.len()
            ),
        };
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("created", &self.created),
            ("updated", &self.updated),
            ("replaced", &self.replaced),
            ("deleted", &self.deleted),
        ];
        for (word, list) in lists {
            for resource in list {
                writeln!(f, "{word} {resource}")?;
            }
        }
        for failure in &self.failed {
            writeln!(f, "failed to {} {}: {}", failure.action, failure.resource, failure.reason)?;
            if let Some(advice) = &failure.stuck {
                writeln!(f, "      stuck: {advice}")?;
            }
        }
        for skipped in &self.skipped {
            writeln!(f, "not begun {}: {}", skipped.resource, skipped.reason)?;
        }
        if let Some(undone) = &self.rollback {
            writeln!(f, "rolled back:\n{undone}")?;
        }
        writeln!(f, "{}: {}.", self.status, self.message)
    }
}

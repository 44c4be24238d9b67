//! What a run tells while it goes on.

use std::fmt;

use crate::model::ResourceId;
use crate::plan::StepAction;

/// Hears of every step as it goes on. Called in the middle of the run: it must not block.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn on_event(&self, event: &ProgressEvent<'_>);
}

impl<F: Fn(&ProgressEvent<'_>) + Send + Sync> Progress for F {
    fn on_event(&self, event: &ProgressEvent<'_>) {
        self(event);
    }
}

/// A step that went on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgressEvent<'a> {
    /// Of which resource.
    pub resource: &'a ResourceId,
    /// What is done.
    pub action: StepAction,
    /// How far it is.
    pub stage: Stage,
    /// How many steps have ended, this one counted if it has.
    pub ended: usize,
    /// How many steps there are.
    pub steps: usize,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// It was begun.
    Started,
    /// It is made; until it is ready, what depends on it waits.
    WaitsForReadiness,
    /// It is done.
    Done,
    /// It went wrong.
    Failed(String),
    /// It was not begun.
    Skipped(String),
}

impl fmt::Display for ProgressEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}/{}] {} {}: ", self.ended, self.steps, self.action, self.resource)?;
        match &self.stage {
            Stage::Started => f.write_str("started"),
            Stage::WaitsForReadiness => f.write_str("waits until it is ready"),
            Stage::Done => f.write_str("done"),
            Stage::Failed(reason) => write!(f, "failed: {reason}"),
            Stage::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

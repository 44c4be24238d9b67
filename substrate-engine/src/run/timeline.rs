//! Who waited for whom, and what took how long.

use std::time::Duration;

use serde::Serialize;

use crate::model::ResourceId;
use crate::plan::StepAction;

/// The steps of a run in the order in which they began. All times are counted from the beginning of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Timeline {
    /// The steps that were begun.
    pub spans: Vec<Span>,
    /// How long all of it took.
    pub total: Duration,
}

/// One step in time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// The resource.
    pub resource: ResourceId,
    /// What was done.
    pub action: StepAction,
    /// Where.
    pub facility: Option<String>,
    /// What it waited for last; `None` when it waited for nothing.
    pub after: Option<ResourceId>,
    /// When all that it waited for was done.
    pub ready: Duration,
    /// When a place on the facility was free, and it began.
    pub began: Duration,
    /// When it was made, and waiting for readiness began.
    pub made: Option<Duration>,
    /// When it ended.
    pub ended: Duration,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

//! Plans: what has to be done, in which order, and why – worked out without touching anything.

mod build;
mod canonical;
mod decide;
mod order;
mod render;
mod state;
mod step;

pub use build::{PlanError, Refusal, plan};
pub use canonical::{Canonical, CanonicalVersion, Property};
pub use state::{Observation, Observed, Ownership, Recorded, RecordedResource};
pub use step::{Cause, Gate, Plan, Prerequisite, Step, StepAction, Summary};

//! Plans: what has to be done, in which order, and why – worked out without touching anything.

mod build;
mod canonical;
mod decide;
pub(crate) mod inputs;
mod order;
mod render;
mod state;
mod step;

pub use build::{PlanError, Refusal, plan};
pub use canonical::{Canonical, CanonicalVersion, Property};
pub(crate) use canonical::{digest_of, keys_of};
pub(crate) use decide::uses_of;
pub use state::{Observation, Observed, Ownership, Present, Recorded, RecordedResource};
pub use step::{Cause, Gate, Plan, Prerequisite, Step, StepAction, Summary};

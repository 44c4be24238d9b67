//! The suite that certifies a provider of the [`Substrate`](substrate_core::Substrate) contract.
//!
//! Each rule of the contract is a trial, named by the rule, and chosen by what the substrate declares, in
//! both directions: what is declared works, what is not declared is refused without side effect. A run uses
//! names of its own, removes what it made, and finds what was left behind.
//!
//! A provider's test is a file that calls [`certify!`], with this in `Cargo.toml`:
//!
//! ```toml
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//!
//! The same from a program, here for one rule:
//!
//! ```
//! use std::sync::Arc;
//! use substrate_conformance::{Guest, Setup, Suite};
//! use substrate_fake::Fake;
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let substrate = Arc::new(Fake::new("lab"));
//! let setup = Setup::new(substrate, "busybox:local", Guest::fake());
//! let report = Suite::new(setup).only(["starting_twice_is_success_and_one_start"]).run().await;
//! assert!(report.passed(), "{report}");
//! # });
//! ```
//!
//! # What the suite asks where the contract says little
//!
//! * Label values come back exactly, whatever text they are.
//! * `Force` and `GracefulThenForce` stop a paused instance too.
//! * A call that is refused says so in its outcome: not found, conflict and the like are never `Unknown`.
//! * An option that nobody has is `InvalidInput` or `Unsupported`, for instances, networks and volumes.
//! * An attachment that failed does not show on the instance.
//! * Of callers that make one name at once, exactly one succeeds; the others get `AlreadyExists`.
//! * A start and a stop at once may be in each other's way (`Conflict`, `Busy`), but settle.
//! * After a dropped restore the next restore succeeds, and nothing of the dropped one stays.
//! * A command ends with its own exit, though a child that it left behind holds its output open.
//! * A terminal may get its size a moment after its command began.
//! * No more than the last zero lines of a log are none.
//! * A restore keeps every snapshot, labels and limits; the number of restores is not bounded.
//! * Instances are found by their name before they are found by an id.
//!
//! # What a parser must bear
//!
//! With the feature `hostile`, the module of that name damages real answers, and a provider's unit tests show
//! that its parsers survive that.

mod context;
mod guest;
pub mod harness;
#[cfg(feature = "hostile")]
pub mod hostile;
mod inventory;
mod report;
mod run;
mod setup;
mod suite;
mod trial;
mod trials;
mod verdict;

pub use crate::guest::{Guest, Program};
pub use crate::report::{Report, TrialOutcome, TrialReport};
pub use crate::setup::Setup;
pub use crate::suite::Suite;

//! The journal: what was done to a deployment, and what was about to be done, written before it is done.
//!
//! Entry *n* of the log is created only if nobody created it before. That one rule makes the log a lock too: of two
//! engines that write, one finds its number taken and stops, so they can never both go on. An owner is alive as long as
//! it writes; whoever wants to take its place watches the log for the time of a lease, by its own clock.

mod owner;
mod record;
#[cfg(feature = "s3")]
mod s3;
mod state;
mod store;
mod writer;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

pub use owner::Owner;
pub use record::{Made, Purpose, Record, RunStatus};
pub use state::{IllegalRecord, JournalState, Run};
pub use store::JournalStore;
pub use writer::{DEFAULT_LEASE, Journal};

/// 32 hexadecimal digits that nobody else has. They have to be unique, not secret: the seeds of the hash maps are
/// enough, and spare the crate a random number generator.
pub(crate) fn random_text() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

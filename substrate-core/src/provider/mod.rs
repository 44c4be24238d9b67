//! What the author of a provider needs again and again: one change of a name at a time, waiting with a deadline,
//! requests in which a hostile name stays a name, and streams whose errors tell where they come from.
//!
//! Nothing here is policy: what is repeated, and how long a call may take, is the [`layer`](crate::layer)s' affair.

mod context;
mod names;
mod target;
mod wait;

pub use context::in_context;
pub use names::NameLocks;
pub use target::RequestTarget;
pub use wait::Wait;

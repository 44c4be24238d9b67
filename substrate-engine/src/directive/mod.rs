//! Directives: what is to be done on a resource when an action happens to it.
//!
//! A directive is typed and checked with the rest of the blueprint, before anything runs. Built in: `exec`,
//! `wait-for`, `files` and `cloud-init`; a program registers its own in a [`DirectiveRegistry`].

mod action;
mod cloud_init;
mod exec;
pub(crate) mod files;
mod registry;
mod wait_for;

pub use action::Action;
pub(crate) use action::When;
pub use cloud_init::CloudInit;
pub use exec::Exec;
pub use files::Files;
pub(crate) use registry::last_line;
pub use registry::{CheckedDirective, Directive, DirectiveRegistry, DirectiveSite};
pub use wait_for::WaitFor;

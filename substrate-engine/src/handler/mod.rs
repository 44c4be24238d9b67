//! Handlers: what the kinds of resources mean, and what each asks of its facility.
//!
//! A handler turns the specs of a document into **properties**: plain data in one canonical form (`8GB` and
//! `8000MB` are the same number of MiB), from which plans are made and which the journal keeps. It touches nothing:
//! interpreting is pure, so a whole deployment is checked before the first call is made.

mod command;
mod compute;
mod configure;
mod instance;
mod interpretation;
mod network;
mod registry;
mod service;
mod short_form;
mod site;
mod storage;
mod values;
mod workload;
mod write_file;

pub use command::CommandHandler;
pub use compute::ComputeHandler;
pub use configure::ConfigureHandler;
pub use interpretation::{ChangeEffect, Interpretation, Mention, Need, Requirement, Subject};
pub use network::{NetworkHandler, NetworkSpecs};
pub use registry::{HandlerRegistry, RegistrationError, ResourceHandler};
pub use service::ServiceHandler;
pub(crate) use site::{Facility, Names};
pub use site::{Found, Lists, Site};
pub use storage::{StorageHandler, StorageSpecs};
pub use values::ValuesHandler;
pub use workload::WorkloadSpecs;
pub use write_file::WriteFileHandler;

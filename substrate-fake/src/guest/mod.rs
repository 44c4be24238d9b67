//! What runs inside instances: an interpreter of argument vectors, without a shell.

mod command;
mod disk;
mod main_program;
mod program;
mod session;

pub(crate) use command::{launch, main_invocation, write_files};
pub(crate) use main_program::Main;
pub use program::{Invocation, ProgramResult};
pub(crate) use program::{Program, Programs};
pub(crate) use session::open;

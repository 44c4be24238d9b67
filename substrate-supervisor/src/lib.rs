//! Processes under supervisord as a [`Substrate`](substrate_core::Substrate).
//!
//! ```no_run
//! use substrate_core::{InstanceConfig, StopMode, Substrate, SubstrateExt};
//! use substrate_supervisor::{SupervisorConfig, SupervisorSubstrate};
//!
//! # async fn run() -> substrate_core::Result<()> {
//! let config = SupervisorConfig::default().with_include_folder("/etc/supervisor/conf.d");
//! let supervisor = SupervisorSubstrate::new("local", config)?;
//! supervisor.connect().await?;
//!
//! let web = InstanceConfig::new("web".parse()?)
//!     .with_command(["/usr/bin/python3", "-m", "http.server", "8080"])
//!     .with_label("role", "web")
//!     .with_option("directory", "/srv/www");
//! supervisor.create_instance(&web).await?;
//! supervisor.start_instance(&web.name).await?;
//! for line in supervisor.tail_logs(&web.name, 20).await? {
//!     println!("{}", line.message);
//! }
//! supervisor.stop_instance(&web.name, StopMode::default()).await?;
//! supervisor.delete_instance(&web.name, false).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is special about supervisord
//!
//! * **Names.** A process is `group:name`, in short `name` where both are the same. Start, stop and restart take
//!   `group:*` too; for everything else that is a `Conflict` that names the members. A created program's id has a
//!   key behind it (`web:web@0f…`), so that it is never that of a later one.
//! * **Creating** needs [`SupervisorConfig::include_folder`]: a file is written there, and supervisord reads its
//!   configuration and adds that one group. Other changes in its configuration are left to their owners. Labels
//!   and metadata are in the file too, as a comment. A file that supervisord has not loaded, as a crash leaves it,
//!   is an instance that is `not loaded`: a start loads it, a deletion removes it. Only programs that were created
//!   so can be deleted.
//! * **The image** is the program: the absolute path of an executable file. A command alone says what to run, too;
//!   both together must agree (`/bin/sh` and `["sh", "-c", …]`).
//! * **Options** are [`SupervisorOptions`]. Two defaults are not supervisord's: a program that ends is not started
//!   again, and a stop reaches its children.
//! * **Starting** ends when supervisord says `RUNNING`, or has given up.
//! * **A graceful stop** sends the stop signal by itself, since supervisord's own stop ends in a kill. Programs with
//!   `autorestart`, and all that were not created here, cannot be stopped so: it is refused, and
//!   `GracefulThenForce` does it supervisord's way, with a kill after the program's own `stopwaitsecs` if that is
//!   shorter. A forced stop kills the main process; its children get the stop signal.
//! * **Logs** have no times, and each stream is a file: first all of standard output, then standard error. The
//!   last lines are those of each. Rotated files are not read.
//! * **Metrics** are read from `/proc` when supervisord runs on this host, for the process and its process group;
//!   else nothing is measured.
//! * **Events** are found by looking again and again.
//!
//! # Rights on the server
//!
//! The user of `[unix_http_server]` or `[inet_http_server]`, and nothing else, to look, start, stop and read logs.
//! Creating and deleting need to write into the include folder, whose programs run as whoever supervisord is: with
//! supervisord as root, that is root on its host. Metrics need to read `/proc` of those processes.
//!
//! # Connecting
//!
//! See [`SupervisorConfig`]: a unix socket or HTTP, with user and password. supervisord has no TLS.

mod client;
mod config;
mod convert;
mod error;
mod folder;
#[cfg(test)]
mod fuzz;
mod host;
mod name;
mod options;
mod substrate;

pub use crate::config::SupervisorConfig;
pub use crate::options::{Autorestart, StopSignal, SupervisorOptions};
pub use crate::substrate::{PROVIDER_TYPE, SupervisorSubstrate};

/// Registers the type `supervisor`.
///
/// # Errors
/// `AlreadyExists` when the registry knows a `supervisor` already.
pub fn register(registry: &mut substrate_core::registry::Registry) -> substrate_core::Result<()> {
    registry.register(PROVIDER_TYPE, SupervisorSubstrate::from_section)
}

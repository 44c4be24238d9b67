//! The executable specification of the contract: an in-memory [`Substrate`](substrate_core::Substrate) that
//! means what the trait's documentation says, for tests of everything that is written against it.
//!
//! ```
//! use std::time::Duration;
//! use substrate_core::{Command, InstanceConfig, InstanceState, Operation, Outcome, StopMode, Substrate};
//! use substrate_fake::{Fake, Fault};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> substrate_core::Result<()> {
//! let fake = Fake::new("fake");
//! let web = InstanceConfig::new("web".parse()?).with_image("busybox:local").with_command(["deaf"]);
//! fake.create_instance(&web).await?;
//! fake.start_instance(&web.name).await?;
//! let output = fake.execute_command(&web.name, &Command::new(["echo", "hello"])).await?;
//! assert_eq!(output.stdout_text(), "hello\n");
//!
//! // The guest is deaf: it is not killed silently. All time is tokio's, a paused clock makes hours instant.
//! let error = fake.stop_instance(&web.name, StopMode::Graceful(Duration::from_millis(10))).await.unwrap_err();
//! assert!(error.is_timeout());
//!
//! // The effect happens, the answer is lost: would your tool look before it tries again?
//! fake.inject(Fault::answer_lost().on(Operation::StopInstance));
//! let error = fake.stop_instance(&web.name, StopMode::Force).await.unwrap_err();
//! assert_eq!(error.outcome(), Outcome::Unknown);
//! assert_eq!(fake.get_instance(&web.name).await?.state, InstanceState::Stopped);
//!
//! // Somebody else removes it.
//! fake.world().remove("web").await?;
//! assert!(fake.get_instance(&web.name).await.unwrap_err().is_not_found());
//! assert_eq!(fake.calls().last().map(|call| call.operation), Some(Operation::GetInstance));
//! # Ok(())
//! # }
//! ```
//!
//! # What can be scripted
//!
//! * **Faults** by meaning ([`Fault`]): errors, hangs, latency, lost answers, stale reads, held locks, lost and
//!   doubled events, a daemon that restarts in the middle of a call; by operation, instance, nth call, or chance.
//! * **Abilities** ([`FakeBuilder::capabilities`]): what is not declared is refused, as on a limited technology.
//! * **The world** ([`World`]): what happens behind the caller's back.
//! * **Programs** ([`Fake::program`]): what runs inside instances.
//! * **Time**: tokio's, with a fixed beginning. The same seed and the same calls on a paused clock give the
//!   same ids, times and events.
//! * **A state file** ([`FakeBuilder::state_file`]): everything survives the process, at any moment.
//!
//! # What runs inside
//!
//! There is no shell. As a command in a running instance:
//!
//! | argument vector | does |
//! |---|---|
//! | `true`, `false`, `exit CODE` | ends with that code |
//! | `emit OUT ERR CODE` | writes to both streams, ends with that code |
//! | `echo ARG…`, `arguments ARG…` | writes its arguments on one line, each on its own |
//! | `cat` | copies its input to its output |
//! | `cat PATH`, `write PATH TEXT`, `rm PATH` | reads, writes, removes a file |
//! | `flood N M` | writes so many bytes to each stream |
//! | `printenv NAME`, `pwd`, `whoami`, `hostname` | tells about its surroundings |
//! | `sleep SECONDS` | takes time |
//! | `kill-self SIGNAL` | dies by that signal |
//! | `stty size`, `stty-per-line` | writes the terminal's size, once or for each line of input |
//! | `log TEXT`, `log-err TEXT` | adds lines to the instance's log |
//!
//! As an instance's main program: `serve [LINE…]` (also when there is none) logs the lines and ends in order
//! when it is asked to stop, `deaf` does not heed that, `busy` keeps a core busy, `exit CODE`, `true` and
//! `false` end at once. Users and folders that exist: `root`, `nobody`, `daemon`, `www-data`, `user` and all
//! numbers; the usual folders, those in which a file lies, and mounts.
//!
//! A command goes on as its output is read, and ends when its session is dropped.

mod call;
mod call_log;
mod change;
mod clock;
mod config;
mod error;
mod events;
mod fake;
mod fault;
mod files;
mod guest;
mod inner;
mod options;
mod persistence;
mod random;
mod record;
mod state;
mod subnet;
mod substrate;
mod usage;
mod world;

pub use crate::call_log::{CallOutcome, CallRecord};
pub use crate::config::{FailSwitch, FakeConfig, register};
pub use crate::fake::{Fake, FakeBuilder};
pub use crate::fault::Fault;
pub use crate::guest::{Invocation, ProgramResult};
pub use crate::options::InstanceOptions;
pub use crate::world::World;

#[cfg(test)]
mod tests;

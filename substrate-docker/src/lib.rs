//! Docker (and Podman's Docker-compatible service) as a [`Substrate`](substrate_core::Substrate).
//!
//! ```no_run
//! use substrate_core::{Command, InstanceConfig, StopMode, Substrate};
//! use substrate_docker::DockerSubstrate;
//!
//! # async fn run() -> substrate_core::Result<()> {
//! let docker = DockerSubstrate::from_environment()?;
//! docker.connect().await?;
//!
//! let config = InstanceConfig::new("web".parse()?)
//!     .with_image("nginx:1.27")
//!     .with_memory_mb(256)
//!     .with_label("role", "web");
//! docker.create_instance(&config).await?;
//! docker.start_instance(&config.name).await?;
//!
//! let output = docker.execute_command(&config.name, &Command::new(["nginx", "-v"])).await?;
//! println!("{}", output.stderr_text());
//!
//! docker.stop_instance(&config.name, StopMode::default()).await?;
//! docker.delete_instance(&config.name, false).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is special about Docker
//!
//! * **Names** follow Docker's grammar, `[a-zA-Z0-9][a-zA-Z0-9_.-]+`. An id, or a prefix of it of at least
//!   twelve digits, is accepted in place of a name. Every call resolves to the full id first.
//! * **Images** are fetched by the daemon, or are files of this machine as `docker save` writes them:
//!   `file:/path/image.tar`. What the daemon has already is not sent again, unless the file is compressed: its images are
//!   listed inside. A file of several images is refused.
//! * **Snapshots are commits** of the container's own file system: no memory, no volumes. They are images
//!   called `substrate-snapshot/…`. A restore makes a new container with the same configuration, name,
//!   networks and labels: the id changes. Volumes stay attached with their present content, anonymous ones
//!   too. Snapshots go when their instance is deleted.
//! * **Copies** get the file system, and new anonymous volumes; named volumes and fixed host ports are the
//!   same as the source's, so two that publish the same port cannot run at once.
//! * **Commands** go on when their session is dropped. A signal's end is reported as a code above 128:
//!   Docker does not tell the two apart. With an API before 1.42 a terminal gets its size right after the
//!   start instead of with it.
//! * **A graceful stop** sends the container's stop signal and waits; Docker's own stop, which always ends in
//!   a kill, serves `GracefulThenForce` alone.
//! * **Memory bounds** include swap: none is granted on top.
//! * **The health check** of an image shows in `provider_state` and `properties.health`; an image without one
//!   never becomes healthy.
//! * **Options**: see [`DockerOptions`], [`DockerNetworkOptions`], [`DockerVolumeOptions`]. Each refuses keys
//!   that it does not know.
//! * **Labels** that begin with `substrate.docker.` or `substrate.snapshot.`, and `substrate.metadata`, are
//!   this crate's own notes.
//!
//! # Rights on the server
//!
//! Whoever reaches a daemon's socket is root on its host: the socket's group (`docker`), or a client certificate that the
//! daemon trusts, is all or nothing. Where an authorization plugin or a proxy stands in front of the daemon, this crate
//! needs `/containers`, `/exec`, `/images`, `/commit`, `/networks`, `/volumes`, `/events`, `/info`, `/version` and
//! `/_ping`. A rootless daemon is enough for everything that the kernel grants it.
//!
//! # Connecting
//!
//! See [`DockerConfig`]: a unix socket, TCP, or TLS with the feature `tls`. The API version is negotiated and
//! then sent with each request. A handle survives restarts of the daemon. `ssh://` is not supported.
//!
//! A daemon of 20.10 before 20.10.27 can lock itself up while several containers end at once
//! (<https://github.com/moby/moby/issues/46661>): it goes on answering looks, and whatever starts, stops or removes a
//! container waits until it is restarted. From here that is a slow daemon: such calls end with `Timeout`, a stop by the
//! limit of a timeout layer, the others after the setting `request_timeout`.

mod client;
mod config;
mod convert;
mod error;
#[cfg(test)]
mod fuzz;
mod name;
mod options;
mod substrate;

pub use crate::config::{DefaultResources, DockerConfig, PullPolicy, RegistryConfig, TlsConfig};
pub use crate::options::{DockerNetworkOptions, DockerOptions, DockerVolumeOptions};
pub use crate::substrate::{DockerSubstrate, PROVIDER_TYPE};

/// Registers the type `docker`.
///
/// # Errors
/// `AlreadyExists` when the registry knows a `docker` already.
pub fn register(registry: &mut substrate_core::registry::Registry) -> substrate_core::Result<()> {
    registry.register(PROVIDER_TYPE, DockerSubstrate::from_section)
}

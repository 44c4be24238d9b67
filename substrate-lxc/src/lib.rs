//! LXD and Incus as a [`Substrate`](substrate_core::Substrate): system containers and virtual machines.
//!
//! ```no_run
//! use substrate_core::{Command, InstanceConfig, StopMode, Substrate};
//! use substrate_lxc::LxcSubstrate;
//!
//! # async fn run() -> substrate_core::Result<()> {
//! let server = LxcSubstrate::from_environment()?;
//! server.connect().await?;
//!
//! let config = InstanceConfig::new("web".parse()?)
//!     .with_image("debian/12")
//!     .with_memory_mb(512)
//!     .with_label("role", "web");
//! server.create_instance(&config).await?;
//! server.start_instance(&config.name).await?;
//!
//! let output = server.execute_command(&config.name, &Command::new(["uname", "-a"])).await?;
//! println!("{}", output.stdout_text());
//!
//! server.stop_instance(&config.name, StopMode::default()).await?;
//! server.delete_instance(&config.name, false).await?;
//! # Ok(())
//! # }
//! ```
//!
//! One provider for LXD (5.0 and later) and Incus (6.0 and later). The registry knows it as `lxc` (whichever
//! answers), `lxd` and `incus`.
//!
//! # What is special about LXD and Incus
//!
//! * **Names** are host names: `[a-zA-Z0-9-]`, at most 63. The id is the instance's UUID.
//! * **Labels** are `user.*` keys, as `lxc list user.role=web` sees them. What cloud-init reads there is none.
//! * **cloud-init data** are keys of the configuration, from which the server makes what cloud-init reads: through the
//!   image's templates and the guest's own socket. Meta data are added to the server's.
//! * **Images** are named by alias, fingerprint or `remote:alias`, or are files of this machine: one archive of everything
//!   (`file:/path/image.tar.xz`), or metadata and disk apart (`file:/path/metadata.tar.xz+/path/rootfs.squashfs`, or a
//!   `.qcow2` for machines; so a folder's name cannot end in `+` here). A file is hashed, and sent only to a server
//!   that does not have it.
//! * **A command** given at creation becomes a container's first process in place of its init, and a stop asks it
//!   with SIGTERM. Words with blanks or quotes need a POSIX shell in the image. Nothing sets the network up inside
//!   then; without a command the image's own init does. Virtual machines have no such command.
//! * **Environment variables** reach every process, but a server keeps none with an empty value.
//! * **Networks** are bridges. A bridge's name is at most 15 characters: one with a longer name gets a bridge
//!   called `sb…` and keeps its name as a note. Networks of a configuration replace those of the profiles.
//! * **The console is the log.** While an instance runs, the server hands each piece of it out once: this handle
//!   remembers what it was given (the last MiB of each instance), another one does not know it. Once the instance is
//!   stopped, the server has all of it, or only what nobody was handed before. Lines have no times. Following asks
//!   ten times a second: the servers tell nobody that there is more. What the server itself writes about an instance is in
//!   files of its own: [`LxcSubstrate::log_files`], [`LxcSubstrate::read_log_file`].
//! * **Snapshots** hold the disk and the configuration. A restore stops a running instance for it and starts it
//!   again. The memory of virtual machines is saved where `migration.stateful` is set, and restored as it was; that of
//!   containers is not: they would need CRIU, which mostly fails.
//! * **Commands** are ended by the server when their session is dropped. A signal's end is reported as a code above
//!   128: the servers do not tell the two apart.
//! * **Terminals** are not offered by LXD before 5.0.3, which loses what a program writes to one shortly before its end;
//!   [`lossy_terminals`](LxcConfig::lossy_terminals) accepts it.
//! * **A stop** is over when the server has cleaned up behind the guest: until then it can show a stopped instance as
//!   running, and takes a new start for the end of the old one.
//! * **Processor bounds** of containers are time, not processors: fractions work, and nothing is pinned.
//! * **Memory use** includes the page cache where the kernel counts it to the container.
//! * **Options**: see [`LxcOptions`], [`LxcNetworkOptions`], [`LxcVolumeOptions`]. Each refuses keys that it does
//!   not know.
//!
//! # Rights on the server
//!
//! The socket's group (`lxd`, `incus-admin`) and certificates that the server trusts without restriction are root on its
//! host. A certificate that is restricted to projects sees nothing else: name one of them as
//! [`project`](LxcConfig::project); what the project forbids (devices, nesting, privileged containers) is then refused by
//! the server as `PermissionDenied`.
//!
//! # Connecting
//!
//! See [`LxcConfig`]: a unix socket, or HTTPS with a client certificate, which a trust token can make known to
//! the server at the first connect. What the server can do is asked for at each connect, by its API extensions
//! and never by its version. A handle survives restarts of the server, sees one project, and follows every
//! operation to its end, also when its record is already gone.

mod client;
mod config;
mod convert;
mod error;
#[cfg(test)]
mod fuzz;
mod name;
mod options;
mod substrate;

pub use crate::config::{ImageProtocol, LxcConfig, RemoteConfig, ServerKind, TlsConfig};
pub use crate::options::{LxcNetworkOptions, LxcOptions, LxcVolumeOptions};
pub use crate::substrate::{LxcSubstrate, PROVIDER_TYPE};

/// Registers the types `lxc`, `lxd` and `incus`: whichever server answers, or that one and no other.
///
/// # Errors
/// `AlreadyExists` when the registry knows one of them already.
pub fn register(registry: &mut substrate_core::registry::Registry) -> substrate_core::Result<()> {
    for provider_type in [PROVIDER_TYPE, ServerKind::Lxd.as_str(), ServerKind::Incus.as_str()] {
        registry.register(provider_type, move |name, section| {
            LxcSubstrate::of_type(provider_type, name, section)
        })?;
    }
    Ok(())
}

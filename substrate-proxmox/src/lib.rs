//! Proxmox VE as a [`Substrate`](substrate_core::Substrate): QEMU machines and LXC containers of a node or a whole
//! cluster, over the REST API.
//!
//! ```no_run
//! use substrate_core::{Command, InstanceConfig, StopMode, Substrate};
//! use substrate_proxmox::{ProxmoxConfig, ProxmoxSubstrate};
//!
//! # async fn run(secret: String) -> substrate_core::Result<()> {
//! let config = ProxmoxConfig::new("pve.example.org").with_token("automation@pve!substrate", secret);
//! let pve = ProxmoxSubstrate::new("pve-paris", config)?;
//! pve.connect().await?;
//!
//! // From a template, a disk image (`local:import/disk.qcow2`), an ISO, or a container archive.
//! let config = InstanceConfig::new("web".parse()?)
//!     .with_image("debian-12")
//!     .with_cpu_cores(2.0)
//!     .with_memory_mb(2048)
//!     .with_label("role", "web");
//! pve.create_instance(&config).await?;
//! pve.start_instance(&config.name).await?;
//!
//! let output = pve.execute_command(&config.name, &Command::new(["uname", "-a"])).await?;
//! println!("{}", output.stdout_text());
//!
//! pve.stop_instance(&config.name, StopMode::default()).await?;
//! pve.delete_instance(&config.name, false).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is special about Proxmox VE
//!
//! * **Two kinds of guests.** [`ProxmoxConfig::kinds`] says which ones a substrate is about; the first is made when
//!   none is asked for. The capabilities are those of machines unless there are only containers, and what a container
//!   cannot (commands, pausing, memory in snapshots) is refused for each one.
//! * **Names** are DNS names, and the API does not keep them unique: two guests of one name are a `Conflict` that
//!   names both. This crate makes no second one. The **id** is the guest's number and a mark of which of its bearers is
//!   meant (`10234567.1a2b3c4d`): numbers are given again at once. The number alone is accepted too.
//! * **Numbers** of new guests are random within [`ProxmoxConfig::vmid_range`]: the API's "next free one" reserves
//!   nothing, and a random one can be sent again when an answer was lost without making a second guest.
//! * **One request lists a cluster**, of any size, as long as no number in it is of the range that this crate gives: for
//!   those, one more is sent the first time, for their notes, and for a machine that runs another one, which tells whether it
//!   is paused; none in the five minutes after it. No list of the API has either.
//! * **Labels and metadata** are in a comment at the end of the guest's notes, put there by the call that makes it. They
//!   are looked for in the range of ids, so that foreign guests cost no request.
//! * **A creation from a template** takes two steps, for a clone takes no settings. What is left is in the same
//!   comment; when the process ends in between, the guest says so, and its next start finishes it.
//! * **The cluster's list** is seconds old. It is what [`list_instances`](substrate_core::Substrate::list_instances)
//!   reads, in one request; guests that this handle touched lately, and those that the list knows nothing of, are asked
//!   themselves. A guest that somebody else started may show as stopped for ten seconds there, and a machine that
//!   somebody else paused as running; never in [`get_instance`](substrate_core::Substrate::get_instance).
//! * **Locks** are waited for up to [`ProxmoxConfig::lock_timeout`], and never taken away. A backup's is not waited
//!   for: it can take hours.
//! * **Templates** are images, not instances.
//! * **Snapshots** have names of 2 to 40 characters. With memory they bring a machine back running.
//! * **Commands** go through the guest agent: their output arrives when they have ended, at most 16 MiB of it, and they
//!   go on when nobody waits for them. The agent tells of an end when the program has ended **and** nobody holds its
//!   output any more: a command that leaves a child with its output behind ends with that child, unless it is given a
//!   timeout. See also [`ProxmoxSubstrate::write_file`].
//! * **Logs** are those of the guest's tasks: what was done to it, and how that ended. What a guest writes to its console
//!   is not recorded, and can be **followed** while it runs: one stream without times, from now on, until the guest stops.
//!   What was written before is not there, whatever `lines` and `since` say, and the tasks' lines are not put in its place;
//!   of a stopped guest, a follower gets those and ends. A machine needs a serial port (`serial0: socket`, which machines made
//!   here get, and templates must have), and serves one who looks at a time: a second one sees nothing until the first has
//!   gone. Of a container it is a terminal with a login; what goes to `/dev/console` with `cmode: console`. Escape
//!   sequences of terminals are left in. A connection that breaks under a guest that still runs, or that moved, is an error
//!   and no end. Version 8 lets nobody look with an API token.
//! * **Events** are polled from the nodes' task lists and the guests' states.
//! * **Networks** are bridges (`vmbr0`), VLANs of one (`vmbr0.20`) and virtual networks. A new one is a bridge on every
//!   node that is online, each a network of its own unless `ports` join them; or, with the driver `vnet`, a virtual
//!   network of a zone. Its name and labels are in its comment, and its own name on the node is made from its name. Only
//!   such networks are deleted, and changes that an administrator has planned are never applied along. The gateway is an
//!   address of the node.
//! * **Addresses** of machines are given by cloud-init: when they boot next. Disks that are imported get a drive for it.
//!   On networks made here, one that another guest has is a `Conflict`; for that each guest is asked.
//! * **Volumes** are disks named after a guest that never is, [`ProxmoxConfig::volume_vmid`]; their labels are in the
//!   name. A container mounts them; of an unprivileged one, a new volume's root folder belongs to `nobody` until somebody
//!   on the node hands it over (`chown 100000:100000`), since the API cannot. A machine has no mount points:
//!   [`ProxmoxOptions::disks`] puts volumes in as disks. Deleting one asks every guest whether it has it.
//! * **Images** are templates and files. A file of this machine (`file:/path/debian.qcow2`) is uploaded to the configured
//!   storage, as `debian-` with the beginning of its hash: the same content is sent once, and its ending tells what it is
//!   for. The host keeps it in `/var/tmp` on the way. `ensure_image` has a node fetch what is missing: a URL (with
//!   `#sha256:…` after it to be sure), or an archive of the appliance index.
//! * **High availability** is respected: the manager is told, and its deed is waited for.
//! * **Rights** of a token, on `/` or narrower: `VM.Allocate`, `VM.Audit`, `VM.Clone`, `VM.Config.*`, `VM.PowerMgmt`,
//!   `VM.Snapshot`, `VM.Snapshot.Rollback`, `VM.Migrate`; for commands `VM.GuestAgent.Unrestricted` (version 8:
//!   `VM.Monitor`); to follow a console `VM.Console`; `Datastore.Audit`, `Datastore.AllocateSpace`, `SDN.Use`, `Sys.Audit`. To delete volumes
//!   `Datastore.Allocate`, to fetch images `Datastore.AllocateTemplate` and `Sys.AccessNetwork`, to make networks
//!   `Sys.Modify` on nodes, or `SDN.Allocate`. A token with privilege separation needs them itself.
//! * **Options**: see [`ProxmoxOptions`]. Moving a guest: [`ProxmoxSubstrate::migrate_instance`].

mod client;
mod config;
mod convert;
mod error;
mod name;
mod options;
mod substrate;

pub use crate::config::ProxmoxConfig;
pub use crate::options::{CloudInit, ProxmoxNetworkOptions, ProxmoxOptions, ProxmoxVolumeOptions};
pub use crate::substrate::{PROVIDER_TYPE, ProxmoxSubstrate};

/// Registers the type `proxmox`.
///
/// # Errors
/// `AlreadyExists` when the registry knows a `proxmox` already.
pub fn register(registry: &mut substrate_core::registry::Registry) -> substrate_core::Result<()> {
    registry.register(PROVIDER_TYPE, ProxmoxSubstrate::from_section)
}

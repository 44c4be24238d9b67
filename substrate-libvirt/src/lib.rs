//! libvirt as a [`Substrate`](substrate_core::Substrate): virtual machines on QEMU and KVM.
//!
//! ```no_run
//! use substrate_core::{Command, InstanceConfig, StopMode, Substrate};
//! use substrate_libvirt::{LibvirtConfig, LibvirtSubstrate};
//!
//! # async fn run() -> substrate_core::Result<()> {
//! let libvirt = LibvirtSubstrate::new("kvm-3", LibvirtConfig::default().with_uri("qemu+ssh://root@kvm-3/system"))?;
//! libvirt.connect().await?;
//!
//! let config = InstanceConfig::new("web".parse()?)
//!     .with_image("debian-12-genericcloud-amd64.qcow2")
//!     .with_memory_mb(1024)
//!     .with_label("role", "web");
//! libvirt.create_instance(&config).await?;
//! libvirt.start_instance(&config.name).await?;
//!
//! let output = libvirt.execute_command(&config.name, &Command::new(["uname", "-r"])).await?;
//! println!("{}", output.stdout_text());
//!
//! libvirt.stop_instance(&config.name, StopMode::default()).await?;
//! libvirt.delete_instance(&config.name, false).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The same life on libvirt's own mock, which needs no daemon:
//!
//! ```
//! use substrate_core::{InstanceFilter, Substrate};
//! use substrate_libvirt::{LibvirtConfig, LibvirtSubstrate};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let mock = LibvirtSubstrate::new("mock", LibvirtConfig::default().with_uri("test:///default"))?;
//! let machines = mock.list_instances(&InstanceFilter::all()).await?;
//! assert_eq!(machines[0].name, "test");
//! # Ok::<(), substrate_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # What is special about libvirt
//!
//! * **It needs the C library** libvirt (6.0 or newer) to be built and run: `apt-get install libvirt-dev pkg-config` on
//!   Debian, `dnf install libvirt-devel pkgconf` on Fedora. A build without it ends with these words.
//! * **Images** are volumes of a storage pool, or names that the settings give to a volume with a kernel to boot
//!   directly. A machine's disk holds what differs from its image, unless the option `disk` asks for a copy. Images are
//!   not fetched from anywhere.
//! * **Cloud-init** reads its data from a small disk of the machine's own, at most 1.4 MB together.
//! * **Names** that we give are made of `[a-zA-Z0-9_.+-]`; what others called theirs is found all the same. A machine's
//!   UUID is its id.
//! * **What a machine owns** – its disk, its console's log, its addresses – is called by its UUID, and goes with it.
//!   Disks of a machine that was defined from given XML are nobody's: they stay.
//! * **Marks, labels and metadata** are in the domain's `<metadata>`, inside the define call.
//! * **Running means that the machine runs**, not that its system has come up. Commands wait for the guest's agent
//!   ([`LibvirtConfig::agent_timeout`]), and so does [`LibvirtSubstrate::write_file`].
//! * **Commands** have no input, terminal, folder or user of their own, and go on when their session is dropped. Their
//!   output goes through unlinked files in the guest's `/run`, which hold it until the command and its session are over:
//!   that needs `/bin/sh` and an agent that may open files. Without, output comes when a command and all its children have
//!   ended, and **at most some 3 MiB**: libvirt takes no larger answer from an agent, and cuts its channel at one until
//!   the machine starts again.
//! * **A graceful stop** presses the power button, again and again, for a guest that boots hears nothing. What follows
//!   a `GracefulThenForce` is a power cut.
//! * **Snapshots are internal** to the qcow2 disk, unless the settings say otherwise. Of a running machine libvirt saves the memory in any case; whether it
//!   was asked for is remembered in the description, and decides about the power after a restore. They cover the
//!   definition too, limits and networks as of then. Raw disks, and UEFI firmware with libvirt before 10.9, have none.
//! * **External snapshots** ([`SnapshotForm::External`], libvirt 10.0 or newer) are files beside the machine's disk, called
//!   by its UUID, and go with it. Of disks that are nobody's they are files beside those, and stay with them: the disk
//!   holds what was written before. One that later ones depend on is deleted after them.
//! * **Copies** have a new UUID, new hardware addresses, no fixed address, and a disk that depends on no other but, for
//!   copies of a snapshot, the image.
//! * **Fixed addresses** are reservations in the network's DHCP server for the machine's hardware address.
//! * **Bounds**: a machine always has memory and processors. Cores that are no whole number are a quota. See
//!   [`LibvirtConfig::live_memory_mb`] for changes while it runs.
//! * **Bandwidth** is bounded in whole kilobytes per second, in both directions, where the settings say that the host can
//!   ([`LibvirtConfig::bandwidth_limits`]): on every interface of a machine, which must have one.
//! * **Disks** can be bounded too, by bytes and operations per second and by a weight: the option
//!   [`block_limits`](LibvirtOptions::block_limits), and [`LibvirtSubstrate::set_block_limits`] for what is there.
//! * **Memory in use** is what the guest's balloon driver tells, else what the hypervisor's process holds.
//! * **Transient machines** that others made vanish when they stop.
//!
//! # Rights on the server
//!
//! A read-write connection: for `qemu:///system` the group `libvirt`, or a rule of polkit for `org.libvirt.unix.manage`.
//! It is root on the host, for a domain's document may name any of its files. `qemu:///session` needs no right, and has
//! no networks of its own. The pools have to be there and active, as folders (type `dir`); kernels that images boot are
//! read by the hypervisor's user.
//!
//! # Threads
//!
//! Every call of libvirt blocks. Each runs on the runtime's blocking threads, at most four at once on each of three
//! connections: for looking, for changing, and for guest agents. One thread per process runs libvirt's event loop, from
//! the first connection on; a program that runs the loop itself says so with [`use_own_event_loop`].

mod block_limits;
mod client;
mod config;
mod convert;
mod error;
mod name;
mod options;
mod substrate;

pub use crate::block_limits::BlockLimits;
pub use crate::client::use_own_event_loop;
pub use crate::config::{DefaultResources, DomainType, ImageConfig, LibvirtConfig, SnapshotForm};
pub use crate::options::{DiskForm, LibvirtNetworkOptions, LibvirtOptions, LibvirtVolumeOptions};
pub use crate::substrate::{LibvirtSubstrate, PROVIDER_TYPE};

/// Registers the type `libvirt`.
///
/// # Errors
/// `AlreadyExists` when the registry knows a `libvirt` already.
pub fn register(registry: &mut substrate_core::registry::Registry) -> substrate_core::Result<()> {
    registry.register(PROVIDER_TYPE, LibvirtSubstrate::from_section)
}

//! The contract.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::command::{Command, CommandOutput, CommandSession};
use crate::descriptor::Descriptor;
use crate::error::{Error, Result};
use crate::event::{WatchOptions, WatchStream};
use crate::health::HealthReport;
use crate::image::Image;
use crate::instance::{Instance, InstanceFilter, StopMode};
use crate::instance_config::InstanceConfig;
use crate::log::{LogOptions, LogStream};
use crate::metrics::SubstrateMetrics;
use crate::name::{InstanceName, NetworkName, SnapshotName, VolumeName};
use crate::network::{Network, NetworkConfig, NetworkSpec};
use crate::operation::Operation;
use crate::resource::{ResourceLimits, ResourceUsage};
use crate::snapshot::{CloneConfig, Snapshot, SnapshotConfig};
use crate::volume::{Volume, VolumeSpec};

/// Something that runs workloads: a Docker daemon, a cluster, a hypervisor, a process supervisor.
///
/// Used as `Arc<dyn Substrate>`. What each method means is the same on every technology, and one
/// conformance suite proves it. Methods with a default body are optional: it returns
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
///
/// # What holds for every method
///
/// * **Done means done.** It returns when the substrate reports the new state, not when it accepted the
///   request.
/// * **Unsupported is refused before any side effect**, for whole operations and for options within one.
/// * **Cancel safety.** Dropping a future leaves the substrate in a state that
///   [`get_instance`](Self::get_instance) describes truthfully, and nothing half-held in the client. What
///   was already sent may still take effect.
/// * **Concurrency.** Any number of calls at once on one handle; what the technology cannot do in parallel
///   the provider serialises.
/// * **Errors** carry an [`Outcome`](crate::Outcome): whether the effect may have happened. Beside those
///   listed with a method, each can fail with `Unauthenticated`, `PermissionDenied`, `RateLimited`,
///   `Unavailable`, `Timeout`, `Protocol` and `Internal`.
/// * Which methods may be repeated is data: [`Operation::profile`].
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Substrate: Send + Sync {
    // ---- connection -------------------------------------------------------------------------------

    /// Who this substrate is and what it can do. Costs nothing and has no side effect.
    ///
    /// Before the first [`connect`](Self::connect) the capabilities are those of the technology at its
    /// best; a connect replaces them by what the server really has.
    fn descriptor(&self) -> Arc<Descriptor>;

    /// Opens the connection, negotiates versions and finds out the capabilities. Idempotent; a second call
    /// finds out anew. Every other method also works without it, as far as the technology allows, and
    /// after the server was restarted: a handle never has to be replaced.
    ///
    /// # Errors
    /// `Unavailable` when there is no server, `Unauthenticated` when it refuses the credentials.
    async fn connect(&self) -> Result<()>;

    /// Whether the last exchange with the server worked. No round trip.
    fn is_connected(&self) -> bool;

    /// Asks the server how it is. A server that cannot be reached is an error, not a report.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when it does not answer.
    async fn health_check(&self) -> Result<HealthReport>;

    // ---- lifecycle --------------------------------------------------------------------------------

    /// The instances that `filter` selects, in order of their names, in as few round trips as the
    /// technology allows.
    ///
    /// # Errors
    /// Only the general ones. An answer that is not complete is an error, never a shorter list.
    async fn list_instances(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>>;

    /// One instance, by name or by id.
    ///
    /// # Errors
    /// `NotFound` when a complete answer proves that it is not there; `Conflict`, naming the candidates,
    /// when the name is ambiguous.
    async fn get_instance(&self, name: &InstanceName) -> Result<Arc<Instance>>;

    /// Whether [`create_instance`](Self::create_instance) would accept `config`, as far as that can be told
    /// without doing it. No side effect.
    ///
    /// # Errors
    /// `InvalidInput` or `Unsupported`, naming the field; `NotFound` for a missing network or volume.
    async fn validate_config(&self, config: &InstanceConfig) -> Result<()> {
        config.validate()?;
        config.require_features(&self.descriptor().capabilities)
    }

    /// Makes an instance. It then exists and is stopped (see
    /// [`Feature::CreateStopped`](crate::Feature::CreateStopped)), with its labels on it from the first
    /// moment. A failed create leaves nothing behind.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; `NotFound` when the image, a network or a volume is missing;
    /// `InvalidInput`, `Unsupported` before any side effect; `Exhausted`.
    async fn create_instance(&self, config: &InstanceConfig) -> Result<Arc<Instance>>;

    /// Starts an instance and returns when it runs. Already running = success. A paused instance is not
    /// started by this: resume it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is paused; `InvalidInput` when it cannot start as it was configured
    /// (the program does not exist).
    async fn start_instance(&self, name: &InstanceName) -> Result<()>;

    /// Stops an instance and returns when it has stopped. Already stopped = success.
    ///
    /// # Errors
    /// `NotFound`; `Timeout` with outcome `Rejected` when [`StopMode::Graceful`] was not heeded in time: it
    /// still runs, nothing was killed.
    async fn stop_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()>;

    /// Stops an instance as `mode` says and starts it; a stopped instance is just started. Not atomic: when
    /// the start fails it stays stopped.
    ///
    /// # Errors
    /// Those of stop and start.
    async fn restart_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        self.stop_instance(name, mode).await?;
        self.start_instance(name).await.map_err(|error| error.with_hint("the restart had already stopped it"))
    }

    /// Freezes a running instance with its memory. Already paused = success.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it does not run.
    async fn pause_instance(&self, _name: &InstanceName) -> Result<()> {
        Err(self.descriptor().unsupported(Operation::PauseInstance))
    }

    /// Lets a paused instance go on. Already running = success.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is stopped.
    async fn resume_instance(&self, _name: &InstanceName) -> Result<()> {
        Err(self.descriptor().unsupported(Operation::ResumeInstance))
    }

    /// Deletes an instance and what was made with it (its own disks, snapshots). When it returns, the name
    /// is free. `force` stops a running or paused instance first, by force.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it runs or is paused and `force` is false, or when it is protected.
    async fn delete_instance(&self, name: &InstanceName, force: bool) -> Result<()>;

    // ---- interaction ------------------------------------------------------------------------------

    /// Runs a command in a running instance and returns when it has ended, with its output byte for byte,
    /// both streams apart, of any size. A command that ran and failed is a success of this call: look at
    /// [`CommandOutput::status`].
    ///
    /// Not repeated by any layer. Dropping the future stops the waiting, not necessarily the command.
    ///
    /// # Errors
    /// `NotFound` for the instance; `Conflict` when it does not run; `InvalidInput` when the command could
    /// not be started (no such program, no such user, not executable); `Timeout` after
    /// [`Command::timeout`]; `Exhausted` beyond [`Command::output_limit`].
    async fn execute_command(&self, name: &InstanceName, command: &Command) -> Result<CommandOutput> {
        let run = async {
            let session = self.open_command(name, command).await?;
            session.collect(command.input.clone(), command.output_limit).await
        };
        let result = match command.timeout {
            None => run.await,
            Some(timeout) => tokio::time::timeout(timeout, run).await.unwrap_or_else(|_| {
                Err(Error::timeout(format!("the command did not end within {timeout:?}")))
            }),
        };
        result.map_err(|error| error.with_operation(Operation::ExecuteCommand).with_instance(name))
    }

    /// Starts a command in a running instance and returns its streams.
    ///
    /// Standard input is open when [`Command::interactive`] is set, else empty. [`Command::input`],
    /// [`Command::timeout`] and [`Command::output_limit`] are `execute_command`'s affair.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it does not run; `InvalidInput` when the command could not be started,
    /// here or as the stream's only item.
    async fn open_command(&self, _name: &InstanceName, _command: &Command) -> Result<CommandSession> {
        Err(self.descriptor().unsupported(Operation::OpenCommand))
    }

    /// What an instance wrote. The stream ends at the last line, with `follow` when the instance is gone or
    /// stopped.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` for an option that the substrate does not have.
    async fn get_logs(&self, _name: &InstanceName, _options: &LogOptions) -> Result<LogStream> {
        Err(self.descriptor().unsupported(Operation::GetLogs))
    }

    // ---- metrics ----------------------------------------------------------------------------------

    /// What an instance uses now. What is not measured is `None`; a stopped instance uses nothing, and what
    /// it cannot have is `None` or zero.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_metrics(&self, name: &InstanceName) -> Result<ResourceUsage>;

    /// What the layers around this substrate counted. A bare provider counts nothing.
    fn substrate_metrics(&self) -> SubstrateMetrics {
        SubstrateMetrics::default()
    }

    // ---- resources --------------------------------------------------------------------------------

    /// An instance's bounds; `None` = not bounded.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_resource_limits(&self, _name: &InstanceName) -> Result<ResourceLimits> {
        Err(self.descriptor().unsupported(Operation::GetResourceLimits))
    }

    /// Changes an instance's bounds; what is `None` stays. All or nothing.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput`; `Unsupported` for a bound that the substrate does not have; `Conflict`
    /// when it runs and the substrate has no [`Feature::LiveLimits`](crate::Feature::LiveLimits), or when
    /// it uses more than the new bound.
    async fn set_resource_limits(&self, _name: &InstanceName, _limits: &ResourceLimits) -> Result<()> {
        Err(self.descriptor().unsupported(Operation::SetResourceLimits))
    }

    // ---- snapshots --------------------------------------------------------------------------------

    /// Saves an instance's state.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` when the instance has a snapshot of that name; `Conflict` when it runs
    /// and the substrate has no [`Feature::SnapshotWhileRunning`](crate::Feature::SnapshotWhileRunning);
    /// `Unsupported` for memory without [`Feature::SnapshotMemory`](crate::Feature::SnapshotMemory).
    async fn create_snapshot(&self, _name: &InstanceName, _config: &SnapshotConfig) -> Result<Snapshot> {
        Err(self.descriptor().unsupported(Operation::CreateSnapshot))
    }

    /// An instance's snapshots, oldest first.
    ///
    /// # Errors
    /// `NotFound` for the instance.
    async fn list_snapshots(&self, _name: &InstanceName) -> Result<Vec<Snapshot>> {
        Err(self.descriptor().unsupported(Operation::ListSnapshots))
    }

    /// Brings an instance back to a snapshot: its content, and the configuration that a snapshot of this
    /// technology covers. Power: with memory as it was in the snapshot, without as it was before the call
    /// (a running instance runs again, on the old content). The instance keeps its name; its id may change.
    ///
    /// # Errors
    /// `NotFound` for the instance or the snapshot: the instance is then untouched.
    async fn restore_snapshot(&self, _name: &InstanceName, _snapshot: &SnapshotName) -> Result<()> {
        Err(self.descriptor().unsupported(Operation::RestoreSnapshot))
    }

    /// Deletes a snapshot; the instance stays as it is.
    ///
    /// # Errors
    /// `NotFound` for the instance or the snapshot; `Conflict` when something depends on it.
    async fn delete_snapshot(&self, _name: &InstanceName, _snapshot: &SnapshotName) -> Result<()> {
        Err(self.descriptor().unsupported(Operation::DeleteSnapshot))
    }

    /// Makes a stopped copy of an instance, independent of the source afterwards. It has the source's
    /// configuration, but its own name, its own labels and no fixed address of the source.
    ///
    /// # Errors
    /// `NotFound` for the source or the snapshot; `AlreadyExists` when the copy's name is taken; `Conflict`
    /// when the source runs and the substrate has no
    /// [`Feature::CloneWhileRunning`](crate::Feature::CloneWhileRunning).
    async fn clone_instance(&self, _source: &InstanceName, _config: &CloneConfig) -> Result<Arc<Instance>> {
        Err(self.descriptor().unsupported(Operation::CloneInstance))
    }

    // ---- networks ---------------------------------------------------------------------------------

    /// The networks, in order of their names.
    ///
    /// # Errors
    /// Only the general ones.
    async fn list_networks(&self) -> Result<Vec<Network>> {
        Err(self.descriptor().unsupported(Operation::ListNetworks))
    }

    /// Makes a network.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, also where the technology itself would allow a second one;
    /// `InvalidInput` for a subnet that is none; `Conflict` for one that overlaps.
    async fn create_network(&self, _spec: &NetworkSpec) -> Result<Network> {
        Err(self.descriptor().unsupported(Operation::CreateNetwork))
    }

    /// Deletes a network. When it returns, the name is free.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when instances are attached.
    async fn delete_network(&self, _network: &NetworkName) -> Result<()> {
        Err(self.descriptor().unsupported(Operation::DeleteNetwork))
    }

    /// Attaches an instance to a network. Already attached = success.
    ///
    /// # Errors
    /// `NotFound` for the instance or the network; `Conflict` when the address is taken, or when it is
    /// attached with another fixed address.
    async fn attach_network(&self, _name: &InstanceName, _network: &NetworkConfig) -> Result<()> {
        Err(self.descriptor().unsupported(Operation::AttachNetwork))
    }

    /// Takes an instance off a network. Not attached = success.
    ///
    /// # Errors
    /// `NotFound` for the instance or the network.
    async fn detach_network(&self, _name: &InstanceName, _network: &NetworkName) -> Result<()> {
        Err(self.descriptor().unsupported(Operation::DetachNetwork))
    }

    // ---- volumes ----------------------------------------------------------------------------------

    /// The volumes, in order of their names.
    ///
    /// # Errors
    /// Only the general ones.
    async fn list_volumes(&self) -> Result<Vec<Volume>> {
        Err(self.descriptor().unsupported(Operation::ListVolumes))
    }

    /// Makes a volume.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; `Unsupported` for a size where volumes have none.
    async fn create_volume(&self, _spec: &VolumeSpec) -> Result<Volume> {
        Err(self.descriptor().unsupported(Operation::CreateVolume))
    }

    /// Deletes a volume and what is on it. When it returns, the name is free.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when an instance uses it.
    async fn delete_volume(&self, _volume: &VolumeName) -> Result<()> {
        Err(self.descriptor().unsupported(Operation::DeleteVolume))
    }

    // ---- images -----------------------------------------------------------------------------------

    /// The images at hand.
    ///
    /// # Errors
    /// Only the general ones.
    async fn list_images(&self) -> Result<Vec<Image>> {
        Err(self.descriptor().unsupported(Operation::ListImages))
    }

    /// Makes sure that an image is at hand, fetching it when it is not. Already there = success. `file:/absolute/path`
    /// is a file on the machine where this program runs, in the technology's own format; it is given to the substrate
    /// once, and the answer is the image under which the substrate knows it.
    ///
    /// # Errors
    /// `NotFound` when it is neither here nor where it would be fetched from; `InvalidInput` for a
    /// reference that is none; `Unsupported` for a file without
    /// [`Feature::ImageFiles`](crate::Feature::ImageFiles).
    async fn ensure_image(&self, _reference: &str) -> Result<Image> {
        Err(self.descriptor().unsupported(Operation::EnsureImage))
    }

    // ---- events -----------------------------------------------------------------------------------

    /// What happens on the substrate, whoever does it. Subscribed when this returns: no change made after
    /// that is missed without a [`WatchItem::Gap`](crate::WatchItem::Gap). The stream goes on for ever, or
    /// ends with an error when the connection is lost; resume it with the last cursor.
    ///
    /// # Errors
    /// `Unsupported` without events, or for a cursor without
    /// [`Feature::WatchResume`](crate::Feature::WatchResume).
    async fn watch(&self, _options: &WatchOptions) -> Result<WatchStream> {
        Err(self.descriptor().unsupported(Operation::Watch))
    }
}

/// Type and name: so that what holds an `Arc<dyn Substrate>` can derive `Debug`.
impl fmt::Debug for dyn Substrate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let descriptor = self.descriptor();
        write!(formatter, "{} ({})", descriptor.name, descriptor.provider_type)
    }
}

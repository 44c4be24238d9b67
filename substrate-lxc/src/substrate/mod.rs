//! `impl Substrate`: reads like the contract; the work is in the files of each concern.

mod connection;
mod console;
mod create;
mod events;
mod exec;
mod exit_record;
mod image_files;
mod images;
mod lifecycle;
mod log_files;
mod logs;
mod metrics;
mod moments;
mod networks;
mod power;
mod resources;
mod session;
mod snapshots;
mod stopping;
mod under_way;
mod volumes;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use substrate_core::config::{Environment, Section};
use substrate_core::provider::{NameLocks, in_context};
use substrate_core::{
    CloneConfig, Command, CommandSession, Descriptor, DescriptorCell, HealthReport, Image, Instance,
    InstanceConfig, InstanceFilter, InstanceKind, InstanceName, LogOptions, LogStream, Network,
    NetworkConfig, NetworkName, NetworkSpec, Operation, ResourceLimits, ResourceUsage, Result, Snapshot,
    SnapshotConfig, SnapshotName, StopMode, Substrate, UsageMeter, Volume, VolumeName, VolumeSpec,
    WatchOptions, WatchStream,
};

use crate::client::Client;
use crate::config::{LxcConfig, ServerKind};
use console::Consoles;
use moments::Moments;

/// The technology's name in descriptors and configurations, where it is not said which of the two servers it is.
pub const PROVIDER_TYPE: &str = "lxc";

/// One LXD or Incus server, seen through one project.
///
/// Cheap to make: nothing is sent before the first call. One handle serves any number of callers and
/// survives restarts of the server.
#[derive(Debug)]
pub struct LxcSubstrate {
    client: Arc<Client>,
    descriptor: DescriptorCell,
    config: LxcConfig,
    meter: UsageMeter,
    names: NameLocks,
    consoles: Arc<Consoles>,
    starts: Moments,
    /// Stops that were sent and whose end nobody has seen: perhaps their caller has gone.
    stops: Moments,
    /// Which server it is, as far as that is known.
    product: RwLock<Option<ServerKind>>,
}

impl LxcSubstrate {
    /// A substrate called `name`. Does not connect, and reads no environment: see
    /// [`LxcConfig::with_environment`].
    ///
    /// # Errors
    /// `InvalidInput` for settings that cannot be used: an address that is none, an unreadable certificate.
    pub fn new(name: impl Into<Arc<str>>, config: LxcConfig) -> Result<Self> {
        let name = name.into();
        let client = Client::new(&config).map_err(|error| error.with_substrate(name.clone()))?;
        let kinds = [InstanceKind::Container, InstanceKind::VirtualMachine];
        let capabilities = connection::at_best(&config);
        let descriptor = Descriptor::new(config.provider_type(), name, kinds, capabilities);
        Ok(Self {
            product: RwLock::new(config.server),
            client: Arc::new(client),
            descriptor: DescriptorCell::new(descriptor),
            config,
            meter: UsageMeter::new(),
            names: NameLocks::default(),
            consoles: Arc::default(),
            starts: Moments::default(),
            stops: Moments::default(),
        })
    }

    /// The server that the servers' own tools would use on this machine: `INCUS_SOCKET`, `INCUS_DIR`,
    /// `LXD_SOCKET`, `LXD_DIR`, else the first socket that is there at a usual place.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn from_environment() -> Result<Self> {
        Self::new(PROVIDER_TYPE, LxcConfig::default().with_environment(&Environment::from_process()))
    }

    /// A substrate of the type `lxc` from its section of a configuration: whichever of the servers answers. Fits
    /// [`Registry::register`](substrate_core::registry::Registry::register); [`register`](crate::register) also
    /// knows `lxd` and `incus`.
    ///
    /// # Errors
    /// `InvalidInput` with every problem of the section; those of [`new`](Self::new).
    pub fn from_section(name: &str, section: &Section) -> Result<Arc<dyn Substrate>> {
        Self::of_type(PROVIDER_TYPE, name, section)
    }

    pub(crate) fn of_type(provider_type: &str, name: &str, section: &Section) -> Result<Arc<dyn Substrate>> {
        Ok(Arc::new(Self::new(name, LxcConfig::from_section(provider_type, name, section)?)?))
    }

    fn product(&self) -> Option<ServerKind> {
        *self.product.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Substrate for LxcSubstrate {
    // ---- connection -------------------------------------------------------------------------------

    fn descriptor(&self) -> Arc<Descriptor> {
        self.descriptor.get()
    }

    async fn connect(&self) -> Result<()> {
        self.discover().await.map_err(self.descriptor.context(Operation::Connect))
    }

    fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    async fn health_check(&self) -> Result<HealthReport> {
        self.health().await.map_err(self.descriptor.context(Operation::HealthCheck))
    }

    // ---- lifecycle --------------------------------------------------------------------------------

    async fn list_instances(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        self.list(filter).await.map_err(self.descriptor.context(Operation::ListInstances))
    }

    async fn get_instance(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        self.get(name).await.map_err(self.descriptor.about(Operation::GetInstance, name))
    }

    async fn validate_config(&self, config: &InstanceConfig) -> Result<()> {
        self.validate(config).await.map_err(self.descriptor.about(Operation::ValidateConfig, &config.name))
    }

    async fn create_instance(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        self.create(config).await.map_err(self.descriptor.about(Operation::CreateInstance, &config.name))
    }

    async fn start_instance(&self, name: &InstanceName) -> Result<()> {
        self.start(name).await.map_err(self.descriptor.about(Operation::StartInstance, name))
    }

    async fn stop_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        self.stop(name, mode).await.map_err(self.descriptor.about(Operation::StopInstance, name))
    }

    async fn restart_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        self.restart(name, mode).await.map_err(self.descriptor.about(Operation::RestartInstance, name))
    }

    async fn pause_instance(&self, name: &InstanceName) -> Result<()> {
        self.pause(name).await.map_err(self.descriptor.about(Operation::PauseInstance, name))
    }

    async fn resume_instance(&self, name: &InstanceName) -> Result<()> {
        self.resume(name).await.map_err(self.descriptor.about(Operation::ResumeInstance, name))
    }

    async fn delete_instance(&self, name: &InstanceName, force: bool) -> Result<()> {
        self.delete(name, force).await.map_err(self.descriptor.about(Operation::DeleteInstance, name))
    }

    // ---- interaction ------------------------------------------------------------------------------

    async fn open_command(&self, name: &InstanceName, command: &Command) -> Result<CommandSession> {
        let about = self.descriptor.about(Operation::OpenCommand, name.clone());
        match self.open(name, command).await {
            Ok(session) => Ok(CommandSession::new(session.input, in_context(session.output, about))),
            Err(error) => Err(about(error)),
        }
    }

    async fn get_logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        let about = self.descriptor.about(Operation::GetLogs, name.clone());
        match self.logs(name, options).await {
            Ok(lines) => Ok(in_context(lines, about)),
            Err(error) => Err(about(error)),
        }
    }

    // ---- metrics ----------------------------------------------------------------------------------

    async fn get_metrics(&self, name: &InstanceName) -> Result<ResourceUsage> {
        self.usage(name).await.map_err(self.descriptor.about(Operation::GetMetrics, name))
    }

    // ---- resources --------------------------------------------------------------------------------

    async fn get_resource_limits(&self, name: &InstanceName) -> Result<ResourceLimits> {
        self.limits(name).await.map_err(self.descriptor.about(Operation::GetResourceLimits, name))
    }

    async fn set_resource_limits(&self, name: &InstanceName, limits: &ResourceLimits) -> Result<()> {
        self.set_limits(name, limits).await.map_err(self.descriptor.about(Operation::SetResourceLimits, name))
    }

    // ---- snapshots --------------------------------------------------------------------------------

    async fn create_snapshot(&self, name: &InstanceName, config: &SnapshotConfig) -> Result<Snapshot> {
        self.take_snapshot(name, config).await.map_err(self.descriptor.about(Operation::CreateSnapshot, name))
    }

    async fn list_snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>> {
        self.snapshots(name).await.map_err(self.descriptor.about(Operation::ListSnapshots, name))
    }

    async fn restore_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        self.restore(name, snapshot).await.map_err(self.descriptor.about(Operation::RestoreSnapshot, name))
    }

    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        self.drop_snapshot(name, snapshot)
            .await
            .map_err(self.descriptor.about(Operation::DeleteSnapshot, name))
    }

    async fn clone_instance(&self, source: &InstanceName, config: &CloneConfig) -> Result<Arc<Instance>> {
        self.copy(source, config).await.map_err(self.descriptor.about(Operation::CloneInstance, source))
    }

    // ---- networks ---------------------------------------------------------------------------------

    async fn list_networks(&self) -> Result<Vec<Network>> {
        self.networks().await.map_err(self.descriptor.context(Operation::ListNetworks))
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Network> {
        self.make_network(spec).await.map_err(self.descriptor.about(Operation::CreateNetwork, &spec.name))
    }

    async fn delete_network(&self, network: &NetworkName) -> Result<()> {
        self.drop_network(network).await.map_err(self.descriptor.about(Operation::DeleteNetwork, network))
    }

    async fn attach_network(&self, name: &InstanceName, network: &NetworkConfig) -> Result<()> {
        self.attach(name, network).await.map_err(self.descriptor.about(Operation::AttachNetwork, name))
    }

    async fn detach_network(&self, name: &InstanceName, network: &NetworkName) -> Result<()> {
        self.detach(name, network).await.map_err(self.descriptor.about(Operation::DetachNetwork, name))
    }

    // ---- volumes ----------------------------------------------------------------------------------

    async fn list_volumes(&self) -> Result<Vec<Volume>> {
        self.volumes().await.map_err(self.descriptor.context(Operation::ListVolumes))
    }

    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        self.make_volume(spec).await.map_err(self.descriptor.about(Operation::CreateVolume, &spec.name))
    }

    async fn delete_volume(&self, volume: &VolumeName) -> Result<()> {
        self.drop_volume(volume).await.map_err(self.descriptor.about(Operation::DeleteVolume, volume))
    }

    // ---- images -----------------------------------------------------------------------------------

    async fn list_images(&self) -> Result<Vec<Image>> {
        self.images().await.map_err(self.descriptor.context(Operation::ListImages))
    }

    async fn ensure_image(&self, reference: &str) -> Result<Image> {
        self.image(reference).await.map_err(self.descriptor.about(Operation::EnsureImage, reference))
    }

    // ---- events -----------------------------------------------------------------------------------

    async fn watch(&self, options: &WatchOptions) -> Result<WatchStream> {
        let context = self.descriptor.context(Operation::Watch);
        match self.subscribe(options).await {
            Ok(events) => Ok(in_context(events, context)),
            Err(error) => Err(context(error)),
        }
    }
}

//! `impl Substrate`: reads like the contract; the work is in the files of each concern.

mod connection;
mod create;
mod deletion;
mod events;
mod exec;
mod feed;
mod logs;
mod lookup;
mod machine_snapshots;
mod machines;
mod metrics;
mod networks;
mod pace;
mod patience;
mod power;
mod resources;
mod session;
mod snapshots;
mod volumes;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use substrate_core::config::{Environment, Section};
use substrate_core::provider::{NameLocks, in_context};
use substrate_core::{
    Command, CommandSession, Descriptor, DescriptorCell, HealthReport, Instance, InstanceConfig,
    InstanceFilter, InstanceName, LogOptions, LogStream, Network, NetworkConfig, NetworkName, NetworkSpec,
    Operation, ResourceLimits, ResourceUsage, Result, Snapshot, SnapshotConfig, SnapshotName, StopMode,
    Substrate, UsageMeter, Volume, VolumeName, VolumeSpec, WatchOptions, WatchStream,
};

#[cfg(test)]
pub(crate) use events::Versions;

use crate::client::Client;
use crate::config::{K8sConfig, Workload};
use connection::Discovered;
use metrics::Clock;

/// The technology's name in descriptors and configurations.
pub const PROVIDER_TYPE: &str = "k8s";

/// One namespace of one Kubernetes cluster.
///
/// Cheap to make: nothing is read or sent before the first call. One handle serves any number of callers and survives
/// restarts of the API server.
#[derive(Debug)]
pub struct K8sSubstrate {
    client: Arc<Client>,
    descriptor: DescriptorCell,
    config: K8sConfig,
    discovered: RwLock<Discovered>,
    meter: UsageMeter,
    clock: Clock,
    names: NameLocks,
}

impl K8sSubstrate {
    /// A substrate called `name`. Does not connect, and reads no environment: see [`K8sConfig::with_environment`].
    ///
    /// # Errors
    /// `InvalidInput` for settings that cannot be used.
    pub fn new(name: impl Into<Arc<str>>, config: K8sConfig) -> Result<Self> {
        let name = name.into();
        config.validate().map_err(|error| error.with_substrate(name.clone()))?;
        let kinds = [config.workload.instance_kind()];
        let descriptor = Descriptor::new(PROVIDER_TYPE, name, kinds, connection::at_best(&config));
        Ok(Self {
            client: Arc::new(Client::new(config.clone())),
            descriptor: DescriptorCell::new(descriptor),
            config,
            discovered: RwLock::default(),
            meter: UsageMeter::new(),
            clock: Clock::default(),
            names: NameLocks::default(),
        })
    }

    /// The cluster that Kubernetes' own tools would use: that of `KUBECONFIG`, else of `~/.kube/config`, else the one
    /// that this program runs in.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn from_environment() -> Result<Self> {
        Self::new(PROVIDER_TYPE, K8sConfig::default().with_environment(&Environment::from_process()))
    }

    /// A substrate from its section of a configuration; see [`K8sConfig::from_section`] for `KUBECONFIG`. Fits
    /// [`Registry::register`](substrate_core::registry::Registry::register):
    ///
    /// ```
    /// # use substrate_core::registry::Registry;
    /// # use substrate_k8s::K8sSubstrate;
    /// let mut registry = Registry::new();
    /// registry.register("k8s", K8sSubstrate::from_section)?;
    /// # Ok::<(), substrate_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` with every problem of the section; those of [`new`](Self::new).
    pub fn from_section(name: &str, section: &Section) -> Result<Arc<dyn Substrate>> {
        Ok(Arc::new(Self::new(name, K8sConfig::from_section(name, section)?)?))
    }

    fn workload(&self) -> Workload {
        self.config.workload
    }

    fn discovered(&self) -> Discovered {
        *self.discovered.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Substrate for K8sSubstrate {
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
        self.validate(config)
            .await
            .map(drop)
            .map_err(self.descriptor.about(Operation::ValidateConfig, &config.name))
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
        self.make_snapshot(name, config).await.map_err(self.descriptor.about(Operation::CreateSnapshot, name))
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

    // ---- events -----------------------------------------------------------------------------------

    async fn watch(&self, options: &WatchOptions) -> Result<WatchStream> {
        let context = self.descriptor.context(Operation::Watch);
        match self.subscribe(options).await {
            Ok(events) => Ok(in_context(events, context)),
            Err(error) => Err(context(error)),
        }
    }
}

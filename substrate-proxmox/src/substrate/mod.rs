//! The contract on Proxmox VE. This file is the table of contents: what each method does is in the files beside it.

mod coalesced;
mod connection;
mod console;
mod create;
mod events;
mod exec;
#[cfg(test)]
mod fuzz;
mod gates;
mod image_files;
mod image_sums;
mod images;
mod in_use;
mod lifecycle;
mod locate;
mod logs;
mod memory;
mod metrics;
mod migrate;
mod network_changes;
mod networks;
mod orders;
mod prepare;
mod resources;
mod snapshots;
mod sources;
mod storage;
mod vnets;
mod volumes;
mod waiting;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use substrate_core::config::{Environment, Section};
use substrate_core::provider::{NameLocks, in_context};
use substrate_core::{
    CloneConfig, Command, CommandSession, Descriptor, DescriptorCell, Error, HealthReport, Image, Instance,
    InstanceConfig, InstanceFilter, InstanceName, LogOptions, LogStream, Network, NetworkConfig, NetworkName,
    NetworkSpec, Operation, ResourceLimits, ResourceUsage, Result, Snapshot, SnapshotConfig, SnapshotName,
    StopMode, Substrate, UsageMeter, Volume, VolumeName, VolumeSpec, WatchOptions, WatchStream,
};

use crate::client::{Client, Form, path};
use crate::config::ProxmoxConfig;
use crate::convert::guest::{GuestKind, seconds};
use crate::convert::inventory::Listed;
use crate::convert::text::{Fields, integer};
use coalesced::Coalesced;
use gates::Gates;
use image_sums::ImageSums;
use memory::Memory;

/// The technology's name in descriptors and configurations.
pub const PROVIDER_TYPE: &str = "proxmox";

/// A node or a whole cluster of Proxmox VE.
///
/// Cheap to make: nothing is sent before the first call. One handle serves any number of callers and survives
/// restarts of the API, and the loss of nodes as long as one of its hosts is left.
#[derive(Debug, Clone)]
pub struct ProxmoxSubstrate {
    client: Arc<Client>,
    descriptor: Arc<DescriptorCell>,
    config: Arc<ProxmoxConfig>,
    kinds: Arc<[GuestKind]>,
    meter: Arc<UsageMeter>,
    names: Arc<NameLocks>,
    gates: Arc<Gates>,
    memory: Memory,
    sums: ImageSums,
    in_cluster: Arc<Coalesced<Vec<Listed>>>,
    on_nodes: Arc<Coalesced<(Vec<Listed>, Vec<String>)>>,
}

impl ProxmoxSubstrate {
    /// A substrate called `name`. Does not connect, and reads no environment: see
    /// [`ProxmoxConfig::with_environment`].
    ///
    /// # Errors
    /// `InvalidInput` for settings that cannot be used: no host, a certificate that cannot be read.
    pub fn new(name: impl Into<Arc<str>>, config: ProxmoxConfig) -> Result<Self> {
        let name = name.into();
        let make = || {
            config.check()?;
            let client = Client::new(&config)?;
            let kinds: Arc<[GuestKind]> =
                config.kinds.iter().filter_map(|kind| GuestKind::of(*kind)).collect();
            Ok((client, kinds))
        };
        let (client, kinds) = make().map_err(|error: Error| error.with_substrate(name.clone()))?;
        let of: Vec<_> = kinds.iter().map(|kind| kind.instance_kind()).collect();
        let descriptor = Descriptor::new(PROVIDER_TYPE, name, of, connection::at_best(&kinds));
        Ok(Self {
            client: Arc::new(client),
            descriptor: Arc::new(DescriptorCell::new(descriptor)),
            config: Arc::new(config),
            kinds,
            meter: Arc::new(UsageMeter::new()),
            names: Arc::default(),
            gates: Arc::default(),
            memory: Memory::default(),
            sums: ImageSums::default(),
            in_cluster: Arc::default(),
            on_nodes: Arc::default(),
        })
    }

    /// The host and the credentials of the variables that Proxmox tools use.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn from_environment() -> Result<Self> {
        Self::new(PROVIDER_TYPE, ProxmoxConfig::default().with_environment(&Environment::from_process()))
    }

    /// A substrate from its section of a configuration. Fits
    /// [`Registry::register`](substrate_core::registry::Registry::register):
    ///
    /// ```
    /// # use substrate_core::registry::Registry;
    /// # use substrate_proxmox::ProxmoxSubstrate;
    /// let mut registry = Registry::new();
    /// registry.register("proxmox", ProxmoxSubstrate::from_section)?;
    /// # Ok::<(), substrate_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` with every problem of the section; those of [`new`](Self::new).
    pub fn from_section(name: &str, section: &Section) -> Result<Arc<dyn Substrate>> {
        Ok(Arc::new(Self::new(name, ProxmoxConfig::from_section(section)?)?))
    }

    /// The same handle, for a stream that outlives the call that opened it.
    fn watcher(&self) -> Self {
        self.clone()
    }

    fn note_time(&self, now: SystemTime) {
        self.memory.note_time(now);
    }

    /// Seconds on the server's clock.
    fn server_time(&self) -> Option<u64> {
        self.memory.server_time().map(seconds)
    }

    /// The number of every guest of the cluster, also of kinds that this substrate is not about.
    async fn cluster_view_of_all(&self) -> Result<Vec<u64>> {
        let query = Form::new().with("type", "vm");
        let answer = self
            .client
            .read::<Vec<Fields>>("list the guests", &path(&["cluster", "resources"]), query)
            .await?;
        if let Some(now) = answer.date {
            self.note_time(now);
        }
        Ok(answer.data.iter().filter_map(|entry| integer(entry, "vmid")).collect())
    }
}

#[async_trait]
impl Substrate for ProxmoxSubstrate {
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

    async fn pause_instance(&self, name: &InstanceName) -> Result<()> {
        self.descriptor.get().require(Operation::PauseInstance)?;
        self.pause(name).await.map_err(self.descriptor.about(Operation::PauseInstance, name))
    }

    async fn resume_instance(&self, name: &InstanceName) -> Result<()> {
        self.descriptor.get().require(Operation::ResumeInstance)?;
        self.resume(name).await.map_err(self.descriptor.about(Operation::ResumeInstance, name))
    }

    async fn delete_instance(&self, name: &InstanceName, force: bool) -> Result<()> {
        self.delete(name, force).await.map_err(self.descriptor.about(Operation::DeleteInstance, name))
    }

    // ---- interaction ------------------------------------------------------------------------------

    async fn execute_command(
        &self,
        name: &InstanceName,
        command: &Command,
    ) -> Result<substrate_core::CommandOutput> {
        self.descriptor.get().require(Operation::ExecuteCommand)?;
        let about = self.descriptor.about(Operation::ExecuteCommand, name);
        let run = async {
            let session = self.open(name, command).await?;
            session.collect(None, command.output_limit).await
        };
        let result = match command.timeout {
            None => run.await,
            Some(timeout) => tokio::time::timeout(timeout, run).await.unwrap_or_else(|_| {
                Err(Error::timeout(format!("the command did not end within {timeout:?}"))
                    .with_hint("it goes on inside the guest: the agent cannot end it"))
            }),
        };
        result.map_err(about)
    }

    async fn open_command(&self, name: &InstanceName, command: &Command) -> Result<CommandSession> {
        self.descriptor.get().require(Operation::OpenCommand)?;
        let about = self.descriptor.about(Operation::OpenCommand, name.clone());
        match self.open(name, command).await {
            Ok(session) => Ok(CommandSession::new(session.input, in_context(session.output, about))),
            Err(error) => Err(about(error)),
        }
    }

    async fn get_logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        self.logs(name, options).await.map_err(self.descriptor.about(Operation::GetLogs, name))
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

    async fn delete_network(&self, name: &NetworkName) -> Result<()> {
        self.drop_network(name).await.map_err(self.descriptor.about(Operation::DeleteNetwork, name))
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

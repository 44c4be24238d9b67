//! The contract on the fake: each method is one call, and one line tells where its meaning stands.

mod creation;
mod events;
mod images;
mod interaction;
mod lifecycle;
mod logs;
mod networks;
mod resources;
mod snapshots;
mod volumes;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use substrate_core::{
    Capacity, CloneConfig, Command, CommandOutput, CommandSession, Descriptor, HealthReport, Image, Instance,
    InstanceConfig, InstanceFilter, InstanceName, LogOptions, LogStream, Network, NetworkConfig, NetworkName,
    NetworkSpec, Operation, ResourceLimits, ResourceUsage, Result, Snapshot, SnapshotConfig, SnapshotName,
    StopMode, Substrate, Volume, VolumeName, VolumeSpec, WatchOptions, WatchStream,
};
use tokio::time::Instant;

use crate::call::Call;
use crate::call_log::Target;
use crate::fake::Fake;

pub(crate) use creation::create;
pub(crate) use lifecycle::{crash, cut, delete, main_of, run};

impl Fake {
    async fn begin(&self, operation: Operation, target: impl Into<Target>) -> Result<Call<'_>> {
        Call::begin(&self.inner, operation, target.into()).await
    }
}

#[async_trait]
impl Substrate for Fake {
    // ---- connection -------------------------------------------------------------------------------

    fn descriptor(&self) -> Arc<Descriptor> {
        Arc::clone(&self.inner.descriptor)
    }

    async fn connect(&self) -> Result<()> {
        let call = self.begin(Operation::Connect, Target::Nothing).await?;
        call.end(Ok(())).await
    }

    fn is_connected(&self) -> bool {
        self.inner.connected.load(Ordering::Relaxed)
    }

    async fn health_check(&self) -> Result<HealthReport> {
        let asked = Instant::now();
        let call = self.begin(Operation::HealthCheck, Target::Nothing).await?;
        let capacity: Result<Capacity> = call.read(|state, _| Ok(resources::capacity(state))).await;
        let report = capacity.map(|capacity| {
            let version = concat!("fake ", env!("CARGO_PKG_VERSION"));
            let mut report = HealthReport::healthy(asked.elapsed()).with_version(version);
            report.capacity = capacity;
            report
        });
        call.end(report).await
    }

    // ---- lifecycle --------------------------------------------------------------------------------

    async fn list_instances(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        let call = self.begin(Operation::ListInstances, Target::Nothing).await?;
        let result = call.read(|state, now| Ok(state.views(filter, now))).await;
        call.end(result).await
    }

    async fn get_instance(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        let call = self.begin(Operation::GetInstance, name).await?;
        let result = call.read(|state, now| state.view(name, now)).await;
        call.end(result).await
    }

    async fn validate_config(&self, config: &InstanceConfig) -> Result<()> {
        let call = self.begin(Operation::ValidateConfig, &config.name).await?;
        let descriptor = &self.inner.descriptor;
        let result = call.read(|state, _| creation::validate(state, descriptor, config).map(drop)).await;
        call.end(result).await
    }

    async fn create_instance(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let call = self.begin(Operation::CreateInstance, &config.name).await?;
        let result = creation::create_instance(&call, config).await;
        call.end(result).await
    }

    async fn start_instance(&self, name: &InstanceName) -> Result<()> {
        let call = self.begin(Operation::StartInstance, name).await?;
        let result = lifecycle::start(&call, name).await;
        call.end(result).await
    }

    async fn stop_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let call = self.begin(Operation::StopInstance, name).await?;
        let result = lifecycle::stop(&call, name, mode).await;
        call.end(result).await
    }

    async fn restart_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let call = self.begin(Operation::RestartInstance, name).await?;
        let result = lifecycle::restart(&call, name, mode).await;
        call.end(result).await
    }

    async fn pause_instance(&self, name: &InstanceName) -> Result<()> {
        let call = self.begin(Operation::PauseInstance, name).await?;
        let result = lifecycle::pause(&call, name).await;
        call.end(result).await
    }

    async fn resume_instance(&self, name: &InstanceName) -> Result<()> {
        let call = self.begin(Operation::ResumeInstance, name).await?;
        let result = lifecycle::resume(&call, name).await;
        call.end(result).await
    }

    async fn delete_instance(&self, name: &InstanceName, force: bool) -> Result<()> {
        let call = self.begin(Operation::DeleteInstance, name).await?;
        let result = call.change(|change| lifecycle::delete(change, name, force)).await;
        call.end(result).await
    }

    // ---- interaction ------------------------------------------------------------------------------

    async fn execute_command(&self, name: &InstanceName, command: &Command) -> Result<CommandOutput> {
        let call = self.begin(Operation::ExecuteCommand, name).await?;
        let result = interaction::execute(&self.inner, &call, name, command).await;
        call.end(result).await
    }

    async fn open_command(&self, name: &InstanceName, command: &Command) -> Result<CommandSession> {
        let call = self.begin(Operation::OpenCommand, name).await?;
        let result = interaction::open(&self.inner, &call, name, command, command.interactive).await;
        call.end(result).await
    }

    async fn get_logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        let call = self.begin(Operation::GetLogs, name).await?;
        let result = logs::open(&self.inner, &call, name, options).await;
        call.end(result).await
    }

    // ---- metrics and resources --------------------------------------------------------------------

    async fn get_metrics(&self, name: &InstanceName) -> Result<ResourceUsage> {
        let call = self.begin(Operation::GetMetrics, name).await?;
        let result = call.read(|state, now| resources::usage(state, name, now)).await;
        call.end(result).await
    }

    async fn get_resource_limits(&self, name: &InstanceName) -> Result<ResourceLimits> {
        let call = self.begin(Operation::GetResourceLimits, name).await?;
        let result = call.read(|state, _| Ok(state.instance(name)?.config.limits)).await;
        call.end(result).await
    }

    async fn set_resource_limits(&self, name: &InstanceName, limits: &ResourceLimits) -> Result<()> {
        let call = self.begin(Operation::SetResourceLimits, name).await?;
        let capabilities = &self.inner.descriptor.capabilities;
        let result = call.change(|change| resources::set_limits(change, capabilities, name, limits)).await;
        call.end(result).await
    }

    // ---- snapshots --------------------------------------------------------------------------------

    async fn create_snapshot(&self, name: &InstanceName, config: &SnapshotConfig) -> Result<Snapshot> {
        let call = self.begin(Operation::CreateSnapshot, name).await?;
        let capabilities = &self.inner.descriptor.capabilities;
        let result = call.change(|change| snapshots::create(change, capabilities, name, config)).await;
        call.end(result).await
    }

    async fn list_snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>> {
        let call = self.begin(Operation::ListSnapshots, name).await?;
        let result = call.read(|state, _| snapshots::list(state, name)).await;
        call.end(result).await
    }

    async fn restore_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let call = self.begin(Operation::RestoreSnapshot, name).await?;
        let result = snapshots::restore(&call, name, snapshot).await;
        call.end(result).await
    }

    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let call = self.begin(Operation::DeleteSnapshot, name).await?;
        let result = call.change(|change| snapshots::delete(change, name, snapshot)).await;
        call.end(result).await
    }

    async fn clone_instance(&self, source: &InstanceName, config: &CloneConfig) -> Result<Arc<Instance>> {
        let call = self.begin(Operation::CloneInstance, source).await?;
        let capabilities = &self.inner.descriptor.capabilities;
        let result = call.change(|change| snapshots::clone(change, capabilities, source, config)).await;
        call.end(result).await
    }

    // ---- networks ---------------------------------------------------------------------------------

    async fn list_networks(&self) -> Result<Vec<Network>> {
        let call = self.begin(Operation::ListNetworks, Target::Nothing).await?;
        let result = call
            .read(|state, _| Ok(state.networks.values().map(|record| record.network.clone()).collect()))
            .await;
        call.end(result).await
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Network> {
        let call = self.begin(Operation::CreateNetwork, &spec.name).await?;
        let capabilities = &self.inner.descriptor.capabilities;
        let result = call.change(|change| networks::create(change, capabilities, spec)).await;
        call.end(result).await
    }

    async fn delete_network(&self, network: &NetworkName) -> Result<()> {
        let call = self.begin(Operation::DeleteNetwork, network).await?;
        let result = call.change(|change| networks::delete(change, network)).await;
        call.end(result).await
    }

    async fn attach_network(&self, name: &InstanceName, network: &NetworkConfig) -> Result<()> {
        let call = self.begin(Operation::AttachNetwork, name).await?;
        let capabilities = &self.inner.descriptor.capabilities;
        let result = call.change(|change| networks::attach(change, capabilities, name, network)).await;
        call.end(result).await
    }

    async fn detach_network(&self, name: &InstanceName, network: &NetworkName) -> Result<()> {
        let call = self.begin(Operation::DetachNetwork, name).await?;
        let result = call.change(|change| networks::detach(change, name, network)).await;
        call.end(result).await
    }

    // ---- volumes and images -----------------------------------------------------------------------

    async fn list_volumes(&self) -> Result<Vec<Volume>> {
        let call = self.begin(Operation::ListVolumes, Target::Nothing).await?;
        let result = call
            .read(|state, _| Ok(state.volumes.values().map(|record| record.volume.clone()).collect()))
            .await;
        call.end(result).await
    }

    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        let call = self.begin(Operation::CreateVolume, &spec.name).await?;
        let capabilities = &self.inner.descriptor.capabilities;
        let result = call.change(|change| volumes::create(change, capabilities, spec)).await;
        call.end(result).await
    }

    async fn delete_volume(&self, volume: &VolumeName) -> Result<()> {
        let call = self.begin(Operation::DeleteVolume, volume).await?;
        let result = call.change(|change| volumes::delete(change, volume)).await;
        call.end(result).await
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let call = self.begin(Operation::ListImages, Target::Nothing).await?;
        let result = call.read(|state, _| Ok(state.images.values().cloned().collect())).await;
        call.end(result).await
    }

    async fn ensure_image(&self, reference: &str) -> Result<Image> {
        let call = self.begin(Operation::EnsureImage, Target::Image(reference.to_owned())).await?;
        let result = images::ensure(&call, reference).await;
        call.end(result).await
    }

    // ---- events -----------------------------------------------------------------------------------

    async fn watch(&self, options: &WatchOptions) -> Result<WatchStream> {
        let call = self.begin(Operation::Watch, Target::Nothing).await?;
        let result = events::watch(&self.inner, &call, options);
        call.end(result).await
    }
}

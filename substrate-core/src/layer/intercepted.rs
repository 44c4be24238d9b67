//! The only code that forwards the methods of the trait.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;

use crate::capability::Feature;
use crate::command::{Command, CommandOutput, CommandSession};
use crate::descriptor::Descriptor;
use crate::error::{Error, Result};
use crate::event::{WatchOptions, WatchStream};
use crate::health::HealthReport;
use crate::image::Image;
use crate::instance::{Instance, InstanceFilter, StopMode};
use crate::instance_config::InstanceConfig;
use crate::label::{Labels, mark};
use crate::layer::call::{Call, Target};
use crate::layer::interceptor::Interceptor;
use crate::layer::repetition::Repetition;
use crate::log::{LogOptions, LogStream};
use crate::metrics::SubstrateMetrics;
use crate::name::{InstanceName, NetworkName, SnapshotName, VolumeName};
use crate::network::{Network, NetworkConfig, NetworkSpec};
use crate::operation::Operation;
use crate::resource::{ResourceLimits, ResourceUsage};
use crate::snapshot::{CloneConfig, Snapshot, SnapshotConfig};
use crate::stream::BoxStream;
use crate::substrate::Substrate;
use crate::volume::{Volume, VolumeSpec};

/// A substrate with an interceptor around it.
///
/// The inner substrate is erased, so one stack is compiled once however many providers there are, and a
/// call through it costs one allocation more than a bare call.
pub struct Intercepted<I> {
    interceptor: I,
    inner: Arc<dyn Substrate>,
}

impl<I: Interceptor> Intercepted<I> {
    /// Puts `interceptor` around `inner`.
    #[must_use]
    pub fn new(interceptor: I, inner: Arc<dyn Substrate>) -> Self {
        Self { interceptor, inner }
    }

    /// The interceptor.
    #[must_use]
    pub fn interceptor(&self) -> &I {
        &self.interceptor
    }

    /// The key of a creation, where a layer may repeat it and the substrate keeps labels: a repetition then
    /// tells what a lost call has made from what somebody else has made.
    fn keyed<'a, C: Clone>(
        &self,
        descriptor: &Descriptor,
        feature: Feature,
        config: &'a C,
        labels: fn(&mut C) -> &mut Labels,
        has_key: bool,
    ) -> Cow<'a, C> {
        if has_key || !self.interceptor.repeats() || !descriptor.capabilities.can(feature) {
            return Cow::Borrowed(config);
        }
        let mut keyed = config.clone();
        labels(&mut keyed).insert(mark::KEY, crate::layer::repetition::new_key());
        Cow::Owned(keyed)
    }
}

impl<I: fmt::Debug> fmt::Debug for Intercepted<I> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Intercepted")
            .field("interceptor", &self.interceptor)
            .field("substrate", &self.inner.descriptor().name)
            .finish()
    }
}

/// Every method is one line: which operation, which arguments, what runs. `deny` below finds a method that
/// was added to the trait and not here.
macro_rules! forward {
    ($self:ident, $operation:ident, $target:expr, $next:expr) => {{
        let descriptor = $self.inner.descriptor();
        let call = Call::new(Operation::$operation, $target, &descriptor);
        $self.interceptor.around(&call, &$next).await.map_err(|error| call.explain(error))
    }};
}

/// The same for a method that returns a stream.
macro_rules! forward_stream {
    ($self:ident, $operation:ident, $target:expr, $next:expr) => {{
        let descriptor = $self.inner.descriptor();
        let call = Call::new(Operation::$operation, $target, &descriptor);
        let stream = $self.interceptor.around(&call, &$next).await.map_err(|error| call.explain(error))?;
        Ok($self.interceptor.stream(&call, explained(&call, stream)))
    }};
}

/// The same stream, with errors that say what they are about: an item comes long after its call.
fn explained<T: Send + 'static>(call: &Call<'_>, stream: BoxStream<Result<T>>) -> BoxStream<Result<T>> {
    let operation = call.operation;
    let substrate = call.descriptor.name.clone();
    let name: Option<Arc<str>> = call.target.name().map(Arc::from);
    let explain = move |error: Error| {
        let error = error.with_operation(operation).with_substrate(substrate.clone());
        match &name {
            Some(name) => error.with_instance(name),
            None => error,
        }
    };
    stream.map(move |item| item.map_err(&explain)).boxed()
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<I: Interceptor> Substrate for Intercepted<I> {
    fn descriptor(&self) -> Arc<Descriptor> {
        self.inner.descriptor()
    }

    async fn connect(&self) -> Result<()> {
        forward!(self, Connect, Target::Substrate, || self.inner.connect())
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    async fn health_check(&self) -> Result<HealthReport> {
        forward!(self, HealthCheck, Target::Substrate, || self.inner.health_check())
    }

    async fn list_instances(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        forward!(self, ListInstances, Target::Selection(filter), || self.inner.list_instances(filter))
    }

    async fn get_instance(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        forward!(self, GetInstance, Target::Instance(name), || self.inner.get_instance(name))
    }

    async fn validate_config(&self, config: &InstanceConfig) -> Result<()> {
        forward!(self, ValidateConfig, Target::Creation(config), || self.inner.validate_config(config))
    }

    async fn create_instance(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let descriptor = self.inner.descriptor();
        let has_key = config.labels.get(mark::KEY).is_some();
        let config = &*self.keyed(&descriptor, Feature::Labels, config, |config| &mut config.labels, has_key);
        let repetition = Repetition::new(&*self.inner);
        forward!(self, CreateInstance, Target::Creation(config), || repetition.create_instance(config))
    }

    async fn start_instance(&self, name: &InstanceName) -> Result<()> {
        forward!(self, StartInstance, Target::Instance(name), || self.inner.start_instance(name))
    }

    async fn stop_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        forward!(self, StopInstance, Target::Stop(name, mode), || self.inner.stop_instance(name, mode))
    }

    async fn restart_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        forward!(self, RestartInstance, Target::Stop(name, mode), || self.inner.restart_instance(name, mode))
    }

    async fn pause_instance(&self, name: &InstanceName) -> Result<()> {
        forward!(self, PauseInstance, Target::Instance(name), || self.inner.pause_instance(name))
    }

    async fn resume_instance(&self, name: &InstanceName) -> Result<()> {
        forward!(self, ResumeInstance, Target::Instance(name), || self.inner.resume_instance(name))
    }

    async fn delete_instance(&self, name: &InstanceName, force: bool) -> Result<()> {
        let repetition = Repetition::new(&*self.inner);
        forward!(self, DeleteInstance, Target::Deletion(name, force), || repetition
            .delete(|| { self.inner.delete_instance(name, force) }))
    }

    async fn execute_command(&self, name: &InstanceName, command: &Command) -> Result<CommandOutput> {
        forward!(self, ExecuteCommand, Target::Command(name, command), || self
            .inner
            .execute_command(name, command))
    }

    async fn open_command(&self, name: &InstanceName, command: &Command) -> Result<CommandSession> {
        let descriptor = self.inner.descriptor();
        let call = Call::new(Operation::OpenCommand, Target::Command(name, command), &descriptor);
        let session = self.interceptor.around(&call, &|| self.inner.open_command(name, command)).await;
        let session = session.map_err(|error| call.explain(error))?;
        Ok(CommandSession::new(
            session.input,
            self.interceptor.stream(&call, explained(&call, session.output)),
        ))
    }

    async fn get_logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        forward_stream!(self, GetLogs, Target::Logs(name, options), || self.inner.get_logs(name, options))
    }

    async fn get_metrics(&self, name: &InstanceName) -> Result<ResourceUsage> {
        forward!(self, GetMetrics, Target::Instance(name), || self.inner.get_metrics(name))
    }

    fn substrate_metrics(&self) -> SubstrateMetrics {
        self.interceptor.metrics().merged_with(self.inner.substrate_metrics())
    }

    async fn get_resource_limits(&self, name: &InstanceName) -> Result<ResourceLimits> {
        forward!(self, GetResourceLimits, Target::Instance(name), || self.inner.get_resource_limits(name))
    }

    async fn set_resource_limits(&self, name: &InstanceName, limits: &ResourceLimits) -> Result<()> {
        forward!(self, SetResourceLimits, Target::Limits(name, limits), || {
            self.inner.set_resource_limits(name, limits)
        })
    }

    async fn create_snapshot(&self, name: &InstanceName, config: &SnapshotConfig) -> Result<Snapshot> {
        let descriptor = self.inner.descriptor();
        let has_key = config.labels.get(mark::KEY).is_some();
        let config =
            &*self.keyed(&descriptor, Feature::ResourceLabels, config, |config| &mut config.labels, has_key);
        let repetition = Repetition::new(&*self.inner);
        forward!(self, CreateSnapshot, Target::SnapshotCreation(name, config), || {
            repetition.create_snapshot(name, config)
        })
    }

    async fn list_snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>> {
        forward!(self, ListSnapshots, Target::Instance(name), || self.inner.list_snapshots(name))
    }

    async fn restore_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        forward!(self, RestoreSnapshot, Target::Snapshot(name, snapshot), || {
            self.inner.restore_snapshot(name, snapshot)
        })
    }

    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let repetition = Repetition::new(&*self.inner);
        forward!(self, DeleteSnapshot, Target::Snapshot(name, snapshot), || repetition
            .delete(|| { self.inner.delete_snapshot(name, snapshot) }))
    }

    async fn clone_instance(&self, source: &InstanceName, config: &CloneConfig) -> Result<Arc<Instance>> {
        let descriptor = self.inner.descriptor();
        let has_key = config.labels.get(mark::KEY).is_some();
        let config = &*self.keyed(&descriptor, Feature::Labels, config, |config| &mut config.labels, has_key);
        let repetition = Repetition::new(&*self.inner);
        forward!(self, CloneInstance, Target::Clone(source, config), || repetition
            .clone_instance(source, config))
    }

    async fn list_networks(&self) -> Result<Vec<Network>> {
        forward!(self, ListNetworks, Target::Substrate, || self.inner.list_networks())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Network> {
        let descriptor = self.inner.descriptor();
        let has_key = spec.labels.get(mark::KEY).is_some();
        let spec = &*self.keyed(&descriptor, Feature::ResourceLabels, spec, |spec| &mut spec.labels, has_key);
        let repetition = Repetition::new(&*self.inner);
        forward!(self, CreateNetwork, Target::NetworkCreation(spec), || repetition.create_network(spec))
    }

    async fn delete_network(&self, network: &NetworkName) -> Result<()> {
        let repetition = Repetition::new(&*self.inner);
        forward!(self, DeleteNetwork, Target::Network(network), || repetition
            .delete(|| { self.inner.delete_network(network) }))
    }

    async fn attach_network(&self, name: &InstanceName, network: &NetworkConfig) -> Result<()> {
        forward!(self, AttachNetwork, Target::Attachment(name, network), || self
            .inner
            .attach_network(name, network))
    }

    async fn detach_network(&self, name: &InstanceName, network: &NetworkName) -> Result<()> {
        forward!(self, DetachNetwork, Target::Detachment(name, network), || self
            .inner
            .detach_network(name, network))
    }

    async fn list_volumes(&self) -> Result<Vec<Volume>> {
        forward!(self, ListVolumes, Target::Substrate, || self.inner.list_volumes())
    }

    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        let descriptor = self.inner.descriptor();
        let has_key = spec.labels.get(mark::KEY).is_some();
        let spec = &*self.keyed(&descriptor, Feature::ResourceLabels, spec, |spec| &mut spec.labels, has_key);
        let repetition = Repetition::new(&*self.inner);
        forward!(self, CreateVolume, Target::VolumeCreation(spec), || repetition.create_volume(spec))
    }

    async fn delete_volume(&self, volume: &VolumeName) -> Result<()> {
        let repetition = Repetition::new(&*self.inner);
        forward!(self, DeleteVolume, Target::Volume(volume), || repetition
            .delete(|| { self.inner.delete_volume(volume) }))
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        forward!(self, ListImages, Target::Substrate, || self.inner.list_images())
    }

    async fn ensure_image(&self, reference: &str) -> Result<Image> {
        forward!(self, EnsureImage, Target::Image(reference), || self.inner.ensure_image(reference))
    }

    async fn watch(&self, options: &WatchOptions) -> Result<WatchStream> {
        forward_stream!(self, Watch, Target::Watch(options), || self.inner.watch(options))
    }
}

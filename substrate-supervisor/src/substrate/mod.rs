//! `impl Substrate`: reads like the contract; the work is in the files of each concern.

mod connection;
mod create;
mod delete;
mod events;
mod logs;
mod looking;
mod metrics;
mod starting;
mod stopping;

use std::sync::Arc;

use async_trait::async_trait;
use substrate_core::config::{Environment, Section};
use substrate_core::provider::{NameLocks, in_context};
use substrate_core::{
    Descriptor, DescriptorCell, Error, HealthReport, Instance, InstanceConfig, InstanceFilter, InstanceKind,
    InstanceName, LogOptions, LogStream, Operation, Outcome, ResourceUsage, Result, StopMode, Substrate,
    UsageMeter, WatchOptions, WatchStream,
};

use crate::client::Client;
use crate::config::SupervisorConfig;
use crate::folder::Folder;

/// The technology's name in descriptors and configurations.
pub const PROVIDER_TYPE: &str = "supervisor";

/// One supervisord.
///
/// Cheap to make: nothing is sent before the first call. One handle serves any number of callers and survives
/// restarts of supervisord.
#[derive(Debug)]
pub struct SupervisorSubstrate {
    shared: Arc<Shared>,
    names: NameLocks,
    meter: UsageMeter,
}

/// What streams go on with after the call that opened them.
#[derive(Debug)]
struct Shared {
    client: Client,
    descriptor: DescriptorCell,
    config: SupervisorConfig,
    folder: Option<Folder>,
}

impl SupervisorSubstrate {
    /// A substrate called `name`. Does not connect, and reads no environment: see
    /// [`SupervisorConfig::with_environment`].
    ///
    /// # Errors
    /// `InvalidInput` for settings that cannot be used.
    pub fn new(name: impl Into<Arc<str>>, config: SupervisorConfig) -> Result<Self> {
        let name = name.into();
        let client = Client::new(&config).map_err(|error| error.with_substrate(name.clone()))?;
        let folder = config.include_folder.as_deref().map(|path| Folder::new(path, &config.file_extension));
        let capabilities = connection::capabilities(folder.as_ref().map(|_| ()).ok_or(connection::NO_FOLDER));
        let descriptor = Descriptor::new(PROVIDER_TYPE, name, [InstanceKind::Process], capabilities);
        let shared = Shared { client, descriptor: DescriptorCell::new(descriptor), config, folder };
        Ok(Self { shared: Arc::new(shared), names: NameLocks::default(), meter: UsageMeter::new() })
    }

    /// The supervisord that a child of it finds in its environment (`SUPERVISOR_SERVER_URL`), else the one at
    /// the usual socket. Without an include folder: it creates nothing.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn from_environment() -> Result<Self> {
        Self::new(PROVIDER_TYPE, SupervisorConfig::default().with_environment(&Environment::from_process()))
    }

    /// A substrate from its section of a configuration. Fits
    /// [`Registry::register`](substrate_core::registry::Registry::register).
    ///
    /// # Errors
    /// `InvalidInput` with every problem of the section; those of [`new`](Self::new).
    pub fn from_section(name: &str, section: &Section) -> Result<Arc<dyn Substrate>> {
        Ok(Arc::new(Self::new(name, SupervisorConfig::from_section(section)?)?))
    }

    fn client(&self) -> &Client {
        &self.shared.client
    }
}

/// An error of what was only a look before the work: nothing has happened, though the answer was lost.
fn nothing_done(error: Error) -> Error {
    if error.outcome() == Outcome::Unknown { error.with_outcome(Outcome::NotSent) } else { error }
}

#[async_trait]
impl Substrate for SupervisorSubstrate {
    // ---- connection -------------------------------------------------------------------------------

    fn descriptor(&self) -> Arc<Descriptor> {
        self.shared.descriptor.get()
    }

    async fn connect(&self) -> Result<()> {
        self.discover().await.map_err(self.shared.descriptor.context(Operation::Connect))
    }

    fn is_connected(&self) -> bool {
        self.client().is_connected()
    }

    async fn health_check(&self) -> Result<HealthReport> {
        self.health().await.map_err(self.shared.descriptor.context(Operation::HealthCheck))
    }

    // ---- lifecycle --------------------------------------------------------------------------------

    async fn list_instances(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        self.shared.list(filter).await.map_err(self.shared.descriptor.context(Operation::ListInstances))
    }

    async fn get_instance(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        self.get(name).await.map_err(self.shared.descriptor.about(Operation::GetInstance, name))
    }

    async fn validate_config(&self, config: &InstanceConfig) -> Result<()> {
        self.validate(config)
            .await
            .map_err(self.shared.descriptor.about(Operation::ValidateConfig, &config.name))
    }

    async fn create_instance(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        self.create(config)
            .await
            .map_err(self.shared.descriptor.about(Operation::CreateInstance, &config.name))
    }

    async fn start_instance(&self, name: &InstanceName) -> Result<()> {
        self.start(name).await.map_err(self.shared.descriptor.about(Operation::StartInstance, name))
    }

    async fn stop_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        self.stop(name, mode).await.map_err(self.shared.descriptor.about(Operation::StopInstance, name))
    }

    async fn restart_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        self.restart(name, mode).await.map_err(self.shared.descriptor.about(Operation::RestartInstance, name))
    }

    async fn delete_instance(&self, name: &InstanceName, force: bool) -> Result<()> {
        self.delete(name, force).await.map_err(self.shared.descriptor.about(Operation::DeleteInstance, name))
    }

    // ---- interaction ------------------------------------------------------------------------------

    async fn get_logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        let about = self.shared.descriptor.about(Operation::GetLogs, name.clone());
        match self.logs(name, options).await {
            Ok(lines) => Ok(in_context(lines, about)),
            Err(error) => Err(about(error)),
        }
    }

    // ---- metrics ----------------------------------------------------------------------------------

    async fn get_metrics(&self, name: &InstanceName) -> Result<ResourceUsage> {
        self.usage(name).await.map_err(self.shared.descriptor.about(Operation::GetMetrics, name))
    }

    // ---- events -----------------------------------------------------------------------------------

    async fn watch(&self, options: &WatchOptions) -> Result<WatchStream> {
        let context = self.shared.descriptor.context(Operation::Watch);
        match self.subscribe(options).await {
            Ok(events) => Ok(in_context(events, context)),
            Err(error) => Err(context(error)),
        }
    }
}

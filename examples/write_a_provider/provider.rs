//! A small provider: each instance is a process of this machine.
//!
//! What it has: the required methods, logs, graceful stops, labels, metadata, command and environment. What
//! it has not is not declared, and the contract's default bodies refuse it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use substrates::{
    Capabilities, Descriptor, Error, Feature, HealthReport, Instance, InstanceConfig, InstanceFilter,
    InstanceKind, InstanceName, LogLine, LogOptions, LogSource, LogStream, Operation, Outcome, ResourceUsage,
    Result, StopMode, Substrate, async_trait,
};
use tokio::sync::OwnedMutexGuard;

use super::process::{Managed, lock};

/// The only image: the machine itself.
pub(crate) const IMAGE: &str = "host";

/// Processes of this machine, as long as this value lives.
pub(crate) struct Processes {
    descriptor: Arc<Descriptor>,
    logs: PathBuf,
    connected: AtomicBool,
    next: AtomicU64,
    instances: Mutex<BTreeMap<InstanceName, Arc<Managed>>>,
}

impl Processes {
    /// A substrate called `name` that writes what its processes say into the folder `logs`.
    pub(crate) fn new(name: &str, logs: impl Into<PathBuf>) -> Self {
        let capabilities = Capabilities::required_only().with([Operation::GetLogs]).with([
            Feature::CreateStopped,
            Feature::CreateCommand,
            Feature::CreateEnvironment,
            Feature::GracefulStop,
            Feature::Labels,
            Feature::Metadata,
        ]);
        Self {
            descriptor: Arc::new(Descriptor::new("process", name, [InstanceKind::Process], capabilities)),
            logs: logs.into(),
            connected: AtomicBool::new(false),
            next: AtomicU64::new(1),
            instances: Mutex::default(),
        }
    }

    /// By name, else by id.
    fn find(&self, operation: Operation, name: &InstanceName) -> Result<Arc<Managed>> {
        let instances = lock(&self.instances);
        let by_id = || instances.values().find(|managed| managed.id == name.as_str());
        instances.get(name).or_else(by_id).cloned().ok_or_else(|| {
            self.descriptor.about(operation, name)(Error::not_found(
                "no process of that name was created here",
            ))
        })
    }

    /// The instance, and the right to change it until the guard is dropped.
    async fn turn(
        &self,
        operation: Operation,
        name: &InstanceName,
    ) -> Result<(Arc<Managed>, OwnedMutexGuard<()>)> {
        loop {
            let managed = self.find(operation, name)?;
            let guard = managed.turn.clone().lock_owned().await;
            // Who had the turn before may have deleted it.
            if self.find(operation, name).is_ok_and(|now| Arc::ptr_eq(&now, &managed)) {
                return Ok((managed, guard));
            }
        }
    }

    fn folder(&self) -> Result<()> {
        fs::create_dir_all(&self.logs).map_err(|error| {
            Error::unavailable(format!("cannot make the folder {}: {error}", self.logs.display()))
        })
    }
}

#[async_trait]
impl Substrate for Processes {
    fn descriptor(&self) -> Arc<Descriptor> {
        self.descriptor.clone()
    }

    async fn connect(&self) -> Result<()> {
        self.folder()?;
        self.connected.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    async fn health_check(&self) -> Result<HealthReport> {
        Ok(HealthReport::healthy(Duration::ZERO).with_version(std::env::consts::OS))
    }

    async fn list_instances(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        let all = lock(&self.instances).values().map(|managed| managed.describe()).collect::<Vec<_>>();
        Ok(all.into_iter().filter(|instance| filter.matches(instance)).map(Arc::new).collect())
    }

    async fn get_instance(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        Ok(Arc::new(self.find(Operation::GetInstance, name)?.describe()))
    }

    /// What is asked for and cannot be had is refused here: never ignored.
    async fn validate_config(&self, config: &InstanceConfig) -> Result<()> {
        config.validate()?;
        config.require_features(&self.descriptor.capabilities)?;
        if config.kind.is_some_and(|kind| kind != InstanceKind::Process) {
            return Err(Error::unsupported("this substrate only runs processes"));
        }
        if config.image.as_deref().is_some_and(|image| image != IMAGE) {
            return Err(Error::not_found(format!("the only image is `{IMAGE}`")));
        }
        if let Some(option) = config.options.keys().next() {
            return Err(Error::invalid_input(format!("unknown option `{}`", option.escape_debug())));
        }
        if config.command.is_empty() {
            return Err(Error::invalid_input("a process needs a command"));
        }
        Ok(())
    }

    async fn create_instance(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let explain = self.descriptor.about(Operation::CreateInstance, &config.name);
        self.validate_config(config).await.map_err(&explain)?;
        let id = format!("{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed));
        let mut instances = lock(&self.instances);
        if instances.contains_key(&config.name) {
            return Err(explain(Error::already_exists("there is a process of that name")));
        }
        let managed = Arc::new(Managed {
            log: self.logs.join(format!("{id}.log")),
            id,
            config: config.clone(),
            created_at: SystemTime::now(),
            turn: Arc::default(),
            process: Mutex::default(),
        });
        instances.insert(config.name.clone(), managed.clone());
        Ok(Arc::new(managed.describe()))
    }

    async fn start_instance(&self, name: &InstanceName) -> Result<()> {
        let (managed, _turn) = self.turn(Operation::StartInstance, name).await?;
        if managed.runs() {
            return Ok(());
        }
        let start = async {
            self.folder()?;
            managed.start().await
        };
        start.await.map_err(self.descriptor.about(Operation::StartInstance, name))
    }

    async fn stop_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let (managed, _turn) = self.turn(Operation::StopInstance, name).await?;
        let explain = self.descriptor.about(Operation::StopInstance, name);
        if mode != StopMode::Force {
            managed.ask_to_end();
            if managed.ends_within(mode.grace()).await {
                return Ok(());
            }
            if let StopMode::Graceful(grace) = mode {
                let error = Error::timeout(format!("it did not end within {grace:?} of SIGTERM"));
                return Err(explain(error.with_outcome(Outcome::Rejected)));
            }
        }
        managed.kill().await.map_err(&explain)
    }

    async fn delete_instance(&self, name: &InstanceName, force: bool) -> Result<()> {
        let (managed, _turn) = self.turn(Operation::DeleteInstance, name).await?;
        let explain = self.descriptor.about(Operation::DeleteInstance, name);
        if managed.runs() && !force {
            let error = Error::conflict("it is running").with_hint("stop it first, or delete with force");
            return Err(explain(error));
        }
        managed.kill().await.map_err(&explain)?;
        lock(&self.instances).remove(&managed.config.name);
        // One that never ran has none.
        let _ = fs::remove_file(&managed.log);
        Ok(())
    }

    async fn get_logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        options.require_features(&self.descriptor.capabilities)?;
        let managed = self.find(Operation::GetLogs, name)?;
        // One that never started has no file, and wrote nothing.
        let text = fs::read(&managed.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.split_terminator('\n').collect();
        let skipped = lines.len().saturating_sub(options.lines.unwrap_or(usize::MAX));
        let line =
            |text: &&str| LogLine { time: None, source: LogSource::Stdout, message: (*text).to_owned() };
        let lines: Vec<Result<LogLine>> = lines.iter().skip(skipped).map(line).map(Ok).collect();
        Ok(stream::iter(lines).boxed())
    }

    async fn get_metrics(&self, name: &InstanceName) -> Result<ResourceUsage> {
        let managed = self.find(Operation::GetMetrics, name)?;
        Ok(managed.measure().unwrap_or_default())
    }
}

//! A substrate with one seeded bug.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use substrate_core::*;

use crate::bug::Bug;
use crate::distortion::distorted;

/// The substrate inside, with the bug.
pub(crate) struct Mutant {
    bug: Bug,
    inner: Arc<dyn Substrate>,
    /// Which copy was made from which source.
    sources: Mutex<HashMap<InstanceName, InstanceName>>,
    /// The name that was asked for last.
    last: Mutex<Option<InstanceName>>,
    locked: AtomicBool,
}

impl Mutant {
    pub(crate) fn new(bug: Bug, inner: Arc<dyn Substrate>) -> Self {
        Self { bug, inner, sources: Mutex::default(), last: Mutex::default(), locked: AtomicBool::new(false) }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    /// Who really gets a command for `name`.
    fn address(&self, name: &InstanceName) -> InstanceName {
        self.sources.lock().unwrap().get(name).cloned().unwrap_or_else(|| name.clone())
    }

    /// What is told of a result.
    fn told<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match self.bug {
            Bug::NotFoundIsUncertain if error.is_not_found() => error.with_outcome(Outcome::Unknown),
            Bug::MissingIsInvalidInput if error.is_not_found() => Error::invalid_input("what is that?"),
            _ => error,
        })
    }
}

/// Does something a little later, behind the caller's back.
fn later<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce() -> F + Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        work().await;
    });
}

#[async_trait]
impl Substrate for Mutant {
    fn descriptor(&self) -> Arc<Descriptor> {
        let descriptor = self.inner.descriptor();
        let hide = |ability: Ability| {
            let mut limited = (*descriptor).clone();
            limited.capabilities = limited.capabilities.without(ability, "hidden");
            Arc::new(limited)
        };
        match self.bug {
            Bug::UndeclaredLimitIsIgnored => hide(Feature::DiskLimit.into()),
            Bug::UndeclaredOperationWorks => hide(Operation::PauseInstance.into()),
            Bug::HidesWhatIsRequired => hide(Operation::StopInstance.into()),
            Bug::UndeclaredFeaturesWork => {
                let mut limited = (*descriptor).clone();
                limited.capabilities =
                    Capabilities::required_only().with(Operation::ALL.iter().copied()).with([
                        // Without these a trial has nothing to begin with.
                        Feature::CreateStopped,
                        Feature::CreateCommand,
                        Feature::CpuLimit,
                    ]);
                Arc::new(limited)
            }
            _ => descriptor,
        }
    }

    async fn connect(&self) -> Result<()> {
        if self.locked.swap(true, Ordering::SeqCst) && self.has(Bug::ConnectsOnlyOnce) {
            return Err(Error::conflict("it is connected already"));
        }
        self.locked.store(self.has(Bug::ConnectsOnlyOnce), Ordering::SeqCst);
        self.inner.connect().await
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected() && !self.has(Bug::SaysThatItIsNotConnected)
    }

    async fn health_check(&self) -> Result<HealthReport> {
        let report = self.inner.health_check().await?;
        match self.bug {
            Bug::SaysThatItIsUnhealthy => Ok(report.with_issue(HealthStatus::Unhealthy, "a headache")),
            _ => Ok(report),
        }
    }

    async fn list_instances(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        match self.bug {
            Bug::ListHasRunningOnesOnly => {
                let all = self.inner.list_instances(filter).await?;
                Ok(all.into_iter().filter(|instance| instance.state == InstanceState::Running).collect())
            }
            Bug::ListMatchesSubstrings => {
                let mut wide = filter.clone();
                wide.name_prefix = None;
                let part = filter.name_prefix.as_deref().unwrap_or_default();
                let all = self.inner.list_instances(&wide).await?;
                Ok(all.into_iter().filter(|instance| instance.name.as_str().contains(part)).collect())
            }
            Bug::ListTakesPrefixesAsPatterns => {
                let mut wide = filter.clone();
                let plain = |prefix: &String| {
                    let pattern = prefix.trim_start_matches('^');
                    pattern.split(['.', '*', '[', '%', '?']).next().unwrap_or_default().to_owned()
                };
                wide.name_prefix = filter.name_prefix.as_ref().map(plain);
                self.inner.list_instances(&wide).await
            }
            Bug::ListIgnoresLabelValues => {
                let mut wide = filter.clone();
                wide.labels = Labels::new();
                let all = self.inner.list_instances(&wide).await?;
                let has_keys = |instance: &Arc<Instance>| {
                    filter.labels.iter().all(|(key, _)| instance.labels.get(key).is_some())
                };
                Ok(all.into_iter().filter(has_keys).collect())
            }
            _ => self.inner.list_instances(filter).await,
        }
    }

    async fn get_instance(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        match self.bug {
            Bug::GetInventsTheMissing => match self.inner.get_instance(name).await {
                Err(error) if error.is_not_found() => Ok(Arc::new(Instance::new(
                    "",
                    name.clone(),
                    InstanceKind::Container,
                    InstanceState::Unknown,
                ))),
                result => result,
            },
            Bug::GetMixesUpAnswers => {
                *self.last.lock().unwrap() = Some(name.clone());
                tokio::task::yield_now().await;
                let last = self.last.lock().unwrap().clone().unwrap_or_else(|| name.clone());
                self.inner.get_instance(&last).await
            }
            _ => self.told(self.inner.get_instance(name).await),
        }
    }

    async fn validate_config(&self, config: &InstanceConfig) -> Result<()> {
        match self.bug {
            Bug::ValidateAcceptsEverything => Ok(()),
            _ => self.told(self.inner.validate_config(config).await),
        }
    }

    async fn create_instance(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let mut changed = config.clone();
        match self.bug {
            Bug::CreateLosesLabels => changed.labels = Labels::new(),
            Bug::CreateLosesTheEnvironment => changed.environment = Default::default(),
            Bug::UndeclaredLimitIsIgnored => changed.limits.disk_gb = None,
            _ => {}
        }
        let result = self.inner.create_instance(&changed).await;
        match (self.bug, &result) {
            (Bug::CreateStarts, Ok(created)) => self.inner.start_instance(&created.name).await?,
            (Bug::CreateLeavesHalf, Err(error)) if error.is_not_found() => {
                changed.networks.clear();
                changed.volumes.clear();
                self.inner.create_instance(&changed).await?;
            }
            (Bug::CreateReplaces, Err(error)) if error.is_already_exists() => {
                self.inner.delete_instance(&config.name, true).await?;
                return self.inner.create_instance(config).await;
            }
            (Bug::CreateAdopts, Err(error)) if error.is_already_exists() => {
                return self.inner.get_instance(&config.name).await;
            }
            (Bug::CreateLeaksAVolume, Ok(created)) => {
                let spec = VolumeSpec::new(VolumeName::new(format!("{}-disk", created.name))?);
                self.inner.create_volume(&spec).await?;
            }
            _ => {}
        }
        result
    }

    async fn start_instance(&self, name: &InstanceName) -> Result<()> {
        match self.bug {
            Bug::StartReturnsTooEarly => {
                let (inner, name) = (Arc::clone(&self.inner), name.clone());
                later(move || async move { drop(inner.start_instance(&name).await) });
                Ok(())
            }
            Bug::SecondStartFails if self.inner.get_instance(name).await?.state == InstanceState::Running => {
                Err(Error::conflict("it runs already").with_instance(name))
            }
            Bug::SecondStartRestarts => self.inner.restart_instance(name, StopMode::Force).await,
            Bug::StartHoldsALockWhenDropped => {
                if self.locked.swap(true, Ordering::SeqCst) {
                    return Err(Error::busy("another start is under way").with_instance(name));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                let result = self.inner.start_instance(name).await;
                self.locked.store(false, Ordering::SeqCst);
                result
            }
            _ => self.told(self.inner.start_instance(name).await),
        }
    }

    async fn stop_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        match (self.bug, mode) {
            (Bug::StopKillsSilently, StopMode::Graceful(grace)) => {
                self.inner.stop_instance(name, StopMode::GracefulThenForce(grace)).await
            }
            (Bug::StopIsNotIdempotent, _)
                if self.inner.get_instance(name).await?.state == InstanceState::Stopped =>
            {
                Err(Error::conflict("it does not run").with_instance(name))
            }
            _ => self.told(self.inner.stop_instance(name, mode).await),
        }
    }

    async fn restart_instance(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        match self.bug {
            Bug::RestartDoesNothing => self.inner.start_instance(name).await,
            _ => self.told(self.inner.restart_instance(name, mode).await),
        }
    }

    async fn pause_instance(&self, name: &InstanceName) -> Result<()> {
        match self.bug {
            Bug::PauseStops => self.inner.stop_instance(name, StopMode::Force).await,
            _ => self.told(self.inner.pause_instance(name).await),
        }
    }

    async fn resume_instance(&self, name: &InstanceName) -> Result<()> {
        self.told(self.inner.resume_instance(name).await)
    }

    async fn delete_instance(&self, name: &InstanceName, force: bool) -> Result<()> {
        match self.bug {
            Bug::DeleteLeavesTheName => {
                self.inner.get_instance(name).await?;
                let (inner, name) = (Arc::clone(&self.inner), name.clone());
                later(move || async move { drop(inner.delete_instance(&name, force).await) });
                Ok(())
            }
            Bug::DeleteNeedsNoForce => self.inner.delete_instance(name, true).await,
            _ => self.told(self.inner.delete_instance(name, force).await),
        }
    }

    async fn execute_command(&self, name: &InstanceName, command: &Command) -> Result<CommandOutput> {
        let mut changed = command.clone();
        match self.bug {
            Bug::CommandJoinsArguments => {
                let line = command.argv.join(" ");
                changed.argv = line.split_whitespace().map(str::to_owned).collect();
            }
            Bug::CommandIgnoresItsTimeout => changed.timeout = None,
            _ => {}
        }
        let mut output = self.told(self.inner.execute_command(&self.address(name), &changed).await)?;
        match self.bug {
            Bug::CommandLosesTheExitCode => output.status = ExitStatus::Code(0),
            Bug::CommandMergesStreams => {
                output.stdout = [output.stdout, output.stderr].concat().into();
                output.stderr = bytes::Bytes::new();
            }
            Bug::CommandCutsOutput => output.stdout.truncate(1 << 20),
            Bug::CommandDamagesBytes => output.stdout = output.stdout_text().into(),
            _ => {}
        }
        Ok(output)
    }

    async fn open_command(&self, name: &InstanceName, command: &Command) -> Result<CommandSession> {
        let session = self.told(self.inner.open_command(&self.address(name), command).await)?;
        if !self.has(Bug::SessionEndsWithoutStatus) {
            return Ok(session);
        }
        let output = session.output.filter(|event| {
            std::future::ready(!matches!(event, Ok(CommandEvent::Exited(status)) if status.success()))
        });
        Ok(CommandSession::new(session.input, output.boxed()))
    }

    async fn get_logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        let mut changed = options.clone();
        if self.has(Bug::LogsGiveOneLineTooMany) {
            changed.lines = options.lines.map(|lines| lines + 1);
        }
        let stream = self.told(self.inner.get_logs(name, &changed).await)?;
        if self.has(Bug::FollowingNeverEnds) && options.follow {
            return Ok(stream.chain(futures_util::stream::pending()).boxed());
        }
        Ok(stream)
    }

    async fn get_metrics(&self, name: &InstanceName) -> Result<ResourceUsage> {
        let mut usage = self.told(self.inner.get_metrics(name).await)?;
        if self.has(Bug::MetricsAreFractions) {
            usage.cpu_percent = usage.cpu_percent.map(|percent| percent / 100.0);
        }
        Ok(usage)
    }

    fn substrate_metrics(&self) -> SubstrateMetrics {
        self.inner.substrate_metrics()
    }

    async fn get_resource_limits(&self, name: &InstanceName) -> Result<ResourceLimits> {
        self.told(self.inner.get_resource_limits(name).await)
    }

    async fn set_resource_limits(&self, name: &InstanceName, limits: &ResourceLimits) -> Result<()> {
        match self.bug {
            Bug::LimitsAreIgnored => Ok(()),
            Bug::EmptyLimitsClearAll if limits.is_empty() => {
                let all = ResourceLimits { cpu_cores: Some(64.0), memory_mb: Some(65_536), ..*limits };
                self.inner.set_resource_limits(name, &all).await
            }
            _ => self.told(self.inner.set_resource_limits(name, limits).await),
        }
    }

    async fn create_snapshot(&self, name: &InstanceName, config: &SnapshotConfig) -> Result<Snapshot> {
        let mut changed = config.clone();
        if self.has(Bug::SnapshotLosesWhatItWasGiven) {
            changed = SnapshotConfig::new(config.name.clone());
        }
        match self.inner.create_snapshot(name, &changed).await {
            Err(error) if self.has(Bug::SnapshotReplaces) && error.is_already_exists() => {
                self.inner.delete_snapshot(name, &config.name).await?;
                self.inner.create_snapshot(name, config).await
            }
            result => self.told(result),
        }
    }

    async fn list_snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>> {
        let mut all = self.told(self.inner.list_snapshots(name).await)?;
        if self.has(Bug::SnapshotsAreListedByName) {
            all.sort_by(|one, other| one.name.cmp(&other.name));
        }
        Ok(all)
    }

    async fn restore_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        match self.bug {
            Bug::RestoreDoesNothing => Ok(()),
            Bug::RestoreStarts => {
                self.inner.restore_snapshot(name, snapshot).await?;
                self.inner.start_instance(name).await
            }
            Bug::RestoreStopsBeforeItLooks => {
                self.inner.stop_instance(name, StopMode::Force).await?;
                self.inner.restore_snapshot(name, snapshot).await?;
                self.inner.start_instance(name).await
            }
            _ => self.told(self.inner.restore_snapshot(name, snapshot).await),
        }
    }

    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        match self.bug {
            Bug::SnapshotDeletionDoesNothing => Ok(()),
            _ => self.told(self.inner.delete_snapshot(name, snapshot).await),
        }
    }

    async fn clone_instance(&self, source: &InstanceName, config: &CloneConfig) -> Result<Arc<Instance>> {
        let mut changed = config.clone();
        if self.has(Bug::CloneCopiesLabels) {
            let labels = self.inner.get_instance(source).await?.labels.clone();
            changed.labels = labels;
            changed.labels.extend(config.labels.clone());
        }
        let copy = self.told(self.inner.clone_instance(source, &changed).await)?;
        if self.has(Bug::CloneSharesFiles) {
            self.sources.lock().unwrap().insert(config.name.clone(), source.clone());
        }
        Ok(copy)
    }

    async fn list_networks(&self) -> Result<Vec<Network>> {
        let mut all = self.inner.list_networks().await?;
        if self.has(Bug::NetworksAreListedBackwards) {
            all.reverse();
        }
        Ok(all)
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Network> {
        let mut changed = spec.clone();
        match self.bug {
            Bug::NetworkLosesWhatItWasGiven => changed = NetworkSpec::new(spec.name.clone()),
            Bug::OptionsAreIgnored => changed.options.clear(),
            _ => {}
        }
        match self.inner.create_network(&changed).await {
            Err(error) if self.has(Bug::NetworkIsAdopted) && error.is_already_exists() => {
                Ok(Network::new(spec.name.as_str(), spec.name.clone(), "bridge"))
            }
            result => result,
        }
    }

    async fn delete_network(&self, network: &NetworkName) -> Result<()> {
        match self.bug {
            Bug::NetworkDeletionDoesNothing => return Ok(()),
            Bug::NetworkInUseIsDeleted => {
                for instance in self.inner.list_instances(&InstanceFilter::all()).await? {
                    self.inner.detach_network(&instance.name, network).await?;
                }
            }
            _ => {}
        }
        self.told(self.inner.delete_network(network).await)
    }

    async fn attach_network(&self, name: &InstanceName, network: &NetworkConfig) -> Result<()> {
        let mut changed = network.clone();
        if self.has(Bug::AttachIgnoresTheAddress) {
            changed.ip_address = None;
        }
        self.told(self.inner.attach_network(name, &changed).await)
    }

    async fn detach_network(&self, name: &InstanceName, network: &NetworkName) -> Result<()> {
        self.told(self.inner.detach_network(name, network).await)
    }

    async fn list_volumes(&self) -> Result<Vec<Volume>> {
        let mut all = self.inner.list_volumes().await?;
        if self.has(Bug::VolumesAreListedBackwards) {
            all.reverse();
        }
        Ok(all)
    }

    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        let mut changed = spec.clone();
        match self.bug {
            Bug::VolumeLosesWhatItWasGiven => changed = VolumeSpec::new(spec.name.clone()),
            Bug::OptionsAreIgnored => changed.options.clear(),
            _ => {}
        }
        match self.inner.create_volume(&changed).await {
            Err(error) if self.has(Bug::VolumeIsAdopted) && error.is_already_exists() => {
                Ok(Volume::new(spec.name.as_str(), spec.name.clone()))
            }
            result => result,
        }
    }

    async fn delete_volume(&self, volume: &VolumeName) -> Result<()> {
        match self.bug {
            Bug::VolumeDeletionDoesNothing => Ok(()),
            _ => self.told(self.inner.delete_volume(volume).await),
        }
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        match self.bug {
            Bug::ImagesAreNotListed => Ok(Vec::new()),
            _ => self.inner.list_images().await,
        }
    }

    async fn ensure_image(&self, reference: &str) -> Result<Image> {
        match self.bug {
            Bug::ImagesAreInvented => Ok(Image::new("invented", vec![reference.to_owned()])),
            _ => self.inner.ensure_image(reference).await,
        }
    }

    async fn watch(&self, options: &WatchOptions) -> Result<WatchStream> {
        let stream = self.inner.watch(options).await?;
        Ok(distorted(self.bug, stream))
    }
}

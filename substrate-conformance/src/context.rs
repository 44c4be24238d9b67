//! What a trial works with: unique names, instances that go away afterwards, and conditions to wait for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use substrate_core::{
    Ability, Command, CommandOutput, Error, Feature, Instance, InstanceConfig, InstanceName, InstanceState,
    Network, NetworkName, NetworkSpec, Operation, Result, SnapshotName, StopMode, Substrate, SubstrateExt,
    Volume, VolumeName, VolumeSpec, mark,
};
use tokio::time::Instant;

use crate::guest::{Guest, Program};
use crate::inventory::Thing;
use crate::run::Run;
use crate::setup::Setup;
use crate::verdict::{Failure, Verdict, ensure, same};

/// A grace that no well-behaved guest needs.
pub(crate) const AMPLE: Duration = Duration::from_secs(10);
/// A grace that a deaf guest is given.
pub(crate) const BRIEF: Duration = Duration::from_millis(300);
/// A file in the guest's own file system; not in `/tmp`, which machines empty.
pub(crate) const NOTE: &str = "/sc-note";

pub(crate) struct Context {
    run: Arc<Run>,
    number: usize,
    /// What the trial made or tried to make.
    made: Mutex<Vec<Thing>>,
}

impl Context {
    pub(crate) fn new(run: Arc<Run>, number: usize) -> Self {
        Self { run, number, made: Mutex::default() }
    }

    pub(crate) fn substrate(&self) -> &dyn Substrate {
        &*self.run.setup.substrate
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.run.setup
    }

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    pub(crate) fn guest(&self) -> &Guest {
        &self.run.setup.guest
    }

    pub(crate) fn can(&self, ability: impl Into<Ability>) -> bool {
        self.run.descriptor.capabilities.can(ability)
    }

    /// Skips the trial when the substrate has the ability: it is about what happens without.
    pub(crate) fn only_without(&self, ability: impl Into<Ability>) -> Verdict {
        let ability = ability.into();
        if self.can(ability) {
            return Err(Failure::skipped(format!("{ability} is declared: it need not be refused")));
        }
        Ok(())
    }

    /// Skips the trial when the substrate lacks the ability.
    pub(crate) fn only_with(&self, ability: impl Into<Ability>) -> Verdict {
        self.run
            .descriptor
            .capabilities
            .require(ability)
            .map_err(|error| Failure::skipped(error.message().to_owned()))
    }

    // ---- names ------------------------------------------------------------------------------------

    /// What every name of this trial contains.
    pub(crate) fn unique(&self, word: &str) -> String {
        format!("{}{:03}-{word}", self.run.prefix, self.number)
    }

    pub(crate) fn name(&self, word: &str) -> Verdict<InstanceName> {
        Ok(InstanceName::new(self.unique(word))?)
    }

    // ---- what is made -----------------------------------------------------------------------------

    /// Remembers a thing, before it is made: a create that fails half-way is cleaned up too.
    pub(crate) fn remember(&self, thing: Thing) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(thing);
    }

    /// Removes what the trial made.
    pub(crate) async fn clean_up(&self, trial: &str) {
        let mut made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        // Instances hold networks and volumes: that is the order of the variants.
        made.sort();
        made.dedup();
        self.run.remove(trial, made).await;
    }

    /// The configuration of an instance that serves, with the marks of the run.
    pub(crate) fn config(&self, word: &str) -> Verdict<InstanceConfig> {
        self.config_named(self.name(word)?)
    }

    pub(crate) fn config_named(&self, name: InstanceName) -> Verdict<InstanceConfig> {
        let mut config = InstanceConfig::new(name).with_image(&self.run.setup.image);
        if self.can(Feature::Labels) {
            config = config.with_label(mark::DEPLOYMENT, self.run.mark());
        }
        // Without the feature it is the image's own affair to serve.
        if self.can(Feature::CreateCommand) {
            config = config.with_command(self.program(&Program::Serve)?);
        }
        Ok(config)
    }

    pub(crate) async fn create(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        self.remember(Thing::Instance(config.name.clone()));
        self.substrate().create_instance(config).await
    }

    /// A new instance, as it comes.
    pub(crate) async fn created(&self, word: &str) -> Verdict<Arc<Instance>> {
        Ok(self.create(&self.config(word)?).await?)
    }

    /// A new stopped instance.
    pub(crate) async fn stopped(&self, word: &str) -> Verdict<InstanceName> {
        self.stopped_from(&self.config(word)?).await
    }

    pub(crate) async fn stopped_from(&self, config: &InstanceConfig) -> Verdict<InstanceName> {
        if !self.setup().stops {
            return Err(Failure::skipped("an instance runs from its creation to its deletion here"));
        }
        self.create(config).await?;
        if !self.can(Feature::CreateStopped) {
            self.substrate().stop_instance(&config.name, StopMode::Force).await?;
        }
        Ok(config.name.clone())
    }

    /// A new running instance.
    pub(crate) async fn running(&self, word: &str) -> Verdict<InstanceName> {
        self.running_from(&self.config(word)?).await
    }

    pub(crate) async fn running_from(&self, config: &InstanceConfig) -> Verdict<InstanceName> {
        self.create(config).await?;
        self.substrate().start_instance(&config.name).await?;
        Ok(config.name.clone())
    }

    /// A new running instance whose main command is `program`.
    pub(crate) async fn running_program(&self, word: &str, program: &Program) -> Verdict<InstanceName> {
        let config = self.config(word)?.with_command(self.program(program)?);
        let name = self.running_from(&config).await?;
        if *program == Program::Deaf {
            self.heeds_no_stop_by_now(&name).await?;
        }
        Ok(name)
    }

    /// Waits until a deaf program says that it is: a request to stop that comes before would end it.
    async fn heeds_no_stop_by_now(&self, name: &InstanceName) -> Verdict {
        let Some(line) = self.guest().ready_line().filter(|_| self.can(Operation::GetLogs)) else {
            return Ok(());
        };
        self.eventually("the deaf program's word that it is ready", || async {
            let log = self.substrate().tail_logs(name, 1).await?;
            Ok(log.iter().any(|written| written.message == line).then_some(()))
        })
        .await
    }

    pub(crate) async fn pause(&self, name: &InstanceName) -> Verdict {
        Ok(self.substrate().pause_instance(name).await?)
    }

    pub(crate) fn network_spec(&self, word: &str) -> Verdict<NetworkSpec> {
        let name = NetworkName::new(self.unique(word))?;
        self.remember(Thing::Network(name.clone()));
        Ok(NetworkSpec::new(name))
    }

    /// A new network with a subnet of its own, and the first three numbers of that.
    pub(crate) async fn network(&self, word: &str) -> Verdict<(Network, [u8; 3])> {
        let mut tries = 8;
        loop {
            let base = self.run.subnet();
            let mut spec = self.with_subnet(self.network_spec(word)?, base);
            if let (Some(_), [first, second, third]) = (&spec.subnet, base) {
                spec = spec.with_gateway([first, second, third, 1].into());
            }
            match self.substrate().create_network(&spec).await {
                // Another run on the same server may have taken it.
                Err(error) if error.is_conflict() && tries > 0 => tries -= 1,
                made => return Ok((made?, base)),
            }
        }
    }

    /// The network with this subnet, where networks have one.
    pub(crate) fn with_subnet(&self, spec: NetworkSpec, [first, second, third]: [u8; 3]) -> NetworkSpec {
        if self.setup().network_subnets {
            return spec.with_subnet(format!("{first}.{second}.{third}.0/24"));
        }
        spec
    }

    /// Skips the trial where networks have no subnets of their own.
    pub(crate) fn only_with_subnets(&self) -> Verdict {
        if self.setup().network_subnets {
            Ok(())
        } else {
            Err(Failure::skipped("networks have no subnets here"))
        }
    }

    /// Skips the trial where the log of an instance goes when it is stopped.
    pub(crate) fn only_with_logs_of_stopped(&self) -> Verdict {
        if self.setup().logs_of_stopped {
            Ok(())
        } else {
            Err(Failure::skipped("a log goes with a stop here"))
        }
    }

    pub(crate) fn volume_spec(&self, word: &str) -> Verdict<VolumeSpec> {
        let name = VolumeName::new(self.unique(word))?;
        self.remember(Thing::Volume(name.clone()));
        Ok(VolumeSpec::new(name))
    }

    pub(crate) async fn volume(&self, word: &str) -> Verdict<Volume> {
        Ok(self.substrate().create_volume(&self.volume_spec(word)?).await?)
    }

    // ---- inside an instance -----------------------------------------------------------------------

    /// The guest's words for a program; skips the trial when it has none.
    pub(crate) fn program(&self, program: &Program) -> Verdict<Vec<String>> {
        let guest = self.guest();
        guest.argv(program).ok_or_else(|| {
            Failure::skipped(format!("the guest {} has no program for {program:?}", guest.name()))
        })
    }

    pub(crate) fn command(&self, program: &Program) -> Verdict<Command> {
        Ok(Command::new(self.program(program)?))
    }

    pub(crate) async fn execute(&self, name: &InstanceName, program: &Program) -> Verdict<CommandOutput> {
        Ok(self.substrate().execute_command(name, &self.command(program)?).await?)
    }

    pub(crate) async fn write_file(&self, name: &InstanceName, path: &str, text: &str) -> Verdict {
        let output = self.execute(name, &Program::WriteFile(path.to_owned(), text.to_owned())).await?;
        ensure!(output.success(), "writing {path} in `{name}` failed: {}", output.stderr_text());
        Ok(())
    }

    /// A file's text, or nothing when there is no such file.
    pub(crate) async fn read_file(&self, name: &InstanceName, path: &str) -> Verdict<Option<String>> {
        let output = self.execute(name, &Program::ReadFile(path.to_owned())).await?;
        Ok(output.success().then(|| output.stdout_text()))
    }

    // ---- what can be seen -------------------------------------------------------------------------

    pub(crate) async fn get(&self, name: &InstanceName) -> Verdict<Arc<Instance>> {
        Ok(self.substrate().get_instance(name).await?)
    }

    pub(crate) async fn has_state(&self, name: &InstanceName, state: InstanceState) -> Verdict {
        same(&format!("the state of `{name}`"), self.get(name).await?.state, state)
    }

    /// The instance is what it was: the same one, in the same state, not restarted in between.
    pub(crate) async fn is_untouched(&self, before: &Instance) -> Verdict {
        let now = self.get(&before.name).await?;
        same("its id", &now.id, &before.id)?;
        same("its state", now.state, before.state)?;
        same("the time of its start", now.started_at, before.started_at)
    }

    /// There is no instance of that name: neither to be got nor in the list.
    pub(crate) async fn is_absent(&self, name: &InstanceName) -> Verdict {
        match self.substrate().get_instance(name).await {
            Ok(instance) => {
                return Err(Failure::broken(format!("`{name}` exists, and is {}", instance.state)));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let filter = substrate_core::InstanceFilter::all().with_name_prefix(name.as_str());
        let listed = self.substrate().list_instances(&filter).await?;
        ensure!(listed.iter().all(|instance| instance.name != *name), "`{name}` is still in the list");
        Ok(())
    }

    /// When it was started; skips the trial where the substrate does not tell.
    pub(crate) async fn start_time(&self, name: &InstanceName) -> Verdict<SystemTime> {
        let running = self.get(name).await?;
        running
            .started_at
            .ok_or_else(|| Failure::skipped("the substrate does not tell when an instance started"))
    }

    /// Waits, looking at growing intervals, until `look` finds something.
    pub(crate) async fn eventually<T, F>(&self, what: &str, look: impl Fn() -> F) -> Verdict<T>
    where
        F: Future<Output = Verdict<Option<T>>>,
    {
        let patience = self.run.setup.patience;
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "{what}: it did not come within {patience:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}

/// A snapshot's name: unique per instance, so it needs no mark of the run.
pub(crate) fn snapshot_name(word: &str) -> Verdict<SnapshotName> {
    Ok(SnapshotName::new(word)?)
}

/// Whether an error is the refusal of something that is not supported.
pub(crate) fn is_refusal(error: &Error) -> bool {
    error.is_unsupported() || error.is_invalid_input()
}

/// Every operation that a provider may lack.
pub(crate) fn optional_operations() -> impl Iterator<Item = Operation> {
    Operation::ALL.iter().copied().filter(|operation| !operation.profile().required)
}

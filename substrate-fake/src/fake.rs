//! The handle, and how one is made.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use substrate_core::{Capabilities, Descriptor, Error, InstanceKind, Result};
use tokio::time::Instant;

use crate::call_log::CallRecord;
use crate::clock::Clock;
use crate::config::{FakeConfig, Switches};
use crate::fault::Fault;
use crate::guest::{Invocation, Program, ProgramResult};
use crate::inner::{Core, Inner};
use crate::persistence::StateFile;
use crate::state::State;
use crate::world::World;

/// An in-memory substrate. Clones are handles of the same one.
///
/// Without faults and latency no call ever waits, but a graceful stop of a guest that does not listen: its
/// grace passes on tokio's clock.
#[derive(Clone)]
pub struct Fake {
    pub(crate) inner: Arc<Inner>,
}

impl Fake {
    /// A fake that can do everything and does it at once.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self::builder().name(name).build()
    }

    /// A fake in the making.
    pub fn builder() -> FakeBuilder {
        FakeBuilder::default()
    }

    /// A fake as a configuration describes it.
    ///
    /// # Errors
    /// `InvalidInput` for an ability that there is not; those of [`FakeBuilder::try_build`].
    pub fn from_config(name: impl Into<Arc<str>>, config: FakeConfig) -> Result<Self> {
        let mut builder = Self::builder()
            .name(name)
            .capabilities(config.capabilities()?)
            .seed(config.seed)
            .latency(config.latency);
        builder.images = config.images.unwrap_or(builder.images);
        builder.kinds = config.kinds.unwrap_or(builder.kinds);
        builder.state_file = config.state_file;
        builder.switches = Switches {
            create: config.fail_on_create,
            start: config.fail_on_start,
            stop: config.fail_on_stop,
            delete: config.fail_on_delete,
            deploy: config.fail_on_deploy,
        };
        builder.try_build()
    }

    /// What a fake can do unless told otherwise: everything.
    #[must_use]
    pub fn default_capabilities() -> Capabilities {
        Capabilities::all()
    }

    /// Lets something go wrong from now on.
    pub fn inject(&self, fault: Fault) {
        self.inner.lock().faults.inject(fault);
    }

    /// Lets nothing go wrong any more. Calls that hang already go on hanging.
    pub fn clear_faults(&self) {
        self.inner.lock().faults.clear();
    }

    /// Which calls came, oldest first: the last 16,384.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        self.inner.lock().calls.records()
    }

    /// Forgets the calls. The next one has the number after the last one all the same.
    pub fn clear_calls(&self) {
        self.inner.lock().calls.clear();
    }

    /// What happens behind the caller's back.
    #[must_use]
    pub fn world(&self) -> World {
        World::new(Arc::clone(&self.inner))
    }

    /// The time on the fake's clock: it begins at 2026-01-01T00:00:00Z and runs as tokio's does.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.inner.lock().state.time(self.inner.elapsed()).system_time()
    }

    /// Gives every instance a program, as a command and as a main program. It replaces one of that name, also
    /// one of the fake's own. Programs are not kept in a state file.
    pub fn program(
        &self,
        name: impl Into<String>,
        script: impl Fn(&Invocation) -> ProgramResult + Send + Sync + 'static,
    ) {
        self.inner.lock().programs.insert(name.into(), Program::new(script));
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.inner.lock();
        formatter
            .debug_struct("Fake")
            .field("name", &self.inner.descriptor.name)
            .field("instances", &core.state.instances.len())
            .field("calls", &core.calls.total())
            .finish_non_exhaustive()
    }
}

/// Makes a [`Fake`].
#[derive(Debug, Clone)]
#[must_use]
pub struct FakeBuilder {
    name: Arc<str>,
    capabilities: Capabilities,
    kinds: Vec<InstanceKind>,
    seed: u64,
    latency: Duration,
    faults: Vec<Fault>,
    images: Vec<String>,
    state_file: Option<PathBuf>,
    event_history: usize,
    switches: Switches,
}

impl Default for FakeBuilder {
    fn default() -> Self {
        let images =
            ["busybox:local", "ubuntu-22.04", "debian-12", "alpine:3.20", "nginx:1.27", "postgres:16"];
        Self {
            name: Arc::from("fake"),
            capabilities: Fake::default_capabilities(),
            kinds: vec![InstanceKind::Container, InstanceKind::VirtualMachine],
            seed: 0,
            latency: Duration::ZERO,
            faults: Vec::new(),
            images: images.map(str::to_owned).to_vec(),
            state_file: None,
            event_history: 4_096,
            switches: Switches::default(),
        }
    }
}

impl FakeBuilder {
    /// Sets the substrate's name [default: `fake`].
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets what it can do [default: everything]. What is not declared is refused with `Unsupported` before
    /// any effect, so that it imitates a limited technology.
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Sets the kinds of instances that it runs; the first is made when none is asked for [default:
    /// containers and virtual machines].
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = InstanceKind>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }

    /// Sets what ids and chance come from [default: 0]. The same seed and the same calls give the same trace.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets how long every call takes, on tokio's clock [default: no time].
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Lets something go wrong.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Sets the images at hand [default: `busybox:local`, `ubuntu-22.04` and a few]. Others are fetched by
    /// `ensure_image`, but those whose names begin with `missing`.
    pub fn images<I: Into<String>>(mut self, images: impl IntoIterator<Item = I>) -> Self {
        self.images = images.into_iter().map(Into::into).collect();
        self
    }

    /// Keeps the state in a file: each change is on the disk before its call returns, and a new fake on the
    /// same file goes on where the last one ended, running instances included. Several processes may use it
    /// at once. It holds environment variables as they are: only its owner may read it.
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// Sets how many events are kept for slow and returning watchers [default: 4,096].
    pub fn event_history(mut self, events: usize) -> Self {
        self.event_history = events;
        self
    }

    /// Makes it. When its state file cannot be used, every call fails with that error:
    /// [`try_build`](Self::try_build) tells at once.
    #[must_use]
    pub fn build(self) -> Fake {
        match self.clone().try_build() {
            Ok(fake) => fake,
            Err(error) => {
                let state = self.new_state();
                self.assemble(state, None, Some(error))
            }
        }
    }

    /// Makes it. Reads and writes the state file, if there is one.
    ///
    /// # Errors
    /// `InvalidInput` for no kinds at all, and for a state file that is none; `PermissionDenied`, `Exhausted`
    /// or `Internal` when it cannot be read or written.
    pub fn try_build(self) -> Result<Fake> {
        let named = |error: Error| error.with_substrate(Arc::clone(&self.name));
        if self.kinds.is_empty() {
            return Err(named(Error::invalid_input("a substrate must run at least one kind of instance")));
        }
        let (file, state) = match &self.state_file {
            None => (None, self.new_state()),
            Some(path) => {
                let (file, state) = StateFile::open(path, || self.new_state()).map_err(named)?;
                (Some(file), state)
            }
        };
        Ok(self.assemble(state, file, None))
    }

    fn new_state(&self) -> State {
        State::new(self.seed, self.images.iter().cloned())
    }

    fn assemble(self, mut state: State, file: Option<StateFile>, broken: Option<Error>) -> Fake {
        let clock = Clock::start();
        let now = Instant::now();
        state.resume(clock.elapsed_at(now), now);
        let mut core = Core::new(state, self.seed, self.event_history);
        for fault in self.faults {
            core.faults.inject(fault);
        }
        let descriptor = Descriptor::new("fake", self.name, self.kinds, self.capabilities);
        Fake {
            inner: Arc::new(Inner::new(descriptor, self.switches, self.latency, core, clock, file, broken)),
        }
    }
}

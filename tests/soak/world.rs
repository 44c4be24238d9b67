//! The substrates that are worn in, with what goes wrong on each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use substrates::docker::{DockerConfig, DockerSubstrate};
use substrates::fake::{Fake, Fault};
use substrates::{ErrorKind, InstanceConfig, InstanceFilter, InstanceName, InstanceState, Substrate};

use crate::relay::Relay;

/// A substrate, and the faults of its surroundings.
#[async_trait]
pub(crate) trait World: Send + Sync {
    /// What the layers are put around.
    fn provider(&self) -> Arc<dyn Substrate>;

    /// What `name` is created from.
    fn config(&self, name: InstanceName) -> InstanceConfig;

    /// A round begins.
    fn begin(&self) {}

    /// Whether what runs may have been ended since the round began by what went wrong. True before it happens.
    fn has_lost_power(&self) -> bool {
        false
    }

    /// Lets something go wrong.
    async fn strike(&self, random: &mut Rng);

    /// Lets nothing go wrong any more.
    async fn calm(&self);

    /// For how long what there is must stay the same before nothing is under way any more, although calls were cut off.
    fn settles_within(&self) -> Duration;

    /// What there is, past all layers and faults.
    async fn reality(&self, prefix: &str) -> BTreeMap<InstanceName, InstanceState>;
}

pub(crate) struct FakeWorld(Fake);

impl FakeWorld {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Fake::builder().name("fake").seed(seed).build())
    }
}

#[async_trait]
impl World for FakeWorld {
    fn provider(&self) -> Arc<dyn Substrate> {
        Arc::new(self.0.clone())
    }

    fn config(&self, name: InstanceName) -> InstanceConfig {
        InstanceConfig::new(name).with_image("busybox:local")
    }

    async fn strike(&self, random: &mut Rng) {
        let fault = match random.u8(0..10) {
            0 => Fault::error(ErrorKind::Unavailable).times(2),
            1 => Fault::error(ErrorKind::Timeout),
            2 => Fault::error(ErrorKind::Busy).times(3),
            3 => Fault::hang(),
            4 => Fault::answer_lost(),
            5 => Fault::answer_lost_hanging(),
            6 => Fault::latency(Duration::from_millis(20)).times(20),
            7 => Fault::lock_held(Duration::from_millis(30)).times(2),
            8 => Fault::event_gap(),
            _ => Fault::daemon_restart(Duration::from_millis(5)),
        };
        self.0.inject(fault);
    }

    async fn calm(&self) {
        self.0.clear_faults();
        self.0.clear_calls();
    }

    fn settles_within(&self) -> Duration {
        Duration::from_millis(20)
    }

    async fn reality(&self, prefix: &str) -> BTreeMap<InstanceName, InstanceState> {
        let all = self.0.world().instances().await.unwrap();
        let mine = all.iter().filter(|one| one.name.as_str().starts_with(prefix));
        mine.map(|one| (one.name.clone(), one.state)).collect()
    }
}

/// A daemon that is restarted, behind a wire that is cut and slow.
pub(crate) struct DockerWorld {
    relay: Relay,
    provider: Arc<DockerSubstrate>,
    /// Past the wire.
    bare: DockerSubstrate,
    control: PathBuf,
    image: String,
    /// This daemon ends its containers when it comes up again after its death.
    has_died: AtomicBool,
}

impl DockerWorld {
    pub(crate) async fn new(folder: &Path) -> Self {
        let lab = |name: &str| {
            std::env::var(format!("SUBSTRATES_LAB_DOCKER{name}"))
                .unwrap_or_else(|_| panic!("SUBSTRATES_LAB_DOCKER{name} is set: is the lab up?"))
        };
        let host = lab("_VICTIM");
        let relay = Relay::new(folder.join("docker.sock"), host.strip_prefix("unix://").unwrap()).await;
        let at = |host: String| {
            let config = DockerConfig::default().with_host(host);
            DockerSubstrate::new("docker", config).unwrap()
        };
        let provider = Arc::new(at(format!("unix://{}", relay.path().display())));
        Self {
            relay,
            provider,
            bare: at(host),
            control: lab("_VICTIM_RESTART").into(),
            image: lab("_IMAGE"),
            has_died: AtomicBool::new(false),
        }
    }

    async fn control(&self, verb: &str) {
        let status = tokio::process::Command::new(&self.control).arg(verb).status().await;
        assert!(status.unwrap().success(), "the daemon's control said no to {verb}");
    }
}

#[async_trait]
impl World for DockerWorld {
    fn provider(&self) -> Arc<dyn Substrate> {
        self.provider.clone()
    }

    fn config(&self, name: InstanceName) -> InstanceConfig {
        let serve = r#"trap "exit 0" TERM; while :; do sleep 0.1; done"#;
        InstanceConfig::new(name).with_image(&self.image).with_command(["sh", "-c", serve])
    }

    fn begin(&self) {
        self.has_died.store(false, Ordering::SeqCst);
    }

    fn has_lost_power(&self) -> bool {
        self.has_died.load(Ordering::SeqCst)
    }

    async fn strike(&self, random: &mut Rng) {
        match random.u8(0..10) {
            0..5 => self.relay.cut(),
            5..9 => self.relay.slow_for(Duration::from_millis(300), Duration::from_millis(50)),
            _ => {
                self.has_died.store(true, Ordering::SeqCst);
                self.control("kill").await;
                self.control("start").await;
            }
        }
    }

    async fn calm(&self) {
        self.relay.hurry();
    }

    /// A start whose caller is gone goes on.
    fn settles_within(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn reality(&self, prefix: &str) -> BTreeMap<InstanceName, InstanceState> {
        let mine = InstanceFilter::all().with_name_prefix(prefix);
        let all = self.bare.list_instances(&mine).await.unwrap();
        all.iter().map(|one| (one.name.clone(), one.state)).collect()
    }
}

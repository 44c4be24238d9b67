//! Seeded random operations by several callers at once, with faults, through all the layers: at every checkpoint the
//! model and the substrate agree, and in the end this process holds no more than at the beginning.
//!
//! A short run is part of the tests. A long one:
//!
//! ```text
//! eval "$(cargo xtask lab up docker)"
//! SOAK=30m SOAK_SEED=7 cargo test --release --features docker --test soak -- --include-ignored --nocapture
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends"
)]
#![allow(clippy::print_stdout, reason = "a long run tells what it is at")]

mod holdings;
mod model;
mod relay;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;
use futures_util::future::join_all;
use holdings::{Holdings, Readings, grows};
use model::{Belief, Change, Presence};
use substrate_engine::run::CancellationToken;
use substrates::layer::{EventFilter, RetrySettings, Stack, StackSettings, TimeoutSettings};
use substrates::{InstanceFilter, InstanceName, InstanceState, StopMode, Substrate, SubstrateExt};
use tokio::time::{Instant, sleep, timeout};
use world::{DockerWorld, FakeWorld, World};

/// How many call at once, and how many instances each of them has.
const CALLERS: usize = 4;
const INSTANCES: usize = 3;
/// How long the substrate and what the layers show of it may need to come to rest.
const REST: Duration = Duration::from_secs(60);

/// How much is done.
struct Extent {
    seed: u64,
    /// Calls of each caller between two checkpoints.
    calls: usize,
    /// At least so many checkpoints, and at least so long.
    checkpoints: usize,
    duration: Duration,
    /// The longest pause between two faults.
    pause: Duration,
}

impl Extent {
    fn of(calls: usize, checkpoints: usize, pause: Duration) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let duration = variable("SOAK").map(|text| humantime::parse_duration(&text).unwrap());
        let seed = variable("SOAK_SEED").map(|text| text.parse().unwrap());
        Self { seed: seed.unwrap_or(1), calls, checkpoints, duration: duration.unwrap_or_default(), pause }
    }
}

/// One caller: nobody else touches its instances.
struct Caller {
    random: Rng,
    beliefs: BTreeMap<InstanceName, Belief>,
    succeeded: u64,
    failed: u64,
}

impl Caller {
    fn new(prefix: &str, number: usize, seed: u64) -> Self {
        let names = (0..INSTANCES).map(|index| format!("{prefix}-{number}-{index}").parse().unwrap());
        Self {
            random: Rng::with_seed(seed.wrapping_mul(1000) + number as u64),
            beliefs: names.map(|name| (name, Belief::absent())).collect(),
            succeeded: 0,
            failed: 0,
        }
    }

    async fn calls(
        &mut self,
        world: &dyn World,
        substrate: &dyn Substrate,
        times: usize,
    ) -> Result<(), String> {
        for _ in 0..times {
            let names: Vec<InstanceName> = self.beliefs.keys().cloned().collect();
            let name = &names[self.random.usize(0..names.len())];
            match self.random.u8(0..10) {
                0 => self.reads(substrate, name).await,
                _ => self.changes(world, substrate, name).await?,
            }
        }
        Ok(())
    }

    async fn changes(
        &mut self,
        world: &dyn World,
        substrate: &dyn Substrate,
        name: &InstanceName,
    ) -> Result<(), String> {
        // Mostly what makes sense, sometimes what must be refused.
        let change = match self.beliefs[name].may_be(Presence::Absent) && self.random.u8(0..4) > 0 {
            true => Change::Create,
            false => Change::CALLS[self.random.usize(0..Change::CALLS.len())],
        };
        let answer = match change {
            Change::Create => substrate.create_instance(&world.config(name.clone())).await.map(drop),
            Change::Start => substrate.start_instance(name).await.map(drop),
            Change::Stop => substrate.stop_instance(name, StopMode::Force).await.map(drop),
            Change::Restart => substrate.restart_instance(name, StopMode::Force).await.map(drop),
            Change::Pause => substrate.pause_instance(name).await.map(drop),
            Change::Resume => substrate.resume_instance(name).await.map(drop),
            Change::Delete => substrate.delete_instance(name, true).await,
            Change::PowerLoss => unreachable!("not a call"),
        };
        if world.has_lost_power() {
            self.beliefs.values_mut().for_each(Belief::may_lose_power);
        }
        let belief = self.beliefs.get_mut(name).unwrap();
        let (count, judged) = match &answer {
            Ok(()) => (&mut self.succeeded, belief.did(change)),
            Err(error) => (&mut self.failed, belief.did_not(change, error)),
        };
        *count += 1;
        judged.map_err(|problem| format!("{name}: {problem}"))
    }

    /// Answers may be old, and calls may be under way: only that they come is looked at.
    async fn reads(&mut self, substrate: &dyn Substrate, name: &InstanceName) {
        let answered = match self.random.u8(0..3) {
            0 => substrate.get_instance(name).await.is_ok(),
            1 => substrate.get_metrics(name).await.is_ok(),
            _ => substrate.list_instances(&InstanceFilter::all()).await.is_ok(),
        };
        let count = if answered { &mut self.succeeded } else { &mut self.failed };
        *count += 1;
    }
}

async fn soak(world: &dyn World, extent: &Extent) {
    let settings = StackSettings {
        retry: RetrySettings { retries: 2, delay: Duration::from_millis(20), ..RetrySettings::default() },
        timeouts: TimeoutSettings {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(5),
            mutate: Duration::from_secs(10),
            long: Duration::from_secs(10),
            ..TimeoutSettings::default()
        },
        ..StackSettings::default()
    };
    let stack = Stack::standard(world.provider(), &settings).unwrap();
    let substrate = stack.substrate();
    substrate.ensure_connected().await.unwrap();
    let mut events = stack.events().unwrap().subscribe(EventFilter::all());
    let listening = tokio::spawn(async move {
        let mut heard = 0_u64;
        while events.next().await.is_some() {
            heard += 1;
        }
        heard
    });

    let prefix = format!("soak-{}-{}", std::process::id(), extent.seed);
    let mut callers: Vec<Caller> =
        (0..CALLERS).map(|number| Caller::new(&prefix, number, extent.seed)).collect();
    let mut random = Rng::with_seed(extent.seed);
    let mut readings = Readings::new();
    let begun = Instant::now();
    while readings.taken() < extent.checkpoints || begun.elapsed() < extent.duration {
        world.begin();
        let over = CancellationToken::new();
        let round = async {
            let told =
                join_all(callers.iter_mut().map(|one| one.calls(world, &*substrate, extent.calls))).await;
            over.cancel();
            told
        };
        let faults = async {
            while over.run_until_cancelled(sleep(extent.pause.mul_f64(random.f64()))).await.is_some() {
                // Never left half-way: a daemon that was killed is started again.
                world.strike(&mut random).await;
            }
        };
        let (told, ()) = tokio::join!(round, faults);
        for one in told {
            one.unwrap_or_else(|problem| {
                panic!("seed {}, round {}: {problem}", extent.seed, readings.taken())
            });
        }
        world.calm().await;
        checkpoint(world, &*substrate, &prefix, &mut callers)
            .await
            .unwrap_or_else(|problem| panic!("seed {}, round {}: {problem}", extent.seed, readings.taken()));
        readings.take(Holdings::now());
        if readings.taken().is_multiple_of(50) {
            println!("{:?}: {} checkpoints, {:?}", begun.elapsed(), readings.taken(), Holdings::now());
        }
    }

    for name in world.reality(&prefix).await.into_keys() {
        substrate.delete_instance(&name, true).await.unwrap();
    }
    assert_eq!(world.reality(&prefix).await, BTreeMap::new());
    drop((substrate, stack));
    let heard = listening.await.unwrap();
    let sum = |of: fn(&Caller) -> u64| callers.iter().map(of).sum::<u64>();
    println!(
        "{:?}: {} calls succeeded, {} failed, {heard} events, {} checkpoints; first {:?}, last {:?}",
        begun.elapsed(),
        sum(|one| one.succeeded),
        sum(|one| one.failed),
        readings.taken(),
        readings.held().first().unwrap(),
        readings.held().last().unwrap()
    );
    assert!(sum(|one| one.succeeded) > 0 && heard > 0);
    grows(readings.held()).unwrap();
}

/// Nothing goes wrong any more, and nothing is under way: what there is, what it can be by the model, and what the layers
/// show of it are the same.
async fn checkpoint(
    world: &dyn World,
    substrate: &dyn Substrate,
    prefix: &str,
    callers: &mut [Caller],
) -> Result<(), String> {
    let is_certain = callers.iter().all(|caller| caller.beliefs.values().all(Belief::is_certain));
    let quiet = if is_certain { Duration::ZERO } else { world.settles_within() };
    let at_rest = async {
        loop {
            let before = world.reality(prefix).await;
            sleep(quiet).await;
            let ours = substrate.list_instances(&InstanceFilter::all().with_name_prefix(prefix)).await;
            let ours = ours.map(|all| all.iter().map(|one| (one.name.clone(), one.state)).collect());
            let now = world.reality(prefix).await;
            let is_settled = now.values().all(|state| Presence::of(*state).is_some());
            // The layers learn of it by events.
            sleep(Duration::from_millis(5)).await;
            if is_settled && before == now && ours.is_ok_and(|ours: BTreeMap<_, _>| ours == now) {
                return now;
            }
        }
    };
    let now = match timeout(REST, at_rest).await {
        Ok(now) => now,
        Err(_) => {
            let ours = substrate.list_instances(&InstanceFilter::all().with_name_prefix(prefix)).await;
            return Err(format!(
                "{:?} came not to rest, or is shown as {ours:?}",
                world.reality(prefix).await
            ));
        }
    };
    let mut left = now;
    for caller in callers {
        for (name, belief) in &mut caller.beliefs {
            let state: Option<InstanceState> = left.remove(name);
            if world.has_lost_power() {
                belief.may_lose_power();
            }
            let presence = state.and_then(Presence::of).unwrap_or(Presence::Absent);
            belief.is_now(presence).map_err(|problem| format!("{name}: {problem}"))?;
        }
    }
    if left.is_empty() { Ok(()) } else { Err(format!("nobody made {left:?}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fake_and_its_model_agree_however_much_goes_wrong() {
    let extent = Extent::of(20, 40, Duration::from_millis(20));
    soak(&FakeWorld::new(extent.seed), &extent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: docker"]
async fn a_daemon_and_its_model_agree_however_often_it_dies_and_is_cut_off() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let extent = Extent::of(6, 8, Duration::from_secs(2));
    let world: Arc<dyn World> = Arc::new(DockerWorld::new(&folder).await);
    soak(&*world, &extent).await;
    std::fs::remove_dir_all(&folder).unwrap();
}

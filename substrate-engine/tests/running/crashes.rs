//! An engine that is stopped at any moment loses nothing: the next run ends as if nothing had happened.

use std::sync::Arc;

use object_store::memory::InMemory;
use substrate_engine::{Engine, JournalStore, RollbackOptions, RunOptions, SweepMode};
use substrate_fake::Fake;

use super::lab::{engine, name, parse};
use super::moments::{Moments, StoppingStore, stopping_substrate};
use super::world::Visible;

/// Thirteen resources of every type, with dependencies, references, directives and an order.
const FIRST: &str = r"
name: shop
resources:
  - {type: network, name: front}
  - {type: network, name: back}
  - {type: storage, name: data, specs: {size: 1GiB}}
  - type: compute
    name: db
    specs: {image: busybox:local, memory: 512MiB, volumes: ['data:/var/lib'], networks: [back]}
    directives: [{exec: {command: [write, /ready, 'yes']}}]
    readiness: {command: [cat, /ready]}
  - type: compute
    name: web
    count: 4
    specs: {image: busybox:local, environment: {DB: '${db.address}:5432'}, networks: [front, back]}
  - {type: service, name: cache, specs: {image: busybox:local, replicas: 2, health_check: {health: true}}}
  - {type: compute, name: batch, specs: {image: busybox:local}, dependencies: [cache]}
  - {type: network, name: balancer, specs: {type: http, backends: [web]}}
  - {type: storage, name: backups}
";

/// Changed in every way: limits, an image, one more and one less, something gone, something new.
fn second() -> String {
    FIRST
        .replace("memory: 512MiB", "memory: 1GiB")
        .replace("count: 4", "count: 3")
        .replace(
            "{type: compute, name: batch, specs: {image: busybox:local}",
            "{type: compute, name: batch, specs: {image: busybox:local, command: [serve, again]}",
        )
        .replace(
            "  - {type: storage, name: backups}",
            "  - {type: compute, name: log, specs: {image: busybox:local}}",
        )
}

struct Stage {
    fake: Arc<Fake>,
    store: Arc<InMemory>,
}

impl Stage {
    fn empty() -> Self {
        Self { fake: Arc::new(Fake::new("fake")), store: Arc::new(InMemory::new()) }
    }

    async fn with(text: &str) -> Self {
        let stage = Self::empty();
        let engine = stage.engine().await;
        let report = engine.deploy(&parse(&engine, text), &RunOptions::default()).await.unwrap();
        assert!(report.is_done(), "{report}");
        stage
    }

    async fn engine(&self) -> Engine {
        engine(self.fake.clone(), &JournalStore::new(self.store.clone(), "")).await
    }

    /// An engine that stops at a moment.
    async fn stopping(&self, moments: &Arc<Moments>) -> Engine {
        let store = StoppingStore { inner: self.store.clone(), moments: moments.clone() };
        engine(stopping_substrate(self.fake.clone(), moments), &JournalStore::new(Arc::new(store), "")).await
    }
}

/// What is interrupted, and what must be there once it was done all the same.
enum Work {
    Deploy(String),
    Destroy,
    Rollback,
}

impl Work {
    async fn run(&self, engine: &Engine) {
        let options = RunOptions::default();
        let report = match self {
            Self::Deploy(text) => engine.deploy(&parse(engine, text), &options).await,
            Self::Destroy => engine.destroy(&[name("shop")], None, &options).await,
            Self::Rollback => {
                let documents = parse(engine, &second());
                let target = RollbackOptions::default().before_run(2).with_documents(&documents);
                engine.rollback(&[name("shop")], &target, &options).await
            }
        };
        let report = report.unwrap_or_else(|error| panic!("{error}"));
        assert!(report.is_done(), "{report}");
    }
}

/// Interrupts the work at each of its moments, each time from the beginning, and runs it again.
async fn interrupt_everywhere(begin: impl AsyncFn() -> Stage, work: Work) {
    let stage = begin().await;
    let counting = Moments::counting();
    work.run(&stage.stopping(&counting).await).await;
    let wanted = Visible::of(&stage.fake).await;
    assert!(counting.count() > 20, "only {} moments", counting.count());

    for moment in 0..counting.count() {
        let stage = begin().await;
        let moments = Moments::stopping_at(moment);
        moments.run(async { work.run(&stage.stopping(&moments).await).await }).await;

        let engine = stage.engine().await;
        work.run(&engine).await;
        assert_eq!(Visible::of(&stage.fake).await, wanted, "stopped at moment {moment}");
        let orphans = engine.sweep(SweepMode::DryRun).await.unwrap();
        assert!(orphans.is_empty(), "stopped at moment {moment}: {orphans:?}");
        let state = engine.state(&name("shop")).await.unwrap();
        assert!(!state.recorded.is_interrupted() && state.owner.is_none(), "stopped at moment {moment}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_deployment_can_be_stopped_at_any_moment() {
    interrupt_everywhere(async || Stage::empty(), Work::Deploy(FIRST.to_owned())).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_can_be_stopped_at_any_moment() {
    interrupt_everywhere(async || Stage::with(FIRST).await, Work::Deploy(second())).await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_can_be_stopped_at_any_moment() {
    interrupt_everywhere(async || Stage::with(FIRST).await, Work::Destroy).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_can_be_stopped_at_any_moment() {
    let changed = async || {
        let stage = Stage::with(FIRST).await;
        Work::Deploy(second()).run(&stage.engine().await).await;
        stage
    };
    interrupt_everywhere(changed, Work::Rollback).await;
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_deployment_can_be_rolled_back_instead() {
    let stage = Stage::with(FIRST).await;
    let before = Visible::of(&stage.fake).await;
    let counting = Moments::counting();
    Work::Deploy(second()).run(&stage.stopping(&counting).await).await;
    for moment in 0..counting.count() {
        let stage = Stage::with(FIRST).await;
        let moments = Moments::stopping_at(moment);
        let second = Work::Deploy(second());
        let ended = moments.run(async { second.run(&stage.stopping(&moments).await).await }).await;
        let engine = stage.engine().await;
        if ended.is_none() && engine.state(&name("shop")).await.unwrap().last_run() < 2 {
            continue; // Nothing was begun yet.
        }
        Work::Rollback.run(&engine).await;
        assert_eq!(Visible::of(&stage.fake).await, before, "stopped at moment {moment}");
    }
}

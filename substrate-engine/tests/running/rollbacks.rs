//! Rolling back: the world is the one before, and what was not touched is the same thing still.

use std::collections::BTreeMap;
use std::sync::Arc;

use substrate_core::{ErrorKind, Operation, Substrate};
use substrate_engine::{RollbackOptions, RunOptions};
use substrate_fake::{Fake, Fault};

use super::lab::{Lab, name, parse};
use super::world::Visible;

const BEFORE: &str = r"
name: shop
resources:
  - {type: network, name: front}
  - {type: storage, name: data}
  - {type: compute, name: db, specs: {image: busybox:local, memory: 512MiB, volumes: ['data:/var/lib']}}
  - {type: compute, name: web, count: 2, specs: {image: busybox:local, environment: {DB: '${db.address}'}, networks: [front]}}
  - {type: compute, name: old, specs: {image: busybox:local}}
  - {type: compute, name: calm, specs: {image: busybox:local}}
";

fn after() -> String {
    BEFORE
        .replace("512MiB", "1GiB")
        .replace("count: 2", "count: 3")
        .replace("name: old, specs: {image", "name: new, specs: {image")
        .replace(
            "  - {type: network, name: front}",
            "  - {type: network, name: front}\n  - {type: network, name: back}",
        )
        .replace("networks: [front]", "networks: [front, back], command: [serve]")
}

async fn ids(fake: &Fake) -> BTreeMap<String, String> {
    let all = fake.list_instances(&Default::default()).await.unwrap();
    all.iter().map(|one| (one.name.to_string(), one.id.clone())).collect()
}

/// Deploys what was before, then what comes after with a fault, rolls back, and compares.
async fn fail_and_roll_back(fault: impl Fn() -> Fault, operation: Operation) -> usize {
    let mut failures = 0;
    for nth in 1.. {
        let lab = Lab::new().await;
        lab.deploy(BEFORE).await;
        let (before, ids_before) = (Visible::of(&lab.fake).await, ids(&lab.fake).await);
        lab.fake.inject(fault().on(operation).nth(nth));
        let report = lab.deploy(&after()).await;
        lab.fake.clear_faults();
        if report.is_done() {
            // There are no more calls of this kind.
            break;
        }
        failures += 1;
        let documents = parse(&lab.engine, &after());
        let target = RollbackOptions::default().with_documents(&documents);
        let report = lab.engine.rollback(&[name("shop")], &target, &RunOptions::default()).await.unwrap();
        assert!(report.is_done(), "{operation} {nth}: {report}");
        assert_eq!(Visible::of(&lab.fake).await, before, "{operation} {nth}");
        let ids_after = ids(&lab.fake).await;
        for untouched in ["calm", "db"] {
            assert_eq!(ids_after[untouched], ids_before[untouched], "{operation} {nth}");
        }
        // And the world is one that the journal agrees with.
        assert!(lab.plan(BEFORE).await.is_empty(), "{operation} {nth}: {}", lab.plan(BEFORE).await);
    }
    failures
}

const CHANGING: [Operation; 7] = [
    Operation::CreateInstance,
    Operation::StartInstance,
    Operation::StopInstance,
    Operation::DeleteInstance,
    Operation::SetResourceLimits,
    Operation::CreateNetwork,
    Operation::AttachNetwork,
];

#[tokio::test(start_paused = true)]
async fn a_failure_at_any_call_is_rolled_back() {
    let mut failures = 0;
    for operation in CHANGING {
        failures += fail_and_roll_back(|| Fault::error(ErrorKind::Internal), operation).await;
    }
    assert!(failures >= 8, "only {failures} failures");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_at_any_call_is_rolled_back() {
    for operation in CHANGING {
        fail_and_roll_back(Fault::answer_lost, operation).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_can_roll_itself_back() {
    let lab = Lab::new().await;
    lab.deploy(BEFORE).await;
    let before = Visible::of(&lab.fake).await;
    lab.fake.inject(Fault::error(ErrorKind::Exhausted).on(Operation::CreateInstance).instance("new"));
    let desired = lab.desired(&after());
    let options = RunOptions::default().rolling_back_on_failure();
    let report = lab.engine.deploy(&desired, &options).await.unwrap();
    assert!(!report.is_done());
    assert_eq!(report.failed[0].resource.to_string(), "shop/new");
    assert!(report.message.contains("everything is as it was before"), "{report}");
    assert_eq!(Visible::of(&lab.fake).await, before);
}

#[tokio::test(start_paused = true)]
async fn any_earlier_run_can_be_gone_back_to() {
    let lab = Lab::new().await;
    let image = |command: &str| {
        format!(
            "name: shop\nresources: [{{type: compute, name: a, specs: {{image: busybox:local, command: [serve, {command}]}}}}]"
        )
    };
    lab.deploy(&image("one")).await;
    let first = Visible::of(&lab.fake).await;
    lab.deploy(&image("two")).await;
    lab.deploy(&image("three")).await;
    let target = RollbackOptions::default().before_run(2);
    lab.engine.rollback(&[name("shop")], &target, &RunOptions::default()).await.unwrap();
    assert_eq!(Visible::of(&lab.fake).await, first);
    assert!(lab.plan(&image("one")).await.is_empty());
    // Before the first there was nothing.
    let target = RollbackOptions::default().before_run(1);
    lab.engine.rollback(&[name("shop")], &target, &RunOptions::default()).await.unwrap();
    assert!(lab.instances().await.is_empty());
    let target = RollbackOptions::default().before_run(99);
    let error = lab.engine.rollback(&[name("shop")], &target, &RunOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("has no run 99"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_again_without_its_secret_is_stuck_and_says_so() {
    let lab = Lab::new().await;
    let text = |password: &str| {
        format!(
            "name: shop\nresources: [{{type: compute, name: a, specs: {{image: busybox:local, environment: {{PASSWORD: {password}}}}}}}]"
        )
    };
    lab.deploy(&text("hunter2")).await;
    lab.deploy(&text("hunter3")).await;
    let options = RunOptions::default();
    let report = lab.engine.rollback(&[name("shop")], &RollbackOptions::default(), &options).await.unwrap();
    let failure = &report.failed[0];
    assert!(failure.reason.contains("environment.PASSWORD"), "{report}");
    assert!(failure.stuck.as_ref().unwrap().contains("give the documents"), "{report}");
    // Nothing was removed for it: it still runs as it was.
    assert_eq!(lab.running().await, ["a"]);
    let documents = parse(&lab.engine, &text("hunter2"));
    let target = RollbackOptions::default().before_run(2).with_documents(&documents);
    let report = lab.engine.rollback(&[name("shop")], &target, &options).await.unwrap();
    assert!(report.is_done(), "{report}");
    assert!(lab.plan(&text("hunter2")).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_run_protected_is_removed_with_it() {
    let lab = Lab::over(Arc::new(Fake::new("fake"))).await;
    lab.fake.inject(Fault::error(ErrorKind::Internal).on(Operation::CreateInstance).instance("b"));
    let text = "name: shop\nresources:\n  - {type: compute, name: a, specs: {image: busybox:local}, lifecycle: {protect: true}}\n  - {type: compute, name: b, specs: {image: busybox:local}, dependencies: [a]}";
    assert!(!lab.deploy(text).await.is_done());
    let report = lab
        .engine
        .rollback(&[name("shop")], &RollbackOptions::default(), &RunOptions::default())
        .await
        .unwrap();
    assert!(report.is_done() && lab.instances().await.is_empty(), "{report}");
}

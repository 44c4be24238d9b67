//! What happens while and after a deployment lives: directives, readiness, references, cancelling, actions,
//! reconciling.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use substrate_core::layer::{Stack, StackSettings};
use substrate_core::{Capabilities, Command, InstanceState, Operation, Substrate};
use substrate_engine::directive::Action;
use substrate_engine::run::{ProgressEvent, Stage};
use substrate_engine::{Engine, JournalStore, PortProbe, ReconcileOptions, RunOptions, Selector};
use substrate_fake::{Fake, Fault};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::lab::{Lab, engine, name, parse};

fn shop(resources: &str) -> String {
    format!("name: shop\nresources:\n{resources}")
}

#[tokio::test(start_paused = true)]
async fn directives_are_carried_out_in_their_order_and_once() {
    let lab = Lab::new().await;
    let text = shop(
        "  - type: compute\n    name: web\n    specs: {image: busybox:local}\n    directives:\n      - files: [{path: /etc/motd, content: hello, mode: '0644'}]\n      - exec: {command: [cat, /etc/motd]}\n      - exec: {command: [log, 'it is ${db.address}']}\n      - wait-for: {log: 'it is 10', timeout: 5s}\n  - {type: compute, name: db, specs: {image: busybox:local}}",
    );
    let report = lab.deploy(&text).await;
    assert!(report.is_done(), "{report}");
    let motd = lab.fake.world().read_file("web", "/etc/motd").await.unwrap();
    assert_eq!(motd.as_deref(), Some(b"hello".as_slice()));
    lab.fake.clear_calls();
    lab.deploy(
        &text.replace(
            "image: busybox:local}\n    directives",
            "image: busybox:local, cpu: 1}\n    directives",
        ),
    )
    .await;
    let commands = lab.fake.calls().iter().filter(|call| call.operation == Operation::OpenCommand).count();
    assert_eq!(commands, 0, "another limit is no reason to run them again");
}

#[tokio::test(start_paused = true)]
async fn a_directive_that_fails_fails_its_resource_and_what_depends_on_it_is_not_begun() {
    let lab = Lab::new().await;
    let text = shop(
        "  - {type: compute, name: web, specs: {image: busybox:local}, directives: [{exec: {command: [emit, '', 'no luck', '3']}}]}\n  - {type: compute, name: after, specs: {image: busybox:local}, dependencies: [web]}\n  - {type: compute, name: beside, specs: {image: busybox:local}}",
    );
    let report = lab.deploy(&text).await;
    assert!(report.failed[0].reason.contains("no luck"), "{report}");
    assert_eq!(report.created.len(), 1);
    assert_eq!(report.skipped[0].reason, "it needs `shop/web`, which failed");
    // With the cause mended, the rest is made and nothing is made twice.
    let mended = text.replace("'3'", "'0'");
    let report = lab.deploy(&mended).await;
    assert!(report.is_done(), "{report}");
    assert_eq!(lab.running().await, ["after", "beside", "web"]);
    assert!(lab.plan(&mended).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_will_never_be_ready_fails_at_once() {
    let lab = Lab::new().await;
    let text = shop(
        "  - {type: compute, name: web, specs: {image: busybox:local, command: [exit, '1']}, readiness: {health: true, timeout: 1h}}",
    );
    let begun = Instant::now();
    let report = lab.deploy(&text).await;
    assert!(report.failed[0].reason.contains("will not become ready"), "{report}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

struct OpensLater(AtomicUsize);

#[async_trait]
impl PortProbe for OpensLater {
    async fn is_open(&self, _: std::net::IpAddr, port: u16) -> bool {
        port == 5432 && self.0.fetch_add(1, Ordering::Relaxed) >= 10
    }
}

#[tokio::test(start_paused = true)]
async fn dependents_wait_until_a_port_is_open() {
    let fake = Arc::new(Fake::new("fake"));
    let engine = Engine::builder(JournalStore::memory())
        .facility(fake.clone())
        .port_probe(OpensLater(AtomicUsize::new(0)));
    let engine = engine.connect().await.unwrap();
    let text = shop(
        "  - {type: compute, name: db, specs: {image: busybox:local}, readiness: {port: 5432, interval: 2s}}\n  - {type: compute, name: web, specs: {image: busybox:local, environment: {DB: '${db.address}'}}}",
    );
    let report = engine.deploy(&parse(&engine, &text), &RunOptions::default()).await.unwrap();
    assert!(report.is_done(), "{report}");
    let began = |index: usize| report.timeline.spans[index].began;
    assert_eq!(began(1) - began(0), Duration::from_secs(20));
    assert_eq!(report.timeline.spans[1].after.as_ref().unwrap().to_string(), "shop/db");
}

#[tokio::test(start_paused = true)]
async fn what_uses_an_output_follows_it_even_when_the_engine_was_killed_in_between() {
    let lab = Lab::new().await;
    let text = |command: &str| {
        shop(&format!(
            "  - {{type: compute, name: db, specs: {{image: busybox:local, command: [serve, {command}]}}}}\n  - {{type: compute, name: web, specs: {{image: busybox:local, environment: {{DB: '${{db.id}}'}}}}}}"
        ))
    };
    lab.deploy(&text("one")).await;
    // The first half of a change is done, the second never begun.
    let only: Selector = "shop/db".parse().unwrap();
    let desired = lab.desired(&text("two"));
    lab.engine.deploy(&desired, &RunOptions::default().only(only)).await.unwrap();
    let plan = lab.plan(&text("two")).await;
    assert_eq!(plan.steps.len(), 1, "{plan}");
    assert_eq!(plan.steps[0].causes[0].to_string(), "${db.id} changed");
    assert!(lab.deploy(&text("two")).await.is_done());
    assert!(lab.plan(&text("two")).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn cancelling_finishes_what_is_in_flight_and_begins_nothing_more() {
    let lab = Lab::new().await;
    let text = shop(
        "  - {type: compute, name: a, specs: {image: busybox:local}}\n  - {type: compute, name: b, specs: {image: busybox:local}, dependencies: [a]}",
    );
    lab.fake.inject(Fault::latency(Duration::from_secs(30)).on(Operation::CreateInstance));
    let cancel = CancellationToken::new();
    let stages = Arc::new(Mutex::new(Vec::new()));
    let heard = stages.clone();
    let options =
        RunOptions::default().cancelled_by(cancel.clone()).telling(move |event: &ProgressEvent<'_>| {
            heard.lock().unwrap().push((event.resource.to_string(), event.stage.clone()));
        });
    let desired = lab.desired(&text);
    let deploying = lab.engine.deploy(&desired, &options);
    let stopping = async {
        sleep(Duration::from_secs(10)).await;
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(deploying, stopping);
    let report = report.unwrap();
    assert_eq!(report.status.as_str(), "cancelled");
    assert!(report.message.contains("run the same again to go on"), "{report}");
    assert_eq!((report.created.len(), report.skipped.len()), (1, 1));
    assert_eq!(stages.lock().unwrap()[1], ("shop/a".to_owned(), Stage::Done));
    assert!(lab.deploy(&text).await.is_done());
    assert_eq!(lab.running().await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn actions_go_over_a_selection_in_order() {
    let lab = Lab::new().await;
    let text = shop(
        "  - {type: compute, name: db, specs: {image: busybox:local}}\n  - {type: compute, name: web, count: 2, specs: {image: busybox:local, labels: {tier: front}}, dependencies: [db]}",
    );
    lab.deploy(&text).await;
    let deployments = [name("shop")];
    let act = async |action, selector: &Selector| {
        lab.engine.act(action, &deployments, None, selector).await.unwrap()
    };
    let stopped = act(Action::Stop, &Selector::all()).await;
    let order: Vec<String> = stopped.iter().map(|one| one.resource.to_string()).collect();
    assert_eq!(order, ["shop/web[1]", "shop/web[0]", "shop/db"]);
    assert!(lab.running().await.is_empty());
    let started = act(Action::Start, &Selector::all().labelled("tier", "front")).await;
    assert_eq!(started.len(), 2);
    assert_eq!(lab.running().await, ["web-0", "web-1"]);
    let health = act(Action::Health, &Selector::all()).await;
    assert!(health[0].failure.is_some() && health[1].failure.is_none(), "{health:?}");
    let inventory = act(Action::Inventory, &Selector::all().on("fake")).await;
    assert_eq!(inventory[0].state, "stopped");
    assert!(inventory[1].outputs.contains_key("address"));
    let snapshots = act(Action::Snapshot, &"shop/web[0]".parse().unwrap()).await;
    assert_eq!(snapshots.len(), 1);
    assert_eq!(lab.fake.list_snapshots(&"web-0".parse().unwrap()).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn reconciling_mends_what_an_event_tells_long_before_the_interval() {
    let lab = Lab::new().await;
    let text = shop("  - {type: compute, name: web, specs: {image: busybox:local}}");
    let desired = lab.desired(&text);
    let cancel = CancellationToken::new();
    let options = RunOptions::default().cancelled_by(cancel.clone());
    let rounds = Arc::new(AtomicUsize::new(0));
    let heard = rounds.clone();
    let every = ReconcileOptions::default().every(Duration::from_secs(3600));
    let keeping = lab.engine.reconcile(&desired, &every, &options, move |round| {
        assert!(round.unwrap().is_done());
        heard.fetch_add(1, Ordering::Relaxed);
    });
    let disturbing = async {
        sleep(Duration::from_secs(60)).await;
        lab.fake.world().stop("web").await.unwrap();
        sleep(Duration::from_secs(60)).await;
        let web = lab.fake.get_instance(&"web".parse().unwrap()).await.unwrap();
        assert_eq!(web.state, InstanceState::Running);
        cancel.cancel();
    };
    tokio::join!(keeping, disturbing);
    assert!(rounds.load(Ordering::Relaxed) >= 2);
}

#[tokio::test(start_paused = true)]
async fn drift_is_told_without_documents() {
    let lab = Lab::new().await;
    lab.deploy(&shop("  - {type: compute, name: web, specs: {image: busybox:local}}")).await;
    assert!(lab.engine.drift(&[name("shop")], &Selector::all()).await.unwrap().is_empty());
    lab.fake.world().stop("web").await.unwrap();
    let drift = lab.engine.drift(&[name("shop")], &Selector::all()).await.unwrap();
    assert_eq!(drift[0].to_string(), "shop/web: running drifted to false, wanted true (update mends it)");
}

#[tokio::test(start_paused = true)]
async fn what_a_cache_still_keeps_hides_no_drift() {
    // It tells nobody what others do, as Supervisor and Proxmox VE.
    let silent = Capabilities::all().without(Operation::Watch, "nobody is told");
    let fake = Arc::new(Fake::builder().name("fake").capabilities(silent).build());
    let stack = Stack::standard(fake.clone(), &StackSettings::default()).unwrap();
    let engine = engine(stack.substrate(), &JournalStore::memory()).await;
    let text = shop(
        "  - {type: storage, name: data}\n  - {type: compute, name: web, specs: {image: busybox:local}}",
    );
    let desired = parse(&engine, &text);
    for _ in 0..2 {
        assert!(engine.deploy(&desired, &RunOptions::default()).await.unwrap().is_done());
    }
    fake.world().stop("web").await.unwrap();
    fake.delete_volume(&"data".parse().unwrap()).await.unwrap();
    let drift = engine.drift(&[name("shop")], &Selector::all()).await.unwrap();
    let told: Vec<String> = drift.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_directive_runs_before_a_removal_with_the_outputs_of_that_time() {
    let lab = Lab::new().await;
    let text = shop(
        "  - {type: compute, name: db, specs: {image: busybox:local}}\n  - type: compute\n    name: web\n    specs: {image: busybox:local, environment: {DB: '${db.address}'}}\n    directives: [{exec: {command: [write, /data/bye, 'from ${db.name}'], on: [destroy]}}]",
    );
    let kept = "  - {type: storage, name: data}\n";
    let text = text
        .replace("resources:\n", &format!("resources:\n{kept}"))
        .replace("environment:", "volumes: ['data:/data'], environment:");
    assert!(lab.deploy(&text).await.is_done());
    let report = lab.deploy(&shop(&format!("{kept}  - {{type: compute, name: reader, specs: {{image: busybox:local, volumes: ['data:/data']}}}}"))).await;
    assert!(report.is_done(), "{report}");
    let reading = Command::new(["cat", "/data/bye"]);
    let bye = lab.fake.execute_command(&"reader".parse().unwrap(), &reading).await.unwrap();
    assert_eq!(bye.stdout_text(), "from db");
}

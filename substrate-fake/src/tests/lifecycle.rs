use std::time::Duration;

use substrate_core::{
    InstanceFilter, InstanceKind, InstanceState, Outcome, PortMapping, PortProtocol, ResourceLimits,
    StopMode, Substrate, SubstrateExt,
};
use tokio::time::Instant;

use super::{config, get, name, running, state};
use crate::Fake;

const BRIEF: Duration = Duration::from_millis(300);

#[tokio::test(start_paused = true)]
async fn a_life_from_creation_to_deletion() {
    let fake = Fake::new("fake");
    let created = fake.create_instance(&config("web").with_label("role", "web")).await.unwrap();
    assert_eq!(created.state, InstanceState::Stopped);
    assert_eq!(created.provider_state, "created");
    assert_eq!(created.kind, InstanceKind::Container);
    assert_eq!(*get(&fake, "web").await, *created);
    fake.start_instance(&name("web")).await.unwrap();
    let first = get(&fake, "web").await;
    assert_eq!(first.state, InstanceState::Running);
    // Again is success and no new start.
    fake.start_instance(&name("web")).await.unwrap();
    assert_eq!(*get(&fake, "web").await, *first);
    fake.stop_instance(&name("web"), StopMode::default()).await.unwrap();
    fake.stop_instance(&name("web"), StopMode::default()).await.unwrap();
    assert_eq!(get(&fake, "web").await.provider_state, "exited (0)");
    fake.start_instance(&name("web")).await.unwrap();
    // A paused clock stands still, and yet what happens later has a later time.
    assert!(get(&fake, "web").await.started_at > first.started_at);
    assert!(fake.delete_instance(&name("web"), false).await.unwrap_err().is_conflict());
    fake.delete_instance(&name("web"), true).await.unwrap();
    assert!(fake.get_instance(&name("web")).await.unwrap_err().is_not_found());
    assert!(fake.delete_instance(&name("web"), true).await.unwrap_err().is_not_found());
    fake.create_instance(&config("web")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_error_tells_operation_substrate_and_instance() {
    let fake = Fake::new("fake-paris");
    let error = fake.start_instance(&name("web")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "start_instance `web` on fake-paris: there is no instance `web` (not_found)"
    );
    let error = fake.ensure_image("missing:1").await.unwrap_err();
    assert_eq!((error.substrate(), error.instance()), (Some("fake-paris"), Some("missing:1")));
}

#[tokio::test(start_paused = true)]
async fn a_deaf_guest_is_never_killed_silently() {
    let fake = Fake::new("fake");
    let deaf = running(&fake, "deaf", &["deaf"]).await;
    let before = get(&fake, "deaf").await;
    let begin = Instant::now();
    let error = fake.stop_instance(&deaf, StopMode::Graceful(BRIEF)).await.unwrap_err();
    assert_eq!(begin.elapsed(), BRIEF);
    assert!(error.is_timeout());
    assert_eq!(error.outcome(), Outcome::Rejected);
    assert!(fake.restart_instance(&deaf, StopMode::Graceful(BRIEF)).await.unwrap_err().is_timeout());
    assert_eq!(*get(&fake, "deaf").await, *before);
    fake.stop_instance(&deaf, StopMode::GracefulThenForce(BRIEF)).await.unwrap();
    assert_eq!(get(&fake, "deaf").await.provider_state, "exited (137)");
}

#[tokio::test(start_paused = true)]
async fn a_slow_guest_is_given_its_time() {
    let fake = Fake::new("fake");
    let slow = config("slow").with_option("start_delay", "2m").with_option("stop_delay", "5s");
    fake.create_instance(&slow).await.unwrap();
    let begin = Instant::now();
    fake.start_instance(&slow.name).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(120));
    let error = fake.stop_instance(&slow.name, StopMode::Graceful(Duration::from_secs(4))).await.unwrap_err();
    assert!(error.is_timeout());
    let begin = Instant::now();
    fake.stop_instance(&slow.name, StopMode::Graceful(Duration::from_secs(10))).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert_eq!(get(&fake, "slow").await.provider_state, "exited (0)");
}

#[tokio::test(start_paused = true)]
async fn a_stop_returns_when_somebody_else_stopped_it() {
    let fake = Fake::new("fake");
    let deaf = running(&fake, "deaf", &["deaf"]).await;
    let stop = fake.stop_instance(&deaf, StopMode::Graceful(Duration::from_secs(60)));
    let world = fake.world();
    let cut = async {
        tokio::time::sleep(BRIEF).await;
        world.stop("deaf").await
    };
    let begin = Instant::now();
    let (stopped, cut) = tokio::join!(stop, cut);
    stopped.unwrap();
    cut.unwrap();
    assert_eq!(begin.elapsed(), BRIEF);
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_done_when_it_stopped_although_it_runs_again() {
    let fake = Fake::new("fake");
    let deaf = running(&fake, "deaf", &["deaf"]).await;
    let (stopped, ()) = tokio::join!(fake.stop_instance(&deaf, StopMode::Graceful(BRIEF)), async {
        fake.restart_instance(&deaf, StopMode::Force).await.unwrap();
    });
    stopped.unwrap();
    assert_eq!(state(&fake, "deaf").await, InstanceState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stop_leaves_the_instance_as_it_was() {
    let fake = Fake::new("fake");
    let deaf = running(&fake, "deaf", &["deaf"]).await;
    let stop = fake.stop_instance(&deaf, StopMode::GracefulThenForce(Duration::from_secs(60)));
    assert!(tokio::time::timeout(BRIEF, stop).await.is_err());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(state(&fake, "deaf").await, InstanceState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_main_program_that_ends_leaves_the_instance_stopped() {
    let fake = Fake::new("fake");
    running(&fake, "brief", &["exit", "3"]).await;
    let brief = get(&fake, "brief").await;
    assert_eq!((brief.state, &*brief.provider_state), (InstanceState::Stopped, "exited (3)"));
    assert!(brief.started_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_main_program_that_does_not_exist_cannot_be_started() {
    let fake = Fake::new("fake");
    fake.create_instance(&config("hollow").with_command(["/no/such/program"])).await.unwrap();
    assert!(fake.start_instance(&name("hollow")).await.unwrap_err().is_invalid_input());
    assert_eq!(state(&fake, "hollow").await, InstanceState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn pausing_freezes_and_only_resume_thaws() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &[]).await;
    let before = get(&fake, "web").await;
    fake.pause_instance(&web).await.unwrap();
    fake.pause_instance(&web).await.unwrap();
    assert_eq!(state(&fake, "web").await, InstanceState::Paused);
    assert!(fake.start_instance(&web).await.unwrap_err().is_conflict());
    assert!(fake.delete_instance(&web, false).await.unwrap_err().is_conflict());
    // What is frozen cannot listen.
    assert!(fake.stop_instance(&web, StopMode::Graceful(BRIEF)).await.unwrap_err().is_timeout());
    fake.resume_instance(&web).await.unwrap();
    fake.resume_instance(&web).await.unwrap();
    assert_eq!(*get(&fake, "web").await, *before);
    fake.pause_instance(&web).await.unwrap();
    fake.stop_instance(&web, StopMode::Force).await.unwrap();
    assert!(fake.pause_instance(&web).await.unwrap_err().is_conflict());
    assert!(fake.resume_instance(&web).await.unwrap_err().is_conflict());
}

#[tokio::test(start_paused = true)]
async fn a_failed_create_leaves_nothing_behind() {
    let fake = Fake::new("fake");
    let missing = config("a").with_image("nowhere:1");
    assert!(fake.create_instance(&missing).await.unwrap_err().is_not_found());
    let unknown = config("a").with_option("sc-no-such-option", true);
    assert!(fake.create_instance(&unknown).await.unwrap_err().is_invalid_input());
    let foreign = config("a").with_kind(InstanceKind::Pod);
    assert!(fake.create_instance(&foreign).await.unwrap_err().is_unsupported());
    assert!(!fake.instance_exists(&name("a")).await.unwrap());
    fake.create_instance(&config("a")).await.unwrap();
    assert!(fake.create_instance(&config("a")).await.unwrap_err().is_already_exists());
}

#[tokio::test(start_paused = true)]
async fn an_id_is_accepted_and_a_name_wins_over_it() {
    let fake = Fake::new("fake");
    let first = fake.create_instance(&config("first")).await.unwrap();
    let id = name(&first.id);
    assert_eq!(*fake.get_instance(&id).await.unwrap(), *first);
    fake.start_instance(&id).await.unwrap();
    assert_eq!(state(&fake, "first").await, InstanceState::Running);
    let second = fake.create_instance(&config(&first.id)).await.unwrap();
    assert_eq!(fake.get_instance(&id).await.unwrap().id, second.id);
}

#[tokio::test(start_paused = true)]
async fn lists_are_in_order_and_filtered() {
    let fake = Fake::new("fake");
    for text in ["web-2", "db", "web-1", "my-web", "größe/../☃"] {
        fake.create_instance(&config(text).with_label("name", text)).await.unwrap();
    }
    let list = async |filter: InstanceFilter| {
        let found = fake.list_instances(&filter).await.unwrap();
        found.iter().map(|instance| instance.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(InstanceFilter::all()).await, ["db", "größe/../☃", "my-web", "web-1", "web-2"]);
    assert_eq!(list(InstanceFilter::all().with_name_prefix("web")).await, ["web-1", "web-2"]);
    assert_eq!(list(InstanceFilter::all().with_label("name", "db")).await, ["db"]);
    assert!(list(InstanceFilter::all().with_state(InstanceState::Running)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_shared_and_still_tells_its_age() {
    let fake = Fake::new("fake");
    fake.create_instance(&config("web")).await.unwrap();
    let first = get(&fake, "web").await;
    assert!(std::sync::Arc::ptr_eq(&first, &get(&fake, "web").await));
    tokio::time::advance(Duration::from_secs(7)).await;
    assert_eq!(get(&fake, "web").await.age(), Duration::ZERO);
    assert_eq!(first.age(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn limits_change_all_or_nothing() {
    let fake = Fake::new("fake");
    fake.create_instance(&config("web").with_cpu_cores(0.5).with_memory_mb(96)).await.unwrap();
    let web = name("web");
    let bad = ResourceLimits { cpu_cores: Some(0.25), memory_mb: Some(0), ..ResourceLimits::default() };
    assert!(fake.set_resource_limits(&web, &bad).await.unwrap_err().is_invalid_input());
    let memory = ResourceLimits { memory_mb: Some(128), ..ResourceLimits::default() };
    fake.start_instance(&web).await.unwrap();
    fake.set_resource_limits(&web, &memory).await.unwrap();
    let limits = fake.get_resource_limits(&web).await.unwrap();
    assert_eq!((limits.cpu_cores, limits.memory_mb, limits.disk_gb), (Some(0.5), Some(128), None));
    let tiny = ResourceLimits { memory_mb: Some(1), ..ResourceLimits::default() };
    assert!(fake.set_resource_limits(&web, &tiny).await.unwrap_err().is_conflict());
}

#[tokio::test(start_paused = true)]
async fn usage_comes_from_counters() {
    let fake = Fake::new("fake");
    let busy = running(&fake, "busy", &["busy"]).await;
    assert_eq!(fake.get_metrics(&busy).await.unwrap().cpu_percent, Some(100.0));
    tokio::time::advance(Duration::from_secs(3)).await;
    fake.pause_instance(&busy).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(fake.get_metrics(&busy).await.unwrap().cpu_percent, Some(75.0));
    fake.resume_instance(&busy).await.unwrap();
    let half = ResourceLimits { cpu_cores: Some(0.5), ..ResourceLimits::default() };
    fake.set_resource_limits(&busy, &half).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(fake.get_metrics(&busy).await.unwrap().cpu_percent, Some(50.0));
    fake.stop_instance(&busy, StopMode::Force).await.unwrap();
    let stopped = fake.get_metrics(&busy).await.unwrap();
    assert_eq!((stopped.cpu_percent, stopped.memory_mb), (Some(0.0), Some(0.0)));
    let idle = running(&fake, "idle", &[]).await;
    assert_eq!(fake.get_metrics(&idle).await.unwrap().cpu_percent, Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_port_is_published_once() {
    let fake = Fake::new("fake");
    let port =
        |host_port| PortMapping { port: 80, host_port, host_address: None, protocol: PortProtocol::Tcp };
    fake.create_instance(&config("a").with_port(port(Some(8080)))).await.unwrap();
    assert!(fake.create_instance(&config("b").with_port(port(Some(8080)))).await.unwrap_err().is_conflict());
    let picked = fake.create_instance(&config("b").with_port(port(None))).await.unwrap();
    assert_eq!(picked.properties["ports"][0]["host_port"], 32_768);
    fake.delete_instance(&name("a"), false).await.unwrap();
    fake.create_instance(&config("c").with_port(port(Some(8080)))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_protected_is_not_deleted_even_by_force() {
    let fake = Fake::new("fake");
    fake.create_instance(&config("db").with_option("protected", true)).await.unwrap();
    assert!(fake.delete_instance(&name("db"), true).await.unwrap_err().is_conflict());
    fake.world().remove("db").await.unwrap();
    assert!(!fake.instance_exists(&name("db")).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_world_changes_things_without_a_call() {
    let fake = Fake::new("fake");
    let world = fake.world();
    world.create(&config("web")).await.unwrap();
    world.start("web").await.unwrap();
    world.set_label("web", "role", "db").await.unwrap();
    world.crash("web", 139).await.unwrap();
    world.write_file("web", "/note", "x").await.unwrap();
    assert!(fake.calls().is_empty());
    let web = get(&fake, "web").await;
    assert_eq!((web.state, &*web.provider_state), (InstanceState::Failed, "crashed (139)"));
    assert_eq!(web.labels.get("role"), Some("db"));
    assert_eq!(world.read_file("web", "note").await.unwrap().as_deref(), Some(&b"x"[..]));
    // A failed instance can be started again, and stopped.
    fake.start_instance(&name("web")).await.unwrap();
    world.crash("web", 1).await.unwrap();
    fake.stop_instance(&name("web"), StopMode::default()).await.unwrap();
    assert_eq!(state(&fake, "web").await, InstanceState::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_are_not_mixed_up() {
    let fake = Fake::new("fake");
    let calls = (0..1_000).map(|number| {
        let fake = fake.clone();
        tokio::spawn(async move {
            let text = format!("i-{number}");
            let created = fake.create_instance(&config(&text)).await.unwrap();
            assert_eq!(created.name, *text);
            fake.start_instance(&created.name).await.unwrap();
            let output = super::stdout(&fake, &text, &["echo", &text]).await;
            assert_eq!(output, format!("{text}\n"));
            fake.delete_instance(&created.name, true).await.unwrap();
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert!(fake.list_instances(&InstanceFilter::all()).await.unwrap().is_empty());
}

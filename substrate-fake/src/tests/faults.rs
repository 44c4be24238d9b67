use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::ErrorKind;
use substrate_core::{
    Command, EventKind, InstanceState, LogOptions, Operation, Outcome, StopMode, Substrate, SubstrateExt,
    WatchItem, WatchOptions,
};
use tokio::time::{Instant, timeout};

use super::{config, get, name, running, state};
use crate::{CallOutcome, CallRecord, Fake, FakeConfig, Fault};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_error_has_no_effect() {
    let fake = Fake::new("fake");
    fake.inject(Fault::error(ErrorKind::RateLimited).on(Operation::CreateInstance));
    let error = fake.create_instance(&config("web")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(!fake.instance_exists(&name("web")).await.unwrap());
    fake.create_instance(&config("web")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_handle_knows_whether_the_last_exchange_worked() {
    let fake = Fake::new("fake");
    assert!(!fake.is_connected());
    fake.connect().await.unwrap();
    assert!(fake.is_connected());
    fake.inject(Fault::error(ErrorKind::Unavailable));
    fake.get_instance(&name("web")).await.unwrap_err();
    assert!(!fake.is_connected());
    // A "no" is an answer, too.
    assert!(fake.get_instance(&name("web")).await.unwrap_err().is_not_found());
    assert!(fake.is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_never_answers_and_has_no_effect() {
    let fake = Fake::new("fake");
    fake.inject(Fault::hang().on(Operation::CreateInstance));
    assert!(timeout(3_600 * SECOND, fake.create_instance(&config("web"))).await.is_err());
    assert_eq!(fake.calls()[0].outcome, CallOutcome::Dropped);
    assert!(!fake.instance_exists(&name("web")).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn latency_is_on_tokios_clock() {
    let fake = Fake::builder().latency(SECOND).fault(Fault::latency(2 * SECOND).nth(2)).build();
    let begin = Instant::now();
    fake.create_instance(&config("web")).await.unwrap();
    assert_eq!(begin.elapsed(), SECOND);
    get(&fake, "web").await;
    assert_eq!(begin.elapsed(), 4 * SECOND);
    get(&fake, "web").await;
    assert_eq!(begin.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_has_its_effect() {
    let fake = Fake::new("fake");
    fake.inject(Fault::answer_lost().on(Operation::CreateInstance));
    let error = fake.create_instance(&config("web")).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(fake.instance_exists(&name("web")).await.unwrap());
    // A refusal can be lost, too.
    fake.inject(Fault::answer_lost());
    assert!(fake.create_instance(&config("web")).await.unwrap_err().is_timeout());
    fake.inject(Fault::answer_lost_hanging().on(Operation::StartInstance));
    assert!(timeout(3_600 * SECOND, fake.start_instance(&name("web"))).await.is_err());
    assert_eq!(state(&fake, "web").await, InstanceState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_answers_from_an_earlier_state() {
    let fake = Fake::new("fake");
    fake.create_instance(&config("web")).await.unwrap();
    fake.inject(Fault::stale_read(2 * SECOND).on(Operation::GetInstance));
    fake.start_instance(&name("web")).await.unwrap();
    assert_eq!(state(&fake, "web").await, InstanceState::Stopped);
    // Another operation is not struck.
    let filter = substrate_core::InstanceFilter::all().with_state(InstanceState::Running);
    assert_eq!(fake.list_instances(&filter).await.unwrap().len(), 1);
    tokio::time::sleep(SECOND).await;
    fake.pause_instance(&name("web")).await.unwrap();
    assert_eq!(state(&fake, "web").await, InstanceState::Stopped);
    tokio::time::sleep(SECOND).await;
    assert_eq!(state(&fake, "web").await, InstanceState::Running);
    tokio::time::sleep(SECOND).await;
    assert_eq!(state(&fake, "web").await, InstanceState::Paused);
    fake.resume_instance(&name("web")).await.unwrap();
    fake.clear_faults();
    assert_eq!(state(&fake, "web").await, InstanceState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_held_for_its_time() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &[]).await;
    running(&fake, "db", &[]).await;
    fake.inject(Fault::lock_held(3 * SECOND).instance("web"));
    for _ in 0..2 {
        assert!(fake.stop_instance(&web, StopMode::Force).await.unwrap_err().is_busy());
        tokio::time::sleep(SECOND).await;
    }
    // Reads and others go on.
    assert_eq!(state(&fake, "web").await, InstanceState::Running);
    fake.stop_instance(&name("db"), StopMode::Force).await.unwrap();
    tokio::time::sleep(SECOND).await;
    fake.stop_instance(&web, StopMode::Force).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fault_knows_an_instance_by_its_name_when_its_id_is_used() {
    let fake = Fake::new("fake");
    let id = name(&fake.create_instance(&config("web")).await.unwrap().id);
    fake.inject(Fault::error(ErrorKind::Busy).instance("web"));
    assert!(fake.start_instance(&id).await.unwrap_err().is_busy());
}

async fn created(fake: &Fake, stream: &mut substrate_core::WatchStream) -> Vec<Option<String>> {
    fake.create_instance(&config("a")).await.unwrap();
    fake.create_instance(&config("b")).await.unwrap();
    let mut items = Vec::new();
    while let Ok(Some(item)) = timeout(SECOND, stream.next()).await {
        items.push(match item.unwrap() {
            WatchItem::Event { event, .. } => event.instance.map(|name| name.to_string()),
            _ => None,
        });
    }
    items
}

#[tokio::test(start_paused = true)]
async fn events_are_dropped_doubled_or_replaced_by_a_gap() {
    let of = |text: &str| Some(text.to_owned());
    for (fault, expected) in [
        (Fault::event_dropped(), vec![of("b")]),
        (Fault::event_dropped().instance("b"), vec![of("a")]),
        (Fault::event_duplicated(), vec![of("a"), of("a"), of("b")]),
        (Fault::event_gap().nth(2), vec![of("a"), None]),
        (Fault::event_dropped().on(Operation::StartInstance), vec![of("a"), of("b")]),
    ] {
        let fake = Fake::new("fake");
        let mut stream = fake.watch(&WatchOptions::from_now()).await.unwrap();
        fake.inject(fault.clone());
        assert_eq!(created(&fake, &mut stream).await, expected, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_restart_ends_streams_and_calls_and_the_handle_goes_on() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &["deaf"]).await;
    assert!(fake.is_connected());
    let mut watch = fake.watch(&WatchOptions::from_now()).await.unwrap();
    let mut logs = fake.get_logs(&web, &LogOptions::all().follow()).await.unwrap();
    let mut session = fake.open_command(&web, &Command::new(["sleep", "60"])).await.unwrap();
    let command = Command::new(["sleep", "60"]);
    let (execute, stop, restart) = tokio::join!(
        fake.execute_command(&web, &command),
        fake.stop_instance(&web, StopMode::Graceful(60 * SECOND)),
        async {
            tokio::time::sleep(SECOND).await;
            fake.inject(Fault::daemon_restart(5 * SECOND).on(Operation::CreateInstance));
            fake.create_instance(&config("db")).await
        }
    );
    let restart = restart.unwrap_err();
    assert!(restart.is_unavailable());
    assert_eq!(restart.outcome(), Outcome::Unknown);
    let execute = execute.unwrap_err();
    assert!(execute.is_unavailable());
    assert_eq!(execute.operation(), Some(Operation::ExecuteCommand));
    assert!(stop.unwrap_err().is_unavailable());
    assert!(watch.next().await.unwrap().unwrap_err().is_unavailable());
    assert!(logs.next().await.unwrap().unwrap_err().is_unavailable());
    assert!(session.output.next().await.unwrap().unwrap_err().is_unavailable());
    assert!(
        watch.next().await.is_none() && logs.next().await.is_none() && session.output.next().await.is_none()
    );
    // While it is down.
    let down = fake.get_instance(&web).await.unwrap_err();
    assert!(down.is_unavailable());
    assert_eq!(down.outcome(), Outcome::NotSent);
    assert!(!fake.is_connected());
    tokio::time::sleep(5 * SECOND).await;
    // The effect had not happened, and instances went on.
    assert!(!fake.instance_exists(&name("db")).await.unwrap());
    assert_eq!(state(&fake, "web").await, InstanceState::Running);
    assert!(fake.is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_daemon_can_restart_after_the_effect() {
    let fake = Fake::new("fake");
    fake.inject(Fault::daemon_restart_after_effect(SECOND));
    let error = fake.create_instance(&config("web")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown));
    tokio::time::sleep(SECOND).await;
    assert!(fake.instance_exists(&name("web")).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_daemon_stays_down_until_it_is_started() {
    let fake = Fake::new("fake");
    fake.world().stop_daemon();
    tokio::time::sleep(3_600 * SECOND).await;
    assert!(fake.connect().await.unwrap_err().is_unavailable());
    fake.world().start_daemon();
    fake.connect().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn switches_of_the_configuration_let_calls_fail() {
    let settings = serde_json::json!({"fail_on_create": ["bad"], "fail_on_start": true});
    let config_of: FakeConfig = serde_json::from_value(settings).unwrap();
    let fake = Fake::from_config("fake", config_of).unwrap();
    let error = fake.create_instance(&config("bad")).await.unwrap_err();
    assert!(error.message().contains("fail_on_create"));
    assert_eq!(error.outcome(), Outcome::Rejected);
    fake.create_instance(&config("good")).await.unwrap();
    assert!(fake.start_instance(&name("good")).await.is_err());
    assert_eq!(state(&fake, "good").await, InstanceState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn the_call_log_tells_what_came() {
    let fake = Fake::new("fake");
    tokio::time::sleep(SECOND).await;
    fake.create_instance(&config("web")).await.unwrap();
    let _ = fake.get_instance(&name("db")).await;
    let calls = fake.calls();
    assert_eq!(
        (calls[0].number, calls[0].operation, calls[0].target()),
        (1, Operation::CreateInstance, "web")
    );
    assert_eq!((calls[0].started, calls[0].outcome), (SECOND, CallOutcome::Succeeded));
    let missing = CallOutcome::Failed { kind: ErrorKind::NotFound, outcome: Outcome::Rejected };
    assert_eq!((calls[1].target(), calls[1].outcome), ("db", missing));
    fake.clear_calls();
    assert!(fake.calls().is_empty());
}

/// A story with chance in it, and everything that can be seen of it.
async fn story(seed: u64) -> (Vec<CallRecord>, Vec<String>, Vec<WatchItem>) {
    let fake = Fake::builder()
        .seed(seed)
        .fault(Fault::error(ErrorKind::Busy).probability(0.2))
        .fault(Fault::answer_lost().probability(0.2))
        .fault(Fault::latency(SECOND).probability(0.3))
        .fault(Fault::event_duplicated().probability(0.2))
        .build();
    let mut watch = loop {
        if let Ok(watch) = fake.watch(&WatchOptions::from_now()).await {
            break watch;
        }
    };
    for number in 0..50 {
        let text = format!("i-{}", number % 7);
        let _ = fake.create_instance(&config(&text)).await;
        let _ = fake.start_instance(&name(&text)).await;
        let _ = fake.delete_instance(&name(&text), number % 2 == 0).await;
    }
    let mut items = Vec::new();
    while let Ok(Some(Ok(item))) = timeout(SECOND, watch.next()).await {
        items.push(item);
    }
    let ids = fake.world().instances().await.unwrap().iter().map(|instance| instance.id.clone()).collect();
    (fake.calls(), ids, items)
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_trace() {
    let first = story(7).await;
    assert_eq!(first, story(7).await);
    let other = story(8).await;
    assert_ne!(first.0, other.0);
    assert!(
        first
            .2
            .iter()
            .any(|item| matches!(item, WatchItem::Event { event, .. } if event.kind == EventKind::Created))
    );
}

#[tokio::test]
async fn a_bare_call_never_waits() {
    let fake = Fake::new("fake");
    let config = config("web");
    let call = fake.create_instance(&config);
    let done = futures_util::FutureExt::now_or_never(call);
    done.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn waits_without_end_are_no_panic() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &["deaf"]).await;
    fake.inject(Fault::lock_held(Duration::MAX).on(Operation::DeleteInstance));
    for _ in 0..2 {
        assert!(fake.delete_instance(&web, true).await.unwrap_err().is_busy());
    }
    fake.inject(Fault::latency(Duration::MAX).times(2));
    fake.inject(Fault::latency(Duration::MAX).times(2));
    assert!(timeout(SECOND, fake.get_instance(&web)).await.is_err());
    fake.clear_faults();
    let forever = StopMode::Graceful(Duration::MAX);
    assert!(timeout(SECOND, fake.stop_instance(&web, forever)).await.is_err());
    let sleep = Command::new(["sleep", "infinity"]);
    assert!(timeout(SECOND, fake.execute_command(&web, &sleep)).await.is_err());
    fake.world().restart_daemon_for(Duration::MAX);
    assert!(fake.connect().await.unwrap_err().is_unavailable());
}

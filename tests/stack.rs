//! The standard stack around the fake: what a user of it may rely on.

#![cfg(feature = "fake")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use substrates::fake::{Fake, Fault};
use substrates::layer::{
    CacheSettings, Delivery, EventFilter, RetrySettings, Stack, StackSettings, TimeoutSettings,
};
use substrates::{
    Capabilities, Command, ErrorKind, EventKind, EventOrigin, InstanceConfig, InstanceName, InstanceState,
    Operation, Outcome, StopMode, Substrate, SubstrateExt,
};
use tokio::time::Instant;

fn name() -> InstanceName {
    "web".parse().unwrap()
}

async fn running(settings: StackSettings) -> (Fake, Stack, Arc<dyn Substrate>) {
    running_on(Fake::new("fake"), settings).await
}

async fn running_on(fake: Fake, settings: StackSettings) -> (Fake, Stack, Arc<dyn Substrate>) {
    let stack = Stack::standard(Arc::new(fake.clone()), &settings).unwrap();
    let substrate = stack.substrate();
    substrate.connect().await.unwrap();
    let config = InstanceConfig::new(name()).with_image("busybox:local");
    substrate.create_and_start(&config).await.unwrap();
    (fake, stack, substrate)
}

/// A cache that would keep answers for a day if nothing ended their life earlier.
fn keeping() -> StackSettings {
    let day = Duration::from_secs(86_400);
    let cache = CacheSettings { list: day, instance: day, inventory: day, ..CacheSettings::default() };
    StackSettings { cache, ..StackSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn what_others_change_is_seen_although_answers_are_kept() {
    let (fake, _stack, substrate) = running(keeping()).await;
    // The listener begins in the background, and empties the cache when it does.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(substrate.get_instance(&name()).await.unwrap().state, InstanceState::Running);
    fake.world().stop(&name()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(substrate.get_instance(&name()).await.unwrap().state, InstanceState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_sees_what_others_change_although_nobody_tells_it() {
    let silent = Capabilities::all().without(Operation::Watch, "nobody is told");
    let (fake, _stack, substrate) = running_on(Fake::builder().capabilities(silent).build(), keeping()).await;
    assert_eq!(substrate.get_instance(&name()).await.unwrap().state, InstanceState::Running);
    fake.world().stop(&name()).await.unwrap();
    assert_eq!(substrate.get_instance(&name()).await.unwrap().state, InstanceState::Running, "it is kept");
    substrate.wait_for_state(&name(), InstanceState::Stopped, Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reads_are_answered_from_memory_and_counted() {
    let (fake, _stack, substrate) = running(keeping()).await;
    substrate.get_instance(&name()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    substrate.get_instance(&name()).await.unwrap();
    fake.clear_calls();
    let before = substrate.substrate_metrics().cache_hits;
    for _ in 0..100 {
        substrate.get_instance(&name()).await.unwrap();
    }
    assert_eq!(substrate.substrate_metrics().cache_hits - before, 100);
    assert!(fake.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn own_calls_are_announced_once_however_many_attempts() {
    let (fake, stack, substrate) = running(StackSettings::default()).await;
    let mut events = stack.events().unwrap().subscribe(EventFilter::all().with_origin(EventOrigin::Own));
    fake.inject(Fault::error(ErrorKind::Busy).on(Operation::StopInstance).times(2));
    substrate.stop_instance(&name(), StopMode::Force).await.unwrap();
    substrate.delete_instance(&name(), false).await.unwrap();
    let mut heard = Vec::new();
    for _ in 0..2 {
        if let Some(Delivery::Event(event)) = events.next().await {
            heard.push(event.kind);
        }
    }
    assert_eq!(heard, [EventKind::Stopped, EventKind::Deleted]);
    assert_eq!(substrate.substrate_metrics().retries, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_change_is_announced_as_failed_without_the_command_line() {
    let (_fake, stack, substrate) = running(StackSettings::default()).await;
    let mut failures = stack.events().unwrap().subscribe(EventFilter::all().with_kind(EventKind::Failed));
    let secret = Command::new(["/no/such/program", "--password", "hunter2"]);
    substrate.execute_command(&name(), &secret).await.unwrap_err();
    let Some(Delivery::Event(event)) = failures.next().await else { panic!("no event") };
    assert_eq!(event.instance, Some(name()));
    assert!(!format!("{event:?}").contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn native_events_reach_the_bus() {
    let (fake, stack, _substrate) = running(StackSettings::default()).await;
    let mut observed =
        stack.events().unwrap().subscribe(EventFilter::all().with_origin(EventOrigin::Observed));
    // The listener begins in the background: it may have missed what came before.
    let heard = async {
        loop {
            if let Some(Delivery::Event(event)) = observed.next().await
                && event.kind == EventKind::Failed
            {
                return;
            }
        }
    };
    let crash = async {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let _ = fake.world().crash(&name(), 1).await;
            let _ = fake.start_instance(&name()).await;
        }
    };
    tokio::select! {
        () = heard => {}
        () = crash => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("nothing was heard"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_substrate_ends_in_a_timeout_of_the_operations_class() {
    let timeouts = TimeoutSettings { read: Duration::from_secs(5), ..TimeoutSettings::default() };
    let retry = RetrySettings { retries: 0, ..RetrySettings::default() };
    let settings = StackSettings { timeouts, retry, enable_caching: false, ..StackSettings::default() };
    let (fake, _stack, substrate) = running(settings).await;
    fake.inject(Fault::hang().on(Operation::GetInstance).every());
    let began = Instant::now();
    let error = substrate.get_instance(&name()).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert_eq!(
        (error.operation(), error.substrate(), error.instance()),
        (Some(Operation::GetInstance), Some("fake"), Some("web"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_may_take_its_grace_beyond_the_timeout() {
    let timeouts = TimeoutSettings { mutate: Duration::from_secs(1), ..TimeoutSettings::default() };
    let (_fake, _stack, substrate) = running(StackSettings { timeouts, ..StackSettings::default() }).await;
    let deaf: InstanceName = "deaf".parse().unwrap();
    let config = InstanceConfig::new(deaf.clone()).with_image("busybox:local").with_command(["deaf"]);
    substrate.create_and_start(&config).await.unwrap();
    let began = Instant::now();
    let error =
        substrate.stop_instance(&deaf, StopMode::Graceful(Duration::from_secs(20))).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Outcome::Rejected));
    assert!(began.elapsed() >= Duration::from_secs(20) && began.elapsed() < Duration::from_secs(21));
    assert_eq!(substrate.get_instance(&deaf).await.unwrap().state, InstanceState::Running);
}

#[tokio::test(start_paused = true)]
async fn the_same_handle_goes_on_after_the_daemon_was_restarted() {
    let (fake, _stack, substrate) = running(StackSettings::default()).await;
    fake.inject(Fault::daemon_restart(Duration::from_secs(1)).on(Operation::GetInstance).nth(1));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(substrate.get_instance(&name()).await.unwrap().state, InstanceState::Running);
    assert!(substrate.substrate_metrics().retries > 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_declared_is_refused_before_the_substrate_is_asked() {
    let capabilities = Capabilities::all().without(Operation::PauseInstance, "processes cannot be frozen");
    let fake = Fake::builder().name("limited").capabilities(capabilities).build();
    let substrate = Stack::standard(Arc::new(fake.clone()), &StackSettings::default()).unwrap().substrate();
    let error = substrate.pause_instance(&name()).await.unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("cannot be frozen"), "{error}");
    assert!(fake.calls().is_empty());
}

#[tokio::test]
async fn a_thousand_calls_at_once_on_one_handle_get_their_own_answers() {
    let (_fake, _stack, substrate) = running(StackSettings::default()).await;
    let substrate = &substrate;
    let answers = join_all((0..1000).map(|number| async move {
        let argument = number.to_string();
        let command = Command::new(["arguments", argument.as_str()]);
        let output = substrate.execute_command(&name(), &command).await.unwrap();
        (argument, output.stdout_text())
    }))
    .await;
    for (asked, answered) in answers {
        assert_eq!(answered.trim_end(), asked);
    }
}

#[test]
fn a_stack_prints_its_column() {
    let stack = Stack::standard(Arc::new(Fake::new("fake")), &StackSettings::default()).unwrap();
    assert_eq!(
        format!("{stack:?}"),
        "tracing → metrics → events → capability gate → cache → retry → concurrency limit → circuit breaker → \
         attempt timeout → fake"
    );
}

#[test]
fn settings_that_cannot_work_are_refused_when_the_stack_is_built() {
    let retry = RetrySettings { backoff: 0.1, ..RetrySettings::default() };
    let settings = StackSettings { retry, ..StackSettings::default() };
    let refused = Stack::standard(Arc::new(Fake::new("fake")), &settings);
    assert!(refused.unwrap_err().is_invalid_input());
}

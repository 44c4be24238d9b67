//! The daemon killed, restarted and frozen under a handle that goes on. The victim serves one test at a time.

use std::process::Command as Program;
use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::{
    EventKind, InstanceFilter, InstanceState, Outcome, StopMode, Substrate, WatchItem, WatchOptions,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::lab::{Lab, until, variable};

static VICTIM: Mutex<()> = Mutex::const_new(());

pub(crate) struct Victim {
    pub(crate) lab: Lab,
    _alone: MutexGuard<'static, ()>,
}

/// Runs while the test's own runtime goes on.
async fn control(action: &'static str) {
    let script = variable("SUBSTRATES_LAB_LIBVIRT_VICTIM_RESTART");
    let ended = tokio::task::spawn_blocking(move || Program::new(script).arg(action).status()).await;
    assert!(ended.unwrap().unwrap().success(), "the control script failed to {action}");
}

pub(crate) async fn victim() -> Victim {
    let alone = VICTIM.lock().await;
    let uri = variable("SUBSTRATES_LAB_LIBVIRT_VICTIM");
    let lab = Lab::at(uri, |settings| settings.with_call_timeout(Duration::from_secs(5))).await;
    Victim { lab, _alone: alone }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "live: libvirt"]
async fn the_same_handle_goes_on_after_the_daemon_was_killed_and_its_machines_run_on() {
    let victim = victim().await;
    let lab = &victim.lab;
    let config = lab.config("survivor");
    lab.running(&config).await;
    lab.run(&config.name, &["sh", "-c", "echo here > /run/mark"]).await;
    control("kill").await;
    let error = lab.libvirt.get_instance(&config.name).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(!lab.libvirt.is_connected());
    control("start").await;
    until("the handle works again", async || lab.libvirt.get_instance(&config.name).await.is_ok()).await;
    assert!(lab.libvirt.is_connected());
    // Not started anew: its memory is what it was.
    assert_eq!(lab.run(&config.name, &["cat", "/run/mark"]).await, "here\n");
    lab.libvirt.stop_instance(&config.name, StopMode::Force).await.unwrap();
    lab.libvirt.delete_instance(&config.name, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "live: libvirt"]
async fn a_call_to_a_daemon_that_is_not_there_was_not_sent() {
    let victim = victim().await;
    let lab = &victim.lab;
    control("stop").await;
    let error = lab.libvirt.create_instance(&lab.config("unborn")).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    control("start").await;
    let filter = InstanceFilter::all().with_name_prefix(&lab.prefix);
    assert!(lab.libvirt.list_instances(&filter).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "live: libvirt"]
async fn a_change_whose_answer_is_lost_says_that_it_may_have_happened() {
    let victim = victim().await;
    let lab = &victim.lab;
    let config = lab.config("torn");
    lab.libvirt.create_instance(&config).await.unwrap();
    // Frozen first, so that the request is surely on its way when the daemon dies.
    control("freeze").await;
    let (libvirt, name) = (lab.libvirt.clone(), config.name.clone());
    let start = tokio::spawn(async move { libvirt.start_instance(&name).await });
    tokio::task::yield_now().await;
    // It waits for an answer that nobody gives.
    let waiting = tokio::time::timeout(Duration::from_secs(1), async {
        while !start.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    })
    .await;
    assert!(waiting.is_err(), "the start ended although the daemon is frozen");
    control("kill").await;
    let error = start.await.unwrap().unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    control("start").await;
    // The look tells what came of it, and the start is finished.
    until("the machine runs", async || lab.libvirt.start_instance(&config.name).await.is_ok()).await;
    assert_eq!(lab.libvirt.get_instance(&config.name).await.unwrap().state, InstanceState::Running);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "live: libvirt"]
async fn a_watch_ends_with_the_daemon_and_a_new_one_is_registered_anew() {
    let victim = victim().await;
    let lab = &victim.lab;
    let mut events = lab.libvirt.watch(&WatchOptions::from_now()).await.unwrap();
    control("kill").await;
    let end = loop {
        match events.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("the watch ended without a word"),
        }
    };
    assert!(end.is_unavailable(), "{end}");
    control("start").await;
    let mut again = None;
    until("a new watch is there", async || {
        again = lab.libvirt.watch(&WatchOptions::from_now()).await.ok();
        again.is_some()
    })
    .await;
    let mut events = again.unwrap();
    let config = lab.config("seen");
    lab.libvirt.create_instance(&config).await.unwrap();
    loop {
        match events.next().await.unwrap().unwrap() {
            WatchItem::Event { event, .. } if event.kind == EventKind::Created => break,
            _ => {}
        }
    }
}

// One thread: were a call of the library made on it, nothing else would go on.
#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_frozen_daemon_blocks_neither_the_runtime_nor_for_ever() {
    let victim = victim().await;
    let lab = &victim.lab;
    control("freeze").await;
    let begin = tokio::time::Instant::now();
    let mut ticks = 0;
    let filter = InstanceFilter::all();
    let list = lab.libvirt.list_instances(&filter);
    tokio::pin!(list);
    let error = loop {
        tokio::select! {
            result = &mut list => break result.unwrap_err(),
            () = tokio::time::sleep(Duration::from_millis(50)) => ticks += 1,
        }
    };
    assert!(error.is_timeout() || error.is_unavailable(), "{error}");
    assert!(ticks > 20, "the runtime stood still: {ticks} ticks");
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    control("thaw").await;
    until("the handle works again", async || {
        lab.libvirt.list_instances(&InstanceFilter::all()).await.is_ok()
    })
    .await;
}

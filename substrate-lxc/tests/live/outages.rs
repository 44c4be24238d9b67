//! The server ends in mid-call: what is said about it is true, and the same handle goes on.

use std::time::Duration;

use substrate_core::{Command, InstanceState, Outcome, Result, SnapshotConfig, Substrate, WatchOptions};
use substrate_lxc::{LxcSubstrate, ServerKind};
use tokio::sync::{Mutex, MutexGuard};

use crate::lab::{Lab, until};

on_both!(
    a_server_killed_in_the_middle_of_a_command_leaves_its_end_unknown,
    a_server_killed_in_the_middle_of_a_creation_leaves_it_unknown,
    a_server_killed_in_the_middle_of_a_snapshot_leaves_it_unknown,
    a_server_that_is_not_there_was_not_asked,
    a_frozen_server_is_a_timeout_and_goes_on_when_it_thaws,
    a_watch_ends_with_an_error_when_the_server_does,
);

/// One test at a time has the victim of a server.
async fn alone(lab: &Lab) -> MutexGuard<'static, ()> {
    static LXD: Mutex<()> = Mutex::const_new(());
    static INCUS: Mutex<()> = Mutex::const_new(());
    let guard = if lab.kind == ServerKind::Lxd { LXD.lock().await } else { INCUS.lock().await };
    // Whatever state an earlier test that failed has left it in.
    lab.control("start").await;
    guard
}

const USUAL: Duration = Duration::from_secs(60);

/// The same handle works again once the server does.
async fn recovers(lab: &Lab, server: &LxcSubstrate) {
    lab.control("start").await;
    until("the handle works again", async || server.health_check().await.is_ok()).await;
    assert!(server.is_connected());
}

fn is_unknown<T>(result: Result<T>) {
    let Err(error) = result else { panic!("the server was killed, and the call succeeded") };
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
}

async fn a_server_killed_in_the_middle_of_a_command_leaves_its_end_unknown(lab: Lab) {
    let _alone = alone(&lab).await;
    let server = lab.victim(USUAL).await;
    let name = lab.running(&server, "torn").await;
    let command = Command::new(["sh", "-c", "echo begun; sleep 30"]);
    let mut session = server.open_command(&name, &command).await.unwrap();
    let first = futures_util::StreamExt::next(&mut session.output).await;
    assert!(first.unwrap().is_ok(), "the command runs");
    let kill = lab.control("kill");
    let end = session.collect(None, None);
    let (end, ()) = tokio::join!(end, kill);
    is_unknown(end);
    recovers(&lab, &server).await;
    // The instance outlived its server.
    assert_eq!(server.get_instance(&name).await.unwrap().state, InstanceState::Running);
    assert!(server.execute_command(&name, &Command::new(["true"])).await.unwrap().success());
    server.delete_instance(&name, true).await.unwrap();
}

async fn a_server_killed_in_the_middle_of_a_creation_leaves_it_unknown(lab: Lab) {
    let _alone = alone(&lab).await;
    let server = lab.victim(USUAL).await;
    let config = lab.config("half").with_label("substrate.key", &lab.prefix);
    // Frozen once the request is there, so that it is killed before it can answer.
    lab.control("freeze").await;
    let create = server.create_instance(&config);
    let kill = async {
        tokio::task::yield_now().await;
        lab.control("kill").await;
    };
    let (created, ()) = tokio::join!(create, kill);
    let error = created.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    recovers(&lab, &server).await;
    // Again, this time with the server at work on it.
    let create = server.create_instance(&config);
    let kill = async {
        let begun = async || server.get_instance(&config.name).await.is_ok();
        until("the server is at work on it", begun).await;
        lab.control("kill").await;
    };
    let (created, ()) = tokio::join!(create, kill);
    if let Err(error) = created {
        assert!(error.is_unavailable(), "{error}");
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    }
    recovers(&lab, &server).await;
    // A look by its mark tells what became of it, and the name can be made free.
    let filter = substrate_core::InstanceFilter::all().with_label("substrate.key", &lab.prefix);
    for found in server.list_instances(&filter).await.unwrap() {
        server.delete_instance(&found.name, true).await.unwrap();
    }
    server.create_instance(&config).await.unwrap();
    server.delete_instance(&config.name, true).await.unwrap();
}

async fn a_server_killed_in_the_middle_of_a_snapshot_leaves_it_unknown(lab: Lab) {
    let _alone = alone(&lab).await;
    let server = lab.victim(USUAL).await;
    let name = lab.running(&server, "saved").await;
    // Large enough that copying it takes a while.
    let fill = Command::new(["sh", "-c", "head -c 400000000 /dev/urandom > /large"]);
    assert!(server.execute_command(&name, &fill).await.unwrap().success());
    let config = SnapshotConfig::new("one".parse().unwrap());
    let snapshot = server.create_snapshot(&name, &config);
    let kill = async {
        let begun = async || !server.list_snapshots(&name).await.unwrap().is_empty();
        until("the server is at work on it", begun).await;
        lab.control("kill").await;
    };
    let (taken, ()) = tokio::join!(snapshot, kill);
    is_unknown(taken);
    recovers(&lab, &server).await;
    // What the server left half done can be removed, and done anew.
    let _ = server.resume_instance(&name).await;
    if !server.list_snapshots(&name).await.unwrap().is_empty() {
        server.delete_snapshot(&name, &config.name).await.unwrap();
    }
    server.create_snapshot(&name, &config).await.unwrap();
    server.delete_instance(&name, true).await.unwrap();
}

async fn a_server_that_is_not_there_was_not_asked(lab: Lab) {
    let _alone = alone(&lab).await;
    let server = lab.victim(USUAL).await;
    lab.control("stop").await;
    let error = server.create_instance(&lab.config("never")).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(!server.is_connected());
    recovers(&lab, &server).await;
}

async fn a_frozen_server_is_a_timeout_and_goes_on_when_it_thaws(lab: Lab) {
    let _alone = alone(&lab).await;
    let server = lab.victim(Duration::from_secs(2)).await;
    lab.control("freeze").await;
    let read = server.list_instances(&substrate_core::InstanceFilter::all()).await;
    let spec = substrate_core::VolumeSpec::new(format!("{}-volume", lab.prefix).parse().unwrap());
    let change = server.create_volume(&spec.with_label("a", "b")).await;
    lab.control("thaw").await;
    assert!(read.unwrap_err().is_timeout());
    let error = change.unwrap_err();
    assert!(error.is_timeout() && error.outcome() == Outcome::Unknown, "{error}");
    until("the handle works again", async || server.health_check().await.is_ok()).await;
}

async fn a_watch_ends_with_an_error_when_the_server_does(lab: Lab) {
    let _alone = alone(&lab).await;
    let server = lab.victim(USUAL).await;
    let mut events = server.watch(&WatchOptions::from_now()).await.unwrap();
    let next = futures_util::StreamExt::next(&mut events);
    let (next, ()) = tokio::join!(next, lab.control("kill"));
    assert!(next.unwrap().unwrap_err().is_unavailable());
    assert!(futures_util::StreamExt::next(&mut events).await.is_none(), "nothing follows an error");
    recovers(&lab, &server).await;
    assert!(server.watch(&WatchOptions::from_now()).await.is_ok());
}

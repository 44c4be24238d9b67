//! The API server ends in mid-call: what is said about it is true, and the same handle goes on.

use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::{
    Command, CommandEvent, EventKind, InstanceFilter, InstanceState, LogOptions, Outcome, Substrate,
    WatchItem, WatchOptions,
};
use substrate_k8s::K8sSubstrate;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use crate::lab::{Lab, until};

const USUAL: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(120);

/// One test at a time has the victim.
async fn alone(lab: &Lab) -> MutexGuard<'static, ()> {
    static VICTIM: Mutex<()> = Mutex::const_new(());
    let guard = VICTIM.lock().await;
    // Whatever state an earlier test that failed has left it in.
    lab.control("start").await;
    guard
}

async fn recovers(lab: &Lab, cluster: &K8sSubstrate) {
    lab.control("start").await;
    until("the handle works again", async || cluster.health_check().await.is_ok()).await;
    assert!(cluster.is_connected());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_watch_goes_on_after_an_outage_and_misses_nothing_without_a_gap() {
    let lab = Lab::new();
    let _alone = alone(&lab).await;
    let (victim, other) = (lab.victim(USUAL).await, lab.cluster().await);
    let mut events = victim.watch(&WatchOptions::from_now()).await.unwrap();
    let (early, late) = (lab.config("early"), lab.config("late"));
    let (mut seen, mut gaps) = (Vec::new(), 0);
    let mut until_seen = async |seen: &mut Vec<(EventKind, String)>, kind: EventKind, suffix: &str| {
        let wanted = (kind, format!("{}-{suffix}", lab.prefix));
        while !seen.contains(&wanted) {
            match timeout(PATIENCE, events.next()).await.expect("an event").unwrap().unwrap() {
                WatchItem::Event { event, .. } => {
                    seen.push((event.kind, event.instance.map(|name| name.to_string()).unwrap_or_default()));
                }
                _ => gaps += 1,
            }
        }
    };
    other.create_instance(&early).await.unwrap();
    until_seen(&mut seen, EventKind::Created, "early").await;
    lab.control("kill").await;
    // What a restarted server cannot tell any more, and still shows.
    other.start_instance(&early.name).await.unwrap();
    other.create_instance(&late).await.unwrap();
    lab.control("start").await;
    until_seen(&mut seen, EventKind::Started, "early").await;
    until_seen(&mut seen, EventKind::Created, "late").await;
    // And on as before.
    other.delete_instance(&early.name, true).await.unwrap();
    until_seen(&mut seen, EventKind::Stopped, "early").await;
    until_seen(&mut seen, EventKind::Deleted, "early").await;
    assert!(gaps <= 2, "{gaps} gaps");
    let own = seen.iter().filter(|(_, name)| name.starts_with(&lab.prefix)).count();
    assert_eq!(own, 5, "each once: {seen:?}");
    recovers(&lab, &victim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_followed_log_goes_on_after_an_outage_and_tells_each_line_once() {
    let lab = Lab::new();
    let _alone = alone(&lab).await;
    let (victim, other) = (lab.victim(USUAL).await, lab.cluster().await);
    let name = lab.running(&other, "writer").await;
    let write = async |text: &str| {
        let command = Command::new(["sh", "-c", "echo \"$0\" > /proc/1/fd/1", text]);
        assert!(other.execute_command(&name, &command).await.unwrap().success());
    };
    write("one").await;
    let mut log = victim.get_logs(&name, &LogOptions::all().follow()).await.unwrap();
    let mut next = async || timeout(PATIENCE, log.next()).await.expect("a line").unwrap().unwrap().message;
    assert_eq!(next().await, "one");
    lab.control("kill").await;
    write("two").await;
    lab.control("start").await;
    write("three").await;
    assert_eq!([next().await, next().await], ["two", "three"]);
    recovers(&lab, &victim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_command_in_an_outage_has_an_unknown_end() {
    let lab = Lab::new();
    let _alone = alone(&lab).await;
    let victim = lab.victim(USUAL).await;
    let name = lab.running(&victim, "torn").await;
    let command = Command::new(["sh", "-c", "echo begun; sleep 30"]);
    let mut session = victim.open_command(&name, &command).await.unwrap();
    let first = session.output.next().await.unwrap().unwrap();
    assert_eq!(first, CommandEvent::Stdout("begun\n".into()));
    let (end, ()) = tokio::join!(timeout(PATIENCE, session.collect(None, None)), lab.control("kill"));
    let error = end.expect("an end").unwrap_err();
    assert!(error.is_unavailable() || error.is_protocol(), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    recovers(&lab, &victim).await;
    // The instance outlived the server.
    assert_eq!(victim.get_instance(&name).await.unwrap().state, InstanceState::Running);
    assert!(victim.execute_command(&name, &Command::new(["true"])).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_server_that_is_not_there_was_not_asked() {
    let lab = Lab::new();
    let _alone = alone(&lab).await;
    let victim = lab.victim(USUAL).await;
    lab.control("stop").await;
    let error = victim.create_instance(&lab.config("never")).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    assert!(!victim.is_connected());
    recovers(&lab, &victim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_frozen_server_is_a_timeout_and_goes_on_when_it_thaws() {
    let lab = Lab::new();
    let _alone = alone(&lab).await;
    let victim = lab.victim(Duration::from_secs(3)).await;
    lab.control("freeze").await;
    let read = victim.list_instances(&InstanceFilter::all()).await;
    let create = victim.create_instance(&lab.config("half")).await;
    lab.control("thaw").await;
    assert!(read.unwrap_err().is_timeout());
    let error = create.unwrap_err();
    // Sent or not, by whether a connection still stood: never a rejection.
    assert!(error.is_timeout() && error.outcome() != Outcome::Rejected, "{error}");
    until("the handle works again", async || victim.health_check().await.is_ok()).await;
}

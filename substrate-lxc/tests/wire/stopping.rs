//! A stop is over when the server has cleaned up behind it, whatever earlier stops make it say meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use substrate_core::{InstanceName, StopMode, Substrate};

use crate::server::{Answer, Server, instance};

const STOPPED: u16 = 102;
const RUNNING: u16 = 103;

fn web() -> InstanceName {
    "web".parse().unwrap()
}

/// As the server shows it, and as it has noted its power.
fn shown(code: u16, noted: &str) -> Value {
    let mut document = instance(code);
    document["config"]["volatile.last_state.power"] = noted.into();
    document
}

/// What Incus 6.0.4 showed of an instance whose earlier stop had been dropped, one look after the other: the late hooks of
/// the first stop end the second one, and their lock makes the instance show as running.
fn misled() -> Server {
    let looks = AtomicUsize::new(0);
    let stops = Arc::new(AtomicUsize::new(0));
    Server::new(move |line, _| match line {
        "PUT /1.0/instances/web/state" => {
            stops.fetch_add(1, Ordering::SeqCst);
            Answer::begun()
        }
        line if line.starts_with("GET /1.0/operations/0a1b") => match stops.load(Ordering::SeqCst) {
            1 => Answer::operation(400, "Failed stopping instance, status is \"Running\""),
            _ => Answer::operation(400, "The instance is already stopped"),
        },
        "GET /1.0/instances/web" if stops.load(Ordering::SeqCst) == 0 => {
            Answer::done(shown(RUNNING, "RUNNING"))
        }
        "GET /1.0/instances/web" => Answer::done(match looks.fetch_add(1, Ordering::SeqCst) {
            0 => shown(STOPPED, "RUNNING"),
            1 | 2 => shown(RUNNING, "STOPPED"),
            3 => shown(RUNNING, "RUNNING"),
            4 => shown(STOPPED, "RUNNING"),
            _ => shown(STOPPED, "STOPPED"),
        }),
        "DELETE /1.0/instances/web" if looks.load(Ordering::SeqCst) < 6 => {
            Answer::refusal(400, "Instance is running")
        }
        "DELETE /1.0/instances/web" => Answer::done(json!({})),
        _ => Answer::Usual,
    })
}

#[tokio::test]
async fn a_forced_stop_that_earlier_stops_mislead_ends_when_the_server_has_cleaned_up() {
    let server = misled();
    server.substrate().stop_instance(&web(), StopMode::Force).await.unwrap();
    let looks = server.lines().iter().filter(|line| *line == "GET /1.0/instances/web").count();
    assert!(looks >= 6, "{:?}", server.lines());
}

#[tokio::test]
async fn a_forced_deletion_is_asked_for_when_nothing_is_left_of_earlier_stops() {
    let server = misled();
    server.substrate().delete_instance(&web(), true).await.unwrap();
    let deletions = server.changes().iter().filter(|change| change.line.starts_with("DELETE")).count();
    assert_eq!(deletions, 1, "{:?}", server.lines());
}

#[tokio::test]
async fn a_start_that_is_under_way_on_an_instance_that_shows_as_stopped_is_waited_for_and_undone() {
    let started = AtomicUsize::new(0);
    let server = Server::new(move |line, _| match line {
        "GET /1.0/operations?recursion=1" if started.load(Ordering::SeqCst) == 0 => Answer::done(json!({
            "running": [{"id": "57a7", "class": "task", "description": "Starting instance", "status_code": 103,
                         "resources": {"instances": ["/1.0/instances/web"]}}],
        })),
        "GET /1.0/operations?recursion=1" => Answer::done(json!({})),
        line if line.starts_with("GET /1.0/operations/57a7") => {
            started.store(1, Ordering::SeqCst);
            Answer::operation(200, "")
        }
        "PUT /1.0/instances/web/state" => {
            started.store(2, Ordering::SeqCst);
            Answer::Usual
        }
        "GET /1.0/instances/web" => Answer::done(match started.load(Ordering::SeqCst) {
            1 => shown(RUNNING, "RUNNING"),
            _ => shown(STOPPED, "STOPPED"),
        }),
        _ => Answer::Usual,
    });
    server.substrate().stop_instance(&web(), StopMode::Force).await.unwrap();
    let changes = server.changes();
    assert_eq!((changes.len(), &changes[0].body["action"]), (1, &json!("stop")));
}

#[tokio::test]
async fn a_note_that_is_wrong_for_good_does_not_hold_a_stop() {
    let server = Server::new(|line, _| match line {
        "GET /1.0/instances/web" => Answer::done(shown(STOPPED, "RUNNING")),
        _ => Answer::Usual,
    });
    server.substrate().stop_instance(&web(), StopMode::Force).await.unwrap();
    assert!(server.changes().is_empty(), "it is stopped: {:?}", server.lines());
}

#[tokio::test]
async fn a_graceful_stop_that_another_one_ends_early_is_asked_for_again_and_is_no_timeout() {
    let stops = AtomicUsize::new(0);
    let server = Server::new(move |line, _| match line {
        "PUT /1.0/instances/web/state" => {
            stops.fetch_add(1, Ordering::SeqCst);
            Answer::begun()
        }
        line if line.starts_with("GET /1.0/operations/0a1b") => match stops.load(Ordering::SeqCst) {
            1 => Answer::operation(400, "Failed shutting down instance, status is \"Running\""),
            _ => Answer::operation(200, ""),
        },
        "GET /1.0/instances/web" => Answer::done(match stops.load(Ordering::SeqCst) {
            0 | 1 => shown(RUNNING, "RUNNING"),
            _ => shown(STOPPED, "STOPPED"),
        }),
        _ => Answer::Usual,
    });
    let grace = StopMode::Graceful(std::time::Duration::from_secs(20));
    server.substrate().stop_instance(&web(), grace).await.unwrap();
    assert_eq!(server.changes().len(), 2);
}

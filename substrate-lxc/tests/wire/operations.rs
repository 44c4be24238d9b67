//! Operations are followed to their end, also when their record is gone, and a lost answer is not an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use substrate_core::{InstanceConfig, InstanceName, Outcome, SnapshotConfig, StopMode, Substrate};

use crate::server::{Answer, Server, instance};

fn web() -> InstanceName {
    "web".parse().unwrap()
}

fn config() -> InstanceConfig {
    InstanceConfig::new(web()).with_image("bb")
}

const WAIT: &str = "GET /1.0/operations/0a1b/wait";

/// A server whose operations are forgotten before anybody asks, and whose instance is in `before` until something
/// was changed, and then in `after`; code 0 = there is none.
fn forgetful(before: u16, after: u16) -> Server {
    let changed = Arc::new(AtomicBool::new(false));
    Server::new(move |line, _| {
        if !line.starts_with("GET") {
            changed.store(true, Ordering::SeqCst);
            return Answer::Usual;
        }
        match line {
            line if line.starts_with("GET /1.0/operations/") => Answer::refusal(404, "Operation not found"),
            "GET /1.0/instances/web" => match if changed.load(Ordering::SeqCst) { after } else { before } {
                0 => Answer::refusal(404, "Instance not found"),
                code => Answer::done(instance(code)),
            },
            "GET /1.0/instances/web/snapshots/one" if changed.load(Ordering::SeqCst) => {
                Answer::done(json!({"name": "one", "created_at": "2026-11-21T06:44:23Z", "config": {}}))
            }
            _ => Answer::Usual,
        }
    })
}

#[tokio::test]
async fn a_success_whose_record_is_gone_is_found_by_looking_at_the_instance() {
    let (stopped, running, none) = (102, 103, 0);
    forgetful(none, stopped).substrate().create_instance(&config()).await.unwrap();
    forgetful(stopped, running).substrate().start_instance(&web()).await.unwrap();
    forgetful(running, stopped).substrate().stop_instance(&web(), StopMode::Force).await.unwrap();
    forgetful(running, 110).substrate().pause_instance(&web()).await.unwrap();
    forgetful(stopped, none).substrate().delete_instance(&web(), false).await.unwrap();
    let server = forgetful(stopped, stopped);
    let snapshot = SnapshotConfig::new("one".parse().unwrap());
    server.substrate().create_snapshot(&web(), &snapshot).await.unwrap();
}

#[tokio::test]
async fn a_record_that_is_gone_is_no_success_by_itself() {
    let error = forgetful(0, 0).substrate().create_instance(&config()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
    let error = forgetful(102, 102).substrate().start_instance(&web()).await.unwrap_err();
    assert!(error.is_internal(), "{error}");
}

#[tokio::test]
async fn a_failure_inside_a_success_is_a_failure() {
    let server = Server::new(|line, _| match line {
        line if line.starts_with(WAIT) => {
            Answer::refusal_in_success(500, "Image not provided for instance creation")
        }
        "GET /1.0/operations/0a1b" => Answer::operation(400, "Image not provided for instance creation"),
        _ => Answer::Usual,
    });
    assert!(server.substrate().create_instance(&config()).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn the_end_of_a_question_is_not_the_end_of_the_operation() {
    // Incus answers so when the time of the question is over.
    let server = Server::new(|line, before| match line {
        line if line.starts_with(WAIT) && before < 2 => {
            Answer::refusal_in_success(500, "context deadline exceeded")
        }
        "GET /1.0/operations/0a1b" => Answer::operation(103, ""),
        _ => Answer::Usual,
    });
    server.substrate().create_instance(&config()).await.unwrap();
    assert_eq!(server.lines().iter().filter(|line| line.starts_with(WAIT)).count(), 3);
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_the_outcome_unknown() {
    let post = Server::new(|line, _| if line.starts_with("POST") { Answer::Die } else { Answer::Usual });
    let error = post.substrate().create_instance(&config()).await.unwrap_err();
    assert!(error.is_unavailable() && error.outcome() == Outcome::Unknown, "{error}");
    assert_eq!(post.changes().len(), 1, "it is not sent again");

    let wait = Server::new(|line, _| if line.starts_with(WAIT) { Answer::Die } else { Answer::Usual });
    let error = wait.substrate().create_instance(&config()).await.unwrap_err();
    assert!(error.is_unavailable() && error.outcome() == Outcome::Unknown, "{error}");
}

#[tokio::test]
async fn another_change_under_way_is_waited_for() {
    let server = Server::new(|line, before| match line {
        "DELETE /1.0/instances/web" if before < 3 => {
            Answer::refusal(400, "Instance is busy running a \"stop\" operation")
        }
        _ => Answer::Usual,
    });
    server.substrate().delete_instance(&web(), false).await.unwrap();
    assert_eq!(server.changes().len(), 4);
}

#[tokio::test]
async fn a_snapshot_with_memory_is_not_restored_and_nothing_is_stopped_for_it() {
    let server = Server::new(|line, _| match line {
        "GET /1.0/instances/web" => Answer::done(instance(103)),
        "GET /1.0/instances/web/snapshots/one" => Answer::done(json!({"name": "one", "stateful": true})),
        _ => Answer::Usual,
    });
    let error = server.substrate().restore_snapshot(&web(), &"one".parse().unwrap()).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert!(server.changes().is_empty());
}

//! Watches: versions that are gone, in both forms; silence; order.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use substrate_core::{EventKind, Substrate, WatchItem, WatchOptions, WatchStream};
use tokio::time::timeout;

use crate::server::{Answer, PODS, SETS, Server, line, list, path, refusal, running_pod, set};

async fn next(stream: &mut WatchStream) -> WatchItem {
    timeout(Duration::from_secs(20), stream.next()).await.expect("an item").unwrap().unwrap()
}

async fn kind(stream: &mut WatchStream) -> EventKind {
    match next(stream).await {
        WatchItem::Event { event, .. } => event.kind,
        other => panic!("{other:?}"),
    }
}

fn is_watch(asked: &str) -> bool {
    asked.contains("watch=true")
}

#[tokio::test]
async fn a_version_that_is_gone_is_listed_again_in_both_of_its_forms() {
    let in_the_stream = line(
        "ERROR",
        &json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}),
    );
    for gone in [
        refusal(410, "Gone", "too old"),
        refusal(410, "Expired", "too old"),
        Answer::Stream(vec![in_the_stream], true),
    ] {
        let server = Server::new(move |asked, before| match (path(asked), is_watch(asked)) {
            (SETS, false) if before == 0 => list("10", &[]),
            (SETS, false) => list("20", &[]),
            (SETS, true) if asked.contains("resourceVersion=10&") => gone.clone(),
            (SETS, true) => Answer::Stream(vec![line("ADDED", &set("web", "21", 0))], false),
            (PODS, false) => list("9", &[]),
            _ => Answer::Usual,
        })
        .await;
        let mut stream = server.cluster().watch(&WatchOptions::from_now()).await.unwrap();
        assert!(matches!(next(&mut stream).await, WatchItem::Gap { .. }));
        assert_eq!(kind(&mut stream).await, EventKind::Created);
    }
}

#[tokio::test]
async fn a_watch_that_ends_in_silence_again_and_again_is_listed_again() {
    let server = Server::new(|asked, _| match (path(asked), is_watch(asked)) {
        (SETS, true) => Answer::Stream(Vec::new(), true),
        _ => Answer::Usual,
    })
    .await;
    let mut stream = server.cluster().watch(&WatchOptions::from_now()).await.unwrap();
    assert!(matches!(next(&mut stream).await, WatchItem::Gap { .. }));
    let watches = server.requests().iter().filter(|asked| path(asked) == SETS && is_watch(asked)).count();
    assert!((5..10).contains(&watches), "it is not opened for ever: {watches}");
}

#[tokio::test]
async fn a_bookmark_moves_on_and_is_no_event() {
    let server = Server::new(|asked, _| match (path(asked), is_watch(asked)) {
        (SETS, true) if asked.contains("resourceVersion=10&") => {
            let mark =
                line("BOOKMARK", &json!({"kind": "StatefulSet", "metadata": {"resourceVersion": "50"}}));
            Answer::Stream(vec![mark], true)
        }
        (SETS, true) if asked.contains("resourceVersion=50&") => {
            Answer::Stream(vec![line("ADDED", &set("web", "51", 0))], false)
        }
        _ => Answer::Usual,
    })
    .await;
    let mut stream = server.cluster().watch(&WatchOptions::from_now()).await.unwrap();
    assert_eq!(kind(&mut stream).await, EventKind::Created);
}

/// What both lists tell of a life, of which neither tells all.
fn a_life() -> (Vec<String>, Vec<String>) {
    let mut gone = set("web", "16", 0);
    gone["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:09Z");
    let sets = vec![
        line("ADDED", &set("web", "11", 0)),
        line("MODIFIED", &set("web", "12", 1)),
        line("MODIFIED", &set("web", "14", 0)),
        line("DELETED", &gone),
    ];
    let pods = vec![line("ADDED", &running_pod("web", "13")), line("DELETED", &running_pod("web", "15"))];
    (sets, pods)
}

async fn is_told_as_a_life(sets: Answer, pods: Answer) {
    let server = Server::new(move |asked, _| match (path(asked), is_watch(asked)) {
        (SETS, true) => sets.clone(),
        (PODS, true) => pods.clone(),
        _ => Answer::Usual,
    })
    .await;
    let mut stream = server.cluster().watch(&WatchOptions::from_now()).await.unwrap();
    for expected in [EventKind::Created, EventKind::Started, EventKind::Stopped, EventKind::Deleted] {
        assert_eq!(kind(&mut stream).await, expected);
    }
}

#[tokio::test]
async fn both_lists_are_told_in_the_order_of_their_one_history() {
    let (sets, pods) = a_life();
    is_told_as_a_life(Answer::Stream(sets, false), Answer::Stream(pods, false)).await;
}

#[tokio::test]
async fn pods_that_are_told_of_seconds_late_have_run_all_the_same() {
    let (sets, pods) = a_life();
    is_told_as_a_life(Answer::Stream(sets, false), Answer::Late(Duration::from_secs(2), pods)).await;
}

#[tokio::test]
async fn a_cursor_begins_with_what_was_there_then() {
    let server = Server::new(|asked, _| match (path(asked), is_watch(asked)) {
        (SETS, false) if asked.contains("resourceVersion=7&resourceVersionMatch=Exact") => {
            list("7", &[set("web", "3", 0)])
        }
        (PODS, false) if asked.contains("resourceVersion=8&resourceVersionMatch=Exact") => list("8", &[]),
        (SETS, true) if asked.contains("resourceVersion=7&") => {
            Answer::Stream(vec![line("MODIFIED", &set("web", "9", 1))], false)
        }
        (PODS, true) if asked.contains("resourceVersion=8&") => {
            Answer::Stream(vec![line("ADDED", &running_pod("web", "10"))], false)
        }
        _ => refusal(500, "", "not asked for"),
    })
    .await;
    let after = WatchOptions::after(substrate_core::WatchCursor("k8s/1/7/8".to_owned()));
    let mut stream = server.cluster().watch(&after).await.unwrap();
    assert_eq!(kind(&mut stream).await, EventKind::Started, "what was there is no news");
}

#[tokio::test]
async fn a_cursor_that_is_too_old_is_a_gap_and_no_error() {
    let server = Server::new(|asked, _| {
        if asked.contains("resourceVersionMatch=Exact") {
            refusal(410, "Expired", "compacted")
        } else {
            Answer::Usual
        }
    })
    .await;
    let after = WatchOptions::after(substrate_core::WatchCursor("k8s/1/1/1".to_owned()));
    let mut stream = server.cluster().watch(&after).await.unwrap();
    assert!(matches!(next(&mut stream).await, WatchItem::Gap { .. }));
}

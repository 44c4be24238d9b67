//! Native events.

use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::{
    Event, EventKind, StopMode, Substrate, WatchCursor, WatchItem, WatchOptions, WatchStream,
};

use crate::lab::{Lab, SERVE};

async fn next_of(stream: &mut WatchStream, lab: &Lab) -> (Event, WatchCursor) {
    loop {
        let item = tokio::time::timeout(Duration::from_secs(15), stream.next()).await.expect("events come");
        match item.unwrap().unwrap() {
            WatchItem::Event { event, cursor } => {
                let is_ours =
                    event.instance.as_ref().is_some_and(|name| name.as_str().starts_with(&lab.prefix));
                if is_ours {
                    return (event, cursor.unwrap());
                }
            }
            WatchItem::Gap { reason } => panic!("a gap: {reason}"),
            _ => {}
        }
    }
}

async fn until_kind(stream: &mut WatchStream, lab: &Lab, kind: EventKind) -> WatchCursor {
    loop {
        let (event, cursor) = next_of(stream, lab).await;
        if event.kind == kind {
            return cursor;
        }
    }
}

#[tokio::test]
#[ignore = "live: docker"]
async fn nothing_after_the_subscription_is_missed() {
    let lab = Lab::new().await;
    for round in 0..5 {
        let mut stream = lab.docker.watch(&WatchOptions::from_now()).await.unwrap();
        let config = lab.config(&format!("r{round}"), SERVE);
        lab.docker.create_instance(&config).await.unwrap();
        let (event, _) = next_of(&mut stream, &lab).await;
        assert_eq!((event.kind, event.instance), (EventKind::Created, Some(config.name)));
    }
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_life_is_told_in_order() {
    let lab = Lab::new().await;
    let mut stream = lab.docker.watch(&WatchOptions::from_now()).await.unwrap();
    let instance = lab.running("a", SERVE).await;
    lab.docker.pause_instance(&instance.name).await.unwrap();
    lab.docker.resume_instance(&instance.name).await.unwrap();
    lab.docker.stop_instance(&instance.name, StopMode::Force).await.unwrap();
    lab.docker.delete_instance(&instance.name, false).await.unwrap();
    for kind in [
        EventKind::Created,
        EventKind::NetworkAttached,
        EventKind::Started,
        EventKind::Paused,
        EventKind::Resumed,
        EventKind::Stopped,
        EventKind::Deleted,
    ] {
        until_kind(&mut stream, &lab, kind).await;
    }
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_resumed_stream_tells_the_rest_once_and_nothing_again() {
    let lab = Lab::new().await;
    let mut stream = lab.docker.watch(&WatchOptions::from_now()).await.unwrap();
    let config = lab.config("a", SERVE);
    lab.docker.create_instance(&config).await.unwrap();
    let (_, cursor) = next_of(&mut stream, &lab).await;
    drop(stream);
    lab.docker.start_instance(&config.name).await.unwrap();
    let mut resumed = lab.docker.watch(&WatchOptions::after(cursor)).await.unwrap();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&EventKind::Started) {
        kinds.push(next_of(&mut resumed, &lab).await.0.kind);
    }
    assert!(!kinds.contains(&EventKind::Created), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::Started).count(), 1);
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_position_that_the_daemon_forgot_begins_with_a_gap() {
    let lab = Lab::new().await;
    let forgotten = WatchCursor("1000000000000000000~0.0-abc".to_owned());
    let mut stream = lab.docker.watch(&WatchOptions::after(forgotten)).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap();
    assert!(matches!(first.unwrap().unwrap(), WatchItem::Gap { .. }));
    let foreign = lab.docker.watch(&WatchOptions::after(WatchCursor("x".to_owned()))).await;
    assert!(foreign.err().unwrap().is_invalid_input());
}

#[tokio::test]
#[ignore = "live: docker"]
async fn snapshots_are_told_with_their_names() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let mut stream = lab.docker.watch(&WatchOptions::from_now()).await.unwrap();
    let config = substrate_core::SnapshotConfig::new("s 1".parse().unwrap());
    lab.docker.create_snapshot(&instance.name, &config).await.unwrap();
    lab.docker.restore_snapshot(&instance.name, &config.name).await.unwrap();
    lab.docker.delete_snapshot(&instance.name, &config.name).await.unwrap();
    for kind in [EventKind::SnapshotCreated, EventKind::SnapshotRestored, EventKind::SnapshotDeleted] {
        loop {
            let (event, _) = next_of(&mut stream, &lab).await;
            if event.kind == kind {
                assert_eq!(event.detail.as_deref(), Some("s 1"));
                assert_eq!(event.instance.as_ref(), Some(&instance.name));
                break;
            }
        }
    }
}

//! Snapshots with memory: of machines that were set up for it, and refused before anything is done otherwise.

use serde_json::{Value, json};
use substrate_core::{ErrorKind, InstanceName, SnapshotConfig, Substrate};

use crate::server::{Answer, Server, instance};

fn web() -> InstanceName {
    "web".parse().unwrap()
}

fn with_memory() -> SnapshotConfig {
    SnapshotConfig::new("one".parse().unwrap()).with_memory()
}

/// An instance of this kind and state with this value of `migration.stateful`; it gets a snapshot when one is taken.
fn server(kind: &str, code: u16, migration: Option<&str>, had_one: bool) -> Server {
    let mut described = instance(code);
    described["type"] = kind.into();
    described["config"]["migration.stateful"] = migration.map_or(Value::Null, Value::from);
    if migration.is_none() {
        described["config"].as_object_mut().unwrap().remove("migration.stateful");
    }
    let one = json!({"name": "one", "created_at": "2026-11-21T06:44:23Z", "stateful": true, "config": {}});
    Server::new(move |line, before| match line {
        "GET /1.0/instances/web" => Answer::done(described.clone()),
        "GET /1.0/instances/web/snapshots/one" if had_one || before > 0 => Answer::done(one.clone()),
        _ => Answer::Usual,
    })
}

#[tokio::test]
async fn a_machine_that_is_set_up_for_it_is_saved_with_its_memory() {
    let server = server("virtual-machine", 103, Some("true"), false);
    let snapshot = server.substrate().create_snapshot(&web(), &with_memory()).await.unwrap();
    assert!(snapshot.memory);
    let changes = server.changes();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].body, json!({"name": "one", "stateful": true}));
}

#[tokio::test]
async fn without_the_wish_memory_is_not_saved() {
    let server = server("virtual-machine", 103, Some("true"), false);
    let config = SnapshotConfig::new("one".parse().unwrap());
    server.substrate().create_snapshot(&web(), &config).await.unwrap();
    assert_eq!(server.changes()[0].body["stateful"], false);
}

#[tokio::test]
async fn who_cannot_be_saved_with_memory_is_told_why_and_nothing_is_done() {
    for (kind, code, migration, wrong, words) in [
        ("container", 103, Some("true"), ErrorKind::Unsupported, "CRIU"),
        ("virtual-machine", 103, None, ErrorKind::Conflict, "migration.stateful"),
        ("virtual-machine", 103, Some("false"), ErrorKind::Conflict, "migration.stateful"),
        ("virtual-machine", 102, Some("true"), ErrorKind::Conflict, "running"),
    ] {
        let server = server(kind, code, migration, false);
        let error = server.substrate().create_snapshot(&web(), &with_memory()).await.unwrap_err();
        assert_eq!(error.kind(), wrong, "{error}");
        assert!(error.message().contains(words), "{error}");
        assert!(server.changes().is_empty());
    }
}

#[tokio::test]
async fn memory_comes_back_with_the_disk_and_the_server_starts_it() {
    let server = server("virtual-machine", 102, Some("true"), true);
    server.substrate().restore_snapshot(&web(), &"one".parse().unwrap()).await.unwrap();
    let changes = server.changes();
    assert_eq!(changes.len(), 1, "it is not started anew: {changes:?}");
    assert_eq!(changes[0].body, json!({"restore": "one", "stateful": true}));
}

//! Snapshots of claims, on a cluster that has them and on one that has not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use substrate_core::{ErrorKind, Operation, SnapshotConfig, Substrate};
use substrate_k8s::K8sSubstrate;

use crate::server::{Answer, Server, WEB, list, ok, path, refusal, set};

const ALL: &str = "GET /apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots";
const TAKE: &str = "PATCH /apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots/web.before.0";
const ONE: &str = "GET /apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots/web.before.0";
const DROP: &str = "DELETE /apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots/web.before.0";

fn web() -> Value {
    let mut web = set("web", "1", 1);
    web["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "volume-0", "persistentVolumeClaim": {"claimName": "data"}}]);
    web
}

fn part(owner: &str, status: Value) -> Value {
    json!({
        "metadata": {"name": "web.before.0", "uid": "s1", "creationTimestamp": "2026-11-21T10:00:00Z",
            "labels": {"substrate/instance": "web", "substrate/snapshot": "before"},
            "ownerReferences": [{"kind": "StatefulSet", "name": "web", "uid": owner}]},
        "status": status,
    })
}

fn everyday(asked: &str) -> Answer {
    let group = json!({"name": "snapshot.storage.k8s.io", "versions": [{"version": "v1"}]});
    match path(asked) {
        "GET /apis" => ok(json!({"groups": [group]})),
        WEB => ok(web()),
        _ => Answer::Usual,
    }
}

async fn connected(server: &Server) -> K8sSubstrate {
    let config = server.config().with_start_timeout(Duration::from_secs(2));
    let cluster = K8sSubstrate::new("wire", config).unwrap();
    cluster.connect().await.unwrap();
    cluster
}

fn before() -> SnapshotConfig {
    SnapshotConfig::new("before".parse().unwrap())
}

#[tokio::test]
async fn a_cluster_without_the_api_says_what_is_missing_before_anything_is_asked() {
    let older =
        json!({"groups": [{"name": "snapshot.storage.k8s.io", "versions": [{"version": "v1beta1"}]}]});
    for groups in [json!({"groups": [{"name": "apps"}]}), older] {
        let server = Server::answering("GET /apis", ok(groups)).await;
        let cluster = connected(&server).await;
        let asked = server.requests().len();
        let error = cluster.create_snapshot(&"web".parse().unwrap(), &before()).await.unwrap_err();
        assert!(error.is_unsupported() && error.message().contains("snapshot.storage.k8s.io/v1"), "{error}");
        assert_eq!(server.requests().len(), asked);
    }
}

#[tokio::test]
async fn a_snapshot_is_done_when_its_driver_says_that_it_can_be_used() {
    let server = Server::new(|asked, before| match path(asked) {
        ALL => list("1", &[]),
        TAKE => ok(part("uid-web", json!({}))),
        ONE if before < 2 => ok(part("uid-web", json!({"readyToUse": false}))),
        ONE => ok(part("uid-web", json!({"readyToUse": true, "restoreSize": "1Gi"}))),
        _ => everyday(asked),
    })
    .await;
    let cluster = connected(&server).await;
    assert!(cluster.descriptor().capabilities.can(Operation::CreateSnapshot));
    let made = cluster.create_snapshot(&"web".parse().unwrap(), &before()).await.unwrap();
    assert_eq!((made.name.as_str(), made.size_bytes), ("before", Some(1 << 30)));
    let looks = server.requests().iter().filter(|asked| path(asked) == ONE).count();
    assert_eq!(looks, 3);
}

#[tokio::test]
async fn one_that_does_not_come_to_be_says_why_and_leaves_nothing() {
    let is_gone = AtomicBool::new(false);
    let server = Server::new(move |asked, _| match path(asked) {
        ALL => list("1", &[]),
        TAKE => ok(part("uid-web", json!({}))),
        DROP => {
            is_gone.store(true, Ordering::Relaxed);
            ok(json!({}))
        }
        ONE if is_gone.load(Ordering::Relaxed) => refusal(404, "NotFound", "gone"),
        ONE => ok(part("uid-web", json!({"error": {"message": "no class of snapshots"}}))),
        _ => everyday(asked),
    })
    .await;
    let cluster = connected(&server).await;
    let error = cluster.create_snapshot(&"web".parse().unwrap(), &before()).await.unwrap_err();
    assert!(error.is_timeout() && error.message().contains("no class of snapshots"), "{error}");
    assert!(server.changes().iter().any(|asked| path(asked) == DROP));
}

#[tokio::test]
async fn snapshots_are_those_of_this_very_instance() {
    let ready = json!({"readyToUse": true});
    for (owner, count) in [("uid-web", 1), ("uid-of-an-older-web", 0)] {
        let ready = ready.clone();
        let server = Server::new(move |asked, _| match path(asked) {
            ALL => list("1", &[part(owner, ready.clone())]),
            _ => everyday(asked),
        })
        .await;
        let cluster = connected(&server).await;
        let web = "web".parse().unwrap();
        assert_eq!(cluster.list_snapshots(&web).await.unwrap().len(), count);
        let again = cluster.create_snapshot(&web, &before()).await.err().map(|error| error.kind());
        assert_eq!(again == Some(ErrorKind::AlreadyExists), count == 1);
        if count == 0 {
            let error = cluster.delete_snapshot(&web, &"before".parse().unwrap()).await.unwrap_err();
            assert!(error.is_not_found());
        }
    }
}

#[tokio::test]
async fn an_instance_without_volumes_has_nothing_to_snapshot() {
    let server = Server::new(|asked, _| match path(asked) {
        WEB => ok(set("web", "1", 1)),
        _ => everyday(asked),
    })
    .await;
    let cluster = connected(&server).await;
    let error = cluster.create_snapshot(&"web".parse().unwrap(), &before()).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(server.changes().is_empty());
}

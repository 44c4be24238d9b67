//! Pods that a node has evicted: they stay in every list, and are nobody any more.

use serde_json::{Value, json};
use substrate_core::{InstanceFilter, InstanceState, LogOptions, StopMode, Substrate};
use substrate_k8s::{K8sSubstrate, Workload};

use crate::server::{Answer, PODS, Server, list, ok, path, running_pod, set};

const ALL: &str = "GET /apis/apps/v1/namespaces/shop/deployments";
const WEB: &str = "GET /apis/apps/v1/namespaces/shop/deployments/web";

fn of_set(name: &str, mut pod: Value) -> Value {
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["uid"] = json!(format!("uid-{name}"));
    pod["metadata"]["ownerReferences"] =
        json!([{"kind": "ReplicaSet", "name": "web-5d8f", "uid": "uid-set", "controller": true}]);
    pod
}

fn evicted() -> Value {
    let mut pod = of_set("web-5d8f-old", running_pod("web", "1"));
    pod["status"] = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."});
    pod
}

async fn cluster(pods: Vec<Value>, replicas: u32) -> (Server, K8sSubstrate) {
    let server = Server::new(move |asked, _| match path(asked) {
        ALL => list("1", &[set("web", "1", replicas)]),
        WEB => ok(set("web", "1", replicas)),
        PODS => list("1", &pods),
        asked if asked.starts_with("GET /api/v1/namespaces/shop/pods/") => Answer::Json(200, String::new()),
        asked if asked.starts_with("DELETE") || asked.starts_with("PATCH") => ok(json!({})),
        _ => Answer::Usual,
    })
    .await;
    let cluster = K8sSubstrate::new("wire", server.config().with_workload(Workload::Deployment)).unwrap();
    (server, cluster)
}

#[tokio::test]
async fn the_instance_is_the_pod_that_took_its_place() {
    let new = of_set("web-5d8f-new", running_pod("web", "2"));
    let (server, cluster) = cluster(vec![evicted(), new, evicted()], 1).await;
    let name = "web".parse().unwrap();
    let one = cluster.get_instance(&name).await.unwrap();
    assert_eq!((one.state, &one.properties["pod"]), (InstanceState::Running, &json!("web-5d8f-new")));
    let listed = cluster.list_instances(&InstanceFilter::all()).await.unwrap();
    assert_eq!(listed[0].properties["pod"], "web-5d8f-new");
    drop(cluster.get_logs(&name, &LogOptions::all()).await.unwrap());
    let logs: Vec<String> = server.requests().into_iter().filter(|asked| asked.contains("/log")).collect();
    assert!(!logs.is_empty() && logs.iter().all(|asked| asked.contains("/web-5d8f-new/log")), "{logs:?}");
}

#[tokio::test]
async fn one_that_nothing_has_replaced_has_failed_with_the_nodes_words() {
    let (_server, cluster) = cluster(vec![evicted()], 1).await;
    let one = cluster.get_instance(&"web".parse().unwrap()).await.unwrap();
    assert_eq!(one.state, InstanceState::Failed);
    assert_eq!(one.provider_state, "Evicted: The node was low on memory.");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_one() {
    let (server, cluster) = cluster(vec![evicted()], 0).await;
    cluster.stop_instance(&"web".parse().unwrap(), StopMode::default()).await.unwrap();
    assert!(server.changes().iter().all(|asked| !asked.starts_with("DELETE")), "{:?}", server.changes());
}

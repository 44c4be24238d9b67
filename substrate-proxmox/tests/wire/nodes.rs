//! Hosts and nodes that go away.

use serde_json::json;
use substrate_core::{HealthStatus, InstanceFilter, InstanceState, Outcome, Substrate};
use substrate_proxmox_double::{Kind, Setup};

use crate::double::{cluster, machine, name, pair_of};

#[tokio::test]
async fn when_one_api_host_is_gone_the_next_one_is_asked() {
    let (double, substrate) = pair_of(cluster()).await;
    substrate.create_instance(&machine("web")).await.unwrap();
    double.kill_host(0);
    // Reads and changes: a connection that was refused has sent nothing.
    substrate.list_instances(&InstanceFilter::all()).await.unwrap();
    substrate.start_instance(&name("web")).await.unwrap();
    assert!(substrate.is_connected());
    double.kill_host(1);
    let error = substrate.stop_instance(&name("web"), substrate_core::StopMode::Force).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(!substrate.is_connected());
    double.revive_host(0).await;
    substrate.stop_instance(&name("web"), substrate_core::StopMode::Force).await.unwrap();
    assert!(substrate.is_connected());
}

#[tokio::test]
async fn a_cluster_that_is_not_there_was_sent_nothing() {
    let (double, substrate) = pair_of(cluster()).await;
    double.kill_host(0);
    double.kill_host(1);
    let error = substrate.create_instance(&machine("web")).await.unwrap_err();
    assert_eq!((error.is_unavailable(), error.outcome()), (true, Outcome::NotSent), "{error}");
}

#[tokio::test]
async fn guests_of_a_silent_node_are_unknown_and_never_missing() {
    let (double, substrate) = pair_of(cluster()).await;
    double.add_guest(100, Kind::Qemu, "pve1", &[("name", json!("here"))]);
    double.add_guest(101, Kind::Qemu, "pve2", &[("name", json!("there"))]);
    double.gossip();
    substrate.get_instance(&name("there")).await.unwrap();
    double.set_node("pve2", false);
    double.gossip();
    let states: Vec<_> = substrate
        .list_instances(&InstanceFilter::all())
        .await
        .unwrap()
        .iter()
        .map(|one| (one.name.to_string(), one.state))
        .collect();
    assert_eq!(
        states,
        [("here".to_owned(), InstanceState::Stopped), ("there".to_owned(), InstanceState::Unknown)]
    );
    // Whether anybody there is called so cannot be told, and is not told.
    let error = substrate.get_instance(&name("somebody")).await.unwrap_err();
    assert!(error.is_unavailable() && error.message().contains("pve2"), "{error}");
    substrate.get_instance(&name("here")).await.unwrap();
    let report = substrate.health_check().await.unwrap();
    assert_eq!(report.status, HealthStatus::Degraded);
    assert!(report.issues.iter().any(|issue| issue.contains("pve2")), "{:?}", report.issues);
}

#[tokio::test]
async fn a_cluster_without_quorum_is_unhealthy() {
    let nodes = vec!["pve1".to_owned(), "pve2".to_owned()];
    let (double, substrate) = pair_of(Setup { nodes, ..Setup::default() }).await;
    assert_eq!(substrate.health_check().await.unwrap().status, HealthStatus::Healthy);
    double.set_quorum(false);
    let report = substrate.health_check().await.unwrap();
    assert_eq!(report.status, HealthStatus::Unhealthy);
    assert!(report.issues.iter().any(|issue| issue.contains("quorum")), "{:?}", report.issues);
    assert_eq!(report.properties["nodes"], json!(["pve1", "pve2"]));
}

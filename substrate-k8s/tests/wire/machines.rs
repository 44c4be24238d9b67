//! Machines of KubeVirt: a cluster that has it, one that has not, and requests that it refuses.

use std::time::Duration;

use serde_json::{Value, json};
use substrate_core::{
    HealthStatus, InstanceConfig, InstanceFilter, InstanceState, Operation, StopMode, Substrate, WatchOptions,
};
use substrate_k8s::{K8sConfig, K8sSubstrate, Workload};

use crate::server::{Answer, Server, list, ok, path, refusal};

const ALL: &str = "GET /apis/kubevirt.io/v1/namespaces/shop/virtualmachines";
const INSTANCES: &str = "GET /apis/kubevirt.io/v1/namespaces/shop/virtualmachineinstances";
const ONE: &str = "GET /apis/kubevirt.io/v1/namespaces/shop/virtualmachines/vm";
const PATCH: &str = "PATCH /apis/kubevirt.io/v1/namespaces/shop/virtualmachines/vm";
const INSTANCE: &str = "GET /apis/kubevirt.io/v1/namespaces/shop/virtualmachineinstances/vm";
const STOP: &str = "PUT /apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/vm/stop";
const PAUSE: &str = "PUT /apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances/vm/pause";

fn config(server: &Server) -> K8sConfig {
    server.config().with_workload(Workload::VirtualMachine).with_deletion_timeout(Duration::from_secs(2))
}

fn cluster(server: &Server) -> K8sSubstrate {
    K8sSubstrate::new("wire", config(server)).unwrap()
}

fn machine(strategy: &str) -> Value {
    json!({"metadata": {"name": "vm", "uid": "uid-vm", "resourceVersion": "1"},
        "spec": {"runStrategy": strategy, "template": {"spec": {"domain": {"cpu": {"cores": 2}, "memory": {"guest": "1Gi"}},
            "volumes": [{"name": "main", "containerDisk": {"image": "disk:1"}}]}}},
        "status": {"printableStatus": "Running"}})
}

fn instance(owner: &str) -> Value {
    json!({"metadata": {"name": "vm", "uid": "uid-instance",
            "ownerReferences": [{"kind": "VirtualMachine", "name": "vm", "uid": owner, "controller": true}]},
        "status": {"phase": "Running", "nodeName": "n1", "conditions": [{"type": "Ready", "status": "True"}],
            "interfaces": [{"ipAddress": "10.1.2.3"}, {"ipAddress": "no address"}],
            "phaseTransitionTimestamps": [{"phase": "Running", "phaseTransitionTimestamp": "2026-11-21T10:00:01Z"}]}})
}

/// With KubeVirt.
fn everyday(asked: &str) -> Answer {
    match path(asked) {
        "GET /apis/kubevirt.io/v1" => ok(json!({"resources": [{"name": "virtualmachines"}]})),
        "GET /apis" => ok(json!({"groups": [{"name": "kubevirt.io", "versions": [{"version": "v1"}]}]})),
        ALL => list("1", &[machine("Always")]),
        INSTANCES => list("1", &[instance("uid-vm")]),
        ONE => ok(machine("Always")),
        INSTANCE => ok(instance("uid-vm")),
        _ => Answer::Usual,
    }
}

#[tokio::test]
async fn a_cluster_without_kubevirt_says_so_whatever_is_asked() {
    let server = Server::new(|_, _| Answer::Usual).await;
    let cluster = cluster(&server);
    let name = "vm".parse().unwrap();
    let config = InstanceConfig::new("vm".parse().unwrap()).with_image("disk:1");
    for (what, error) in [
        ("connect", cluster.connect().await.err()),
        ("list", cluster.list_instances(&InstanceFilter::all()).await.err()),
        ("get", cluster.get_instance(&name).await.err()),
        ("validate", cluster.validate_config(&config).await.err()),
        ("create", cluster.create_instance(&config).await.err()),
        ("start", cluster.start_instance(&name).await.err()),
        ("stop", cluster.stop_instance(&name, StopMode::Force).await.err()),
        ("pause", cluster.pause_instance(&name).await.err()),
        ("delete", cluster.delete_instance(&name, true).await.err()),
        ("watch", cluster.watch(&WatchOptions::from_now()).await.err()),
    ] {
        let error = error.unwrap_or_else(|| panic!("{what} succeeded"));
        let says = error.message().contains("KubeVirt is not installed in this cluster");
        assert!(error.is_unsupported() && says, "{what}: {error}");
    }
    assert!(server.changes().is_empty());
    let report = cluster.health_check().await.unwrap();
    assert_eq!(report.status, HealthStatus::Unhealthy);
    assert!(report.issues.iter().any(|issue| format!("{issue:?}").contains("KubeVirt is not installed")));
}

#[tokio::test]
async fn with_kubevirt_what_is_absent_is_an_instance() {
    let server = Server::new(|asked, _| match path(asked) {
        ONE => refusal(404, "NotFound", "virtualmachines.kubevirt.io \"vm\" not found"),
        _ => everyday(asked),
    })
    .await;
    let error = cluster(&server).get_instance(&"vm".parse().unwrap()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn a_machine_is_read_with_what_runs_of_it() {
    for (owner, state) in
        [("uid-vm", InstanceState::Running), ("uid-of-an-older-vm", InstanceState::Creating)]
    {
        let server = Server::new(move |asked, _| match path(asked) {
            INSTANCE => ok(instance(owner)),
            INSTANCES => list("1", &[instance(owner)]),
            _ => everyday(asked),
        })
        .await;
        let cluster = cluster(&server);
        let one = cluster.get_instance(&"vm".parse().unwrap()).await.unwrap();
        let listed = cluster.list_instances(&InstanceFilter::all()).await.unwrap();
        assert_eq!((one.state, listed[0].state), (state, state));
        assert_eq!((one.limits.cpu_cores, one.limits.memory_mb), (Some(2.0), Some(1024)));
        if state == InstanceState::Running {
            assert_eq!(one.addresses, ["10.1.2.3".parse::<std::net::IpAddr>().unwrap()]);
            assert!(one.started_at.is_some() && one.properties["node"] == "n1");
        }
    }
}

#[tokio::test]
async fn capabilities_are_those_of_machines_and_of_this_cluster() {
    for (groups, snapshots) in [
        (json!([{"name": "kubevirt.io", "versions": [{"version": "v1"}]}]), false),
        (json!([{"name": "snapshot.kubevirt.io", "versions": [{"version": "v1alpha1"}]}]), false),
        (json!([{"name": "snapshot.kubevirt.io", "versions": [{"version": "v1beta1"}]}]), true),
    ] {
        let server = Server::new(move |asked, _| match path(asked) {
            "GET /apis" => ok(json!({"groups": groups})),
            _ => everyday(asked),
        })
        .await;
        let cluster = cluster(&server);
        cluster.connect().await.unwrap();
        let capabilities = cluster.descriptor().capabilities.clone();
        assert_eq!(capabilities.can(Operation::RestoreSnapshot), snapshots);
        assert!(capabilities.can(Operation::PauseInstance) && !capabilities.can(Operation::OpenCommand));
        let before = server.requests().len();
        let command = substrate_core::Command::new(["true"]);
        let error = cluster.execute_command(&"vm".parse().unwrap(), &command).await.unwrap_err();
        assert!(error.is_unsupported() && server.requests().len() == before, "{error}");
    }
}

#[tokio::test]
async fn a_stop_that_kubevirt_refuses_because_it_ends_already_is_waited_for() {
    let server = Server::new(|asked, before| match path(asked) {
        INSTANCE if before < 3 => ok(instance("uid-vm")),
        INSTANCE => refusal(404, "NotFound", "gone"),
        STOP => {
            refusal(409, "Conflict", "Halted only supports manual stop requests with a shorter graceperiod")
        }
        PATCH => ok(machine("Halted")),
        _ => everyday(asked),
    })
    .await;
    cluster(&server).stop_instance(&"vm".parse().unwrap(), StopMode::default()).await.unwrap();
    let changes: Vec<String> = server.changes().iter().map(|asked| path(asked).to_owned()).collect();
    assert_eq!(changes, [STOP, PATCH]);
}

#[tokio::test]
async fn a_machine_instance_that_does_not_go_is_reported_with_what_holds_it() {
    let server = Server::new(|asked, _| match path(asked) {
        INSTANCE => {
            let mut held = instance("uid-vm");
            held["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:09Z");
            held["metadata"]["finalizers"] = json!(["example.org/backup"]);
            ok(held)
        }
        STOP | PATCH => ok(machine("Halted")),
        _ => everyday(asked),
    })
    .await;
    let error = cluster(&server).stop_instance(&"vm".parse().unwrap(), StopMode::Force).await.unwrap_err();
    assert!(error.is_timeout() && error.message().contains("example.org/backup"), "{error}");
}

#[tokio::test]
async fn what_only_kubevirts_own_server_does_tells_when_that_is_away() {
    for (code, reason) in [(404, "NotFound"), (503, "ServiceUnavailable")] {
        let server = Server::new(move |asked, _| match path(asked) {
            PAUSE => refusal(code, reason, "the server could not find the requested resource"),
            _ => everyday(asked),
        })
        .await;
        let error = cluster(&server).pause_instance(&"vm".parse().unwrap()).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
    }
}

#[tokio::test]
async fn a_pause_that_kubevirt_refuses_is_a_conflict_unless_it_is_so_already() {
    for paused in [false, true] {
        let server = Server::new(move |asked, before| match path(asked) {
            INSTANCE if paused && before > 0 => {
                let mut frozen = instance("uid-vm");
                frozen["status"]["conditions"] = json!([{"type": "Paused", "status": "True"}]);
                ok(frozen)
            }
            PAUSE => refusal(409, "Conflict", "VMI is already paused"),
            _ => everyday(asked),
        })
        .await;
        let outcome = cluster(&server).pause_instance(&"vm".parse().unwrap()).await;
        assert_eq!(outcome.is_ok(), paused, "{outcome:?}");
    }
}

/// Machines of others are written in older words, which stay.
#[tokio::test]
async fn an_older_machine_is_switched_in_its_own_words() {
    let server = Server::new(|asked, before| match path(asked) {
        ONE => {
            let mut older = machine("Always");
            older["spec"].as_object_mut().unwrap().remove("runStrategy");
            older["spec"]["running"] = json!(before > 1);
            ok(older)
        }
        INSTANCE if before < 1 => refusal(404, "NotFound", "none"),
        PATCH => ok(machine("Always")),
        _ => everyday(asked),
    })
    .await;
    cluster(&server).start_instance(&"vm".parse().unwrap()).await.unwrap();
    assert_eq!(server.bodies(PATCH)[0]["spec"], json!({"running": true}));
}

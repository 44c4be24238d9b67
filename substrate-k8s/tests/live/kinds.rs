//! The other kinds of workloads.

use substrate_core::{Command, Feature, InstanceState, Operation, StopMode, Substrate, SubstrateExt};
use substrate_k8s::Workload;

use crate::lab::Lab;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_deployment_lives_as_a_set_does() {
    let lab = Lab::of(&[Workload::Deployment]);
    let cluster = lab.connected(lab.settings().with_workload(Workload::Deployment)).await;
    let config = lab.config("web").with_label("role", "web");
    let created = cluster.create_instance(&config).await.unwrap();
    assert_eq!(created.state, InstanceState::Stopped);
    for _ in 0..2 {
        cluster.start_instance(&config.name).await.unwrap();
        let running = cluster.get_instance(&config.name).await.unwrap();
        assert_eq!((running.state, &running.id), (InstanceState::Running, &created.id));
        assert!(cluster.execute_command(&config.name, &Command::new(["true"])).await.unwrap().success());
        let listed = cluster
            .list_instances(&substrate_core::InstanceFilter::all().with_name_prefix(&lab.prefix))
            .await;
        assert_eq!(listed.unwrap()[0].state, InstanceState::Running);
        cluster.stop_instance(&config.name, StopMode::default()).await.unwrap();
        assert_eq!(cluster.get_instance(&config.name).await.unwrap().state, InstanceState::Stopped);
    }
    let error = cluster.delete_instance(&lab.named("nobody"), true).await.unwrap_err();
    assert!(error.is_not_found());
    cluster.delete_instance(&config.name, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_bare_pod_runs_from_its_creation_and_cannot_be_stopped() {
    let lab = Lab::of(&[Workload::Pod]);
    let cluster = lab.connected(lab.settings().with_workload(Workload::Pod)).await;
    let capabilities = &cluster.descriptor().capabilities;
    assert!(!capabilities.can(Operation::StopInstance) && !capabilities.can(Feature::CreateStopped));
    let config = lab.config("bare");
    let created = cluster.create_instance(&config).await.unwrap();
    assert_eq!(created.state, InstanceState::Running);
    assert!(cluster.execute_command(&config.name, &Command::new(["true"])).await.unwrap().success());
    let stop = cluster.stop_instance(&config.name, StopMode::Force).await.unwrap_err();
    let restart = cluster.restart_instance(&config.name, StopMode::Force).await.unwrap_err();
    assert!(stop.is_unsupported() && restart.is_unsupported());
    assert_eq!(cluster.get_instance(&config.name).await.unwrap().started_at, created.started_at);
    assert!(cluster.delete_instance(&config.name, false).await.unwrap_err().is_conflict());
    cluster.delete_instance(&config.name, true).await.unwrap();
    assert!(!cluster.instance_exists_by_list(&config.name).await);
    // One that cannot run leaves nothing behind.
    let missing = lab.config("hollow").with_command(["/no/such/program"]);
    assert!(cluster.create_instance(&missing).await.unwrap_err().is_invalid_input());
    assert!(cluster.get_instance(&missing.name).await.unwrap_err().is_not_found());
}

/// Whether the list has it.
trait ByList {
    async fn instance_exists_by_list(&self, name: &substrate_core::InstanceName) -> bool;
}

impl ByList for substrate_k8s::K8sSubstrate {
    async fn instance_exists_by_list(&self, name: &substrate_core::InstanceName) -> bool {
        let filter = substrate_core::InstanceFilter::all().with_name_prefix(name.as_str());
        !self.list_instances(&filter).await.unwrap().is_empty()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_substrate_sees_its_own_kind_only() {
    let lab = Lab::of(&[Workload::Stateful, Workload::Deployment]);
    let sets = lab.cluster().await;
    let deployments = lab.connected(lab.settings().with_workload(Workload::Deployment)).await;
    let set = lab.config("set");
    sets.create_and_start(&set).await.unwrap();
    assert!(deployments.get_instance(&set.name).await.unwrap_err().is_not_found());
    let pods = lab.connected(lab.settings().with_workload(Workload::Pod)).await;
    // The pod of a set is the set's.
    assert!(!pods.instance_exists_by_list(&set.name).await);
}

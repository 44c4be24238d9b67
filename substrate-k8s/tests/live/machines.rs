//! Machines of a stand-in for KubeVirt on the real API server: what this crate asks and how it waits, not that a machine
//! boots.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use substrate_core::{
    CloudInit, EventKind, InstanceConfig, InstanceName, InstanceState, NetworkConfig, NetworkSpec,
    SnapshotConfig, StopMode, Substrate, SubstrateExt, VolumeSpec, WatchItem, WatchOptions,
};
use substrate_k8s::{K8sConfig, K8sSubstrate, Workload};

use crate::lab::{Lab, until, variable};
use crate::stand_in::{Definition, KubeVirt};

/// In this order: the cluster's definitions go before what the lab cleans up.
struct Machines {
    cluster: K8sSubstrate,
    settings: K8sConfig,
    _kubevirt: KubeVirt,
    lab: Lab,
}

impl Machines {
    async fn new() -> Self {
        Self::with(&Definition::MACHINES).await
    }

    async fn with(definitions: &[Definition]) -> Self {
        let lab = Lab::new();
        let kubevirt = KubeVirt::up(&variable(""), &variable("_NAMESPACE"), &lab.prefix, definitions).await;
        let settings = lab
            .settings()
            .with_kubeconfig(kubevirt.kubeconfig())
            .with_workload(Workload::VirtualMachine)
            .with_start_timeout(USUAL);
        let cluster = lab.connected(settings.clone()).await;
        Self { cluster, settings, _kubevirt: kubevirt, lab }
    }

    /// The same cluster for somebody who waits no longer than this.
    async fn impatient(&self, start_timeout: Duration) -> K8sSubstrate {
        self.lab.connected(self.settings.clone().with_start_timeout(start_timeout)).await
    }

    fn config(&self, suffix: &str) -> InstanceConfig {
        InstanceConfig::new(self.lab.named(suffix))
            .with_image("disk:1")
            .with_cpu_cores(1.0)
            .with_memory_mb(64)
    }

    /// A guest that behaves like this.
    fn guest(&self, suffix: &str, guest: &str) -> InstanceConfig {
        self.config(suffix).with_option("annotations", json!({"stand-in/guest": guest}))
    }

    async fn state(&self, name: &InstanceName) -> InstanceState {
        self.cluster.get_instance(name).await.unwrap().state
    }

    async fn machine_instance(&self, name: &InstanceName) -> String {
        self.cluster.get_instance(name).await.unwrap().properties["machine_instance_uid"].to_string()
    }

    async fn clean(&self, config: &InstanceConfig) {
        self.cluster.delete_instance(&config.name, true).await.unwrap();
    }
}

const USUAL: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_machine_lives_from_its_creation_to_its_deletion() {
    let machines = Machines::new().await;
    let (cluster, config) =
        (&machines.cluster, machines.config("life").with_cloud_init(CloudInit::new("#cloud-config\n")));
    let name = &config.name;
    assert_eq!(cluster.create_instance(&config).await.unwrap().state, InstanceState::Stopped);
    assert!(cluster.create_instance(&config).await.unwrap_err().is_already_exists());
    cluster.start_instance(name).await.unwrap();
    cluster.start_instance(name).await.unwrap();
    let running = cluster.get_instance(name).await.unwrap();
    assert_eq!(running.state, InstanceState::Running, "{}", running.provider_state);
    assert_eq!(running.addresses[0].to_string(), "10.244.0.7");
    assert!(running.started_at.is_some());
    cluster.pause_instance(name).await.unwrap();
    cluster.pause_instance(name).await.unwrap();
    assert_eq!(machines.state(name).await, InstanceState::Paused);
    assert!(cluster.start_instance(name).await.unwrap_err().is_conflict());
    cluster.resume_instance(name).await.unwrap();
    let first = machines.machine_instance(name).await;
    cluster.restart_instance(name, StopMode::default()).await.unwrap();
    assert_ne!(machines.machine_instance(name).await, first, "another machine instance");
    assert!(cluster.delete_instance(name, false).await.unwrap_err().is_conflict());
    cluster.stop_instance(name, StopMode::default()).await.unwrap();
    cluster.stop_instance(name, StopMode::default()).await.unwrap();
    assert_eq!(machines.state(name).await, InstanceState::Stopped);
    assert!(cluster.pause_instance(name).await.unwrap_err().is_conflict());
    cluster.delete_instance(name, false).await.unwrap();
    assert!(cluster.get_instance(name).await.unwrap_err().is_not_found());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_machine_that_does_not_heed_a_stop_is_ended_when_its_time_is_over_and_at_once_by_force() {
    let machines = Machines::new().await;
    let (cluster, config) = (&machines.cluster, machines.guest("deaf", "deaf"));
    cluster.create_and_start(&config).await.unwrap();
    let graceful = cluster.stop_instance(&config.name, StopMode::Graceful(Duration::from_secs(1))).await;
    assert!(graceful.unwrap_err().is_unsupported());
    assert_eq!(machines.state(&config.name).await, InstanceState::Running);
    let begin = Instant::now();
    cluster.stop_instance(&config.name, StopMode::GracefulThenForce(Duration::from_secs(3))).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(3), "{:?}", begin.elapsed());
    cluster.start_instance(&config.name).await.unwrap();
    // Somebody has asked it to end already, with all its time.
    let path = format!("virtualmachines/{}", config.name);
    machines
        .lab
        .ask("PATCH", "/apis/kubevirt.io/v1", &path, Some(json!({"spec": {"runStrategy": "Halted"}})))
        .await;
    until("it is asked to end", async || machines.state(&config.name).await == InstanceState::Stopping).await;
    let begin = Instant::now();
    cluster.stop_instance(&config.name, StopMode::Force).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    machines.clean(&config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_machine_that_cannot_run_says_why() {
    let machines = Machines::new().await;
    let cluster = &machines.cluster;
    // A start that gives up can only say what the cluster has said by then.
    let impatient = machines.impatient(Duration::from_millis(100)).await;
    for (guest, word) in [
        ("unschedulable", "ErrorUnschedulable: 0/1 nodes are available"),
        ("no-image", "ErrImagePull"),
        ("crashes", "CrashLoopBackOff"),
    ] {
        let config = machines.guest(guest, guest);
        cluster.create_instance(&config).await.unwrap();
        assert!(impatient.start_instance(&config.name).await.is_err());
        until("it shows", async || machines.state(&config.name).await == InstanceState::Failed).await;
        let error = impatient.start_instance(&config.name).await.unwrap_err();
        assert!(error.message().contains(word), "{guest}: {error}");
        let kind = (error.is_exhausted(), error.is_not_found(), error.is_internal());
        assert_eq!(kind, (guest == "unschedulable", guest == "no-image", guest == "crashes"), "{error}");
        assert_eq!(machines.state(&config.name).await, InstanceState::Failed);
        cluster.stop_instance(&config.name, StopMode::Force).await.unwrap();
        assert_eq!(machines.state(&config.name).await, InstanceState::Stopped);
        machines.clean(&config).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_machine_that_ended_by_itself_has_stopped_and_starts_again() {
    let machines = Machines::new().await;
    let cluster = &machines.cluster;
    let config =
        machines.guest("ends", "ends").with_option("machine", json!({"run_strategy": "RerunOnFailure"}));
    cluster.create_instance(&config).await.unwrap();
    for _ in 0..2 {
        cluster.start_instance(&config.name).await.unwrap();
        until("it has ended", async || machines.state(&config.name).await == InstanceState::Stopped).await;
    }
    machines.clean(&config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_machine_that_only_its_own_requests_switch_keeps_its_strategy() {
    let machines = Machines::new().await;
    let (cluster, config) = (&machines.cluster, machines.config("manual"));
    cluster.create_instance(&config).await.unwrap();
    let path = format!("virtualmachines/{}", config.name);
    let lab = &machines.lab;
    lab.ask("PATCH", "/apis/kubevirt.io/v1", &path, Some(json!({"spec": {"runStrategy": "Manual"}}))).await;
    cluster.start_instance(&config.name).await.unwrap();
    assert_eq!(machines.state(&config.name).await, InstanceState::Running);
    cluster.stop_instance(&config.name, StopMode::default()).await.unwrap();
    assert_eq!(machines.state(&config.name).await, InstanceState::Stopped);
    let now = lab.ask("GET", "/apis/kubevirt.io/v1", &path, None).await;
    assert_eq!(now["spec"]["runStrategy"], "Manual");
    machines.clean(&config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn the_life_of_a_machine_is_watched() {
    let machines = Machines::new().await;
    let (cluster, config) = (&machines.cluster, machines.config("watched"));
    let mut events = cluster.watch(&WatchOptions::from_now()).await.unwrap();
    cluster.create_and_start(&config).await.unwrap();
    cluster.pause_instance(&config.name).await.unwrap();
    cluster.resume_instance(&config.name).await.unwrap();
    cluster.stop_instance(&config.name, StopMode::default()).await.unwrap();
    cluster.delete_instance(&config.name, false).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&EventKind::Deleted) {
        let item = tokio::time::timeout(USUAL, events.next()).await.expect("an event").unwrap().unwrap();
        if let WatchItem::Event { event, .. } = item
            && event.instance.as_ref() == Some(&config.name)
        {
            seen.push(event.kind);
        }
    }
    use EventKind::{Created, Deleted, Paused, Resumed, Started, Stopped};
    assert_eq!(seen, [Created, Started, Paused, Resumed, Stopped, Deleted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn the_pod_behind_a_machine_has_its_console_and_is_behind_its_services() {
    let machines = Machines::new().await;
    let (cluster, lab) = (&machines.cluster, &machines.lab);
    let config = machines
        .config("console")
        .with_option("annotations", json!({"stand-in/launcher": variable("_IMAGE")}));
    cluster.create_and_start(&config).await.unwrap();
    until("the console is read", async || {
        let lines = cluster.tail_logs(&config.name, 10).await.unwrap_or_default();
        lines.iter().map(|line| line.message.as_str()).eq(["the kernel", "login:"])
    })
    .await;
    let network: substrate_core::NetworkName = lab.named("front").as_str().parse().unwrap();
    let mut spec = NetworkSpec::new(network.clone());
    spec.options.insert("ports".to_owned(), json!([{"port": 80}]));
    cluster.create_network(&spec).await.unwrap();
    let path = format!("endpoints/{network}");
    let members =
        async || lab.ask("GET", "/api/v1", &path, None).await["subsets"].as_array().map_or(0, Vec::len);
    cluster.attach_network(&config.name, &NetworkConfig::new(network.clone())).await.unwrap();
    until("the service knows it", async || members().await == 1).await;
    assert!(cluster.delete_network(&network).await.unwrap_err().is_conflict());
    cluster.detach_network(&config.name, &network).await.unwrap();
    until("the service knows it no more", async || members().await == 0).await;
    cluster.delete_network(&network).await.unwrap();
    machines.clean(&config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_machine_is_brought_back_to_a_snapshot_and_runs_again_if_it_ran() {
    let all = [
        Definition::Machine,
        Definition::MachineInstance,
        Definition::MachineSnapshot,
        Definition::MachineRestore,
    ];
    let machines = Machines::with(&all).await;
    let (cluster, lab) = (&machines.cluster, &machines.lab);
    let claim = lab.named("root");
    cluster.create_volume(&VolumeSpec::new(claim.as_str().parse().unwrap())).await.unwrap();
    let config = InstanceConfig::new(lab.named("saved")).with_option("machine", json!({"root_claim": claim}));
    cluster.create_and_start(&config).await.unwrap();
    let snapshot =
        |name: &str, fate: &str| SnapshotConfig::new(name.parse().unwrap()).with_label("stand-in", fate);
    let (name, good) = (&config.name, "good".parse().unwrap());
    let error = cluster.restore_snapshot(name, &good).await.unwrap_err();
    assert!(error.is_not_found() && machines.state(name).await == InstanceState::Running, "{error}");
    cluster.create_snapshot(name, &snapshot("good", "succeeds")).await.unwrap();
    let impatient = machines.impatient(Duration::from_secs(8)).await;
    for (word, fate, says) in
        [("lost", "partly", "`main`"), ("failed", "fails", "told to fail"), ("late", "never", "not ready")]
    {
        let error = impatient.create_snapshot(name, &snapshot(word, fate)).await.unwrap_err();
        assert!(error.message().contains(says), "{fate}: {error}");
    }
    let listed = cluster.list_snapshots(name).await.unwrap();
    assert_eq!(
        listed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["good"],
        "the others left nothing"
    );
    let first = machines.machine_instance(name).await;
    cluster.restore_snapshot(name, &good).await.unwrap();
    assert_eq!(machines.state(name).await, InstanceState::Running);
    assert_ne!(machines.machine_instance(name).await, first);
    let path = format!("virtualmachines/{name}");
    let now = lab.ask("GET", "/apis/kubevirt.io/v1", &path, None).await;
    assert_eq!(now["metadata"]["annotations"]["stand-in/restored"], format!("{name}.good.0"));
    cluster.stop_instance(name, StopMode::Force).await.unwrap();
    cluster.restore_snapshot(name, &good).await.unwrap();
    assert_eq!(machines.state(name).await, InstanceState::Stopped);
    let in_use = cluster.delete_volume(&claim.as_str().parse().unwrap()).await.unwrap_err();
    assert!(in_use.is_conflict(), "{in_use}");
    cluster.delete_snapshot(name, &good).await.unwrap();
    machines.clean(&config).await;
    cluster.delete_volume(&claim.as_str().parse().unwrap()).await.unwrap();
}

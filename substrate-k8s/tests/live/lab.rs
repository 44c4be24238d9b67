//! The lab's cluster, and what a test makes on it: gone when the test ends, however it ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use substrate_core::{InstanceConfig, InstanceFilter, InstanceName, Substrate};
use substrate_k8s::{ImagePullPolicy, K8sConfig, K8sSubstrate, Workload};
use tokio::process::Command;

/// A main process that ends in order on a stop request.
pub(crate) const SERVE: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

static TESTS: AtomicU32 = AtomicU32::new(0);

/// One test's corner of the cluster.
pub(crate) struct Lab {
    pub(crate) prefix: String,
    kinds: Vec<Workload>,
}

pub(crate) fn variable(name: &str) -> String {
    let name = format!("SUBSTRATES_LAB_K8S{name}");
    std::env::var(&name).unwrap_or_else(|_| panic!("live tests need {name}: start the lab"))
}

fn settings(kubeconfig: &str) -> K8sConfig {
    K8sConfig::default()
        .with_kubeconfig(variable(kubeconfig))
        .with_namespace(variable("_NAMESPACE"))
        .with_image_pull_policy(ImagePullPolicy::Never)
        .with_end_of_input(true)
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::of(&[Workload::Stateful])
    }

    pub(crate) fn of(kinds: &[Workload]) -> Self {
        let number = TESTS.fetch_add(1, Ordering::Relaxed);
        Self { prefix: format!("sk-{}-{number}", std::process::id()), kinds: kinds.to_vec() }
    }

    pub(crate) fn settings(&self) -> K8sConfig {
        settings("")
    }

    pub(crate) async fn cluster(&self) -> K8sSubstrate {
        self.connected(self.settings()).await
    }

    pub(crate) async fn victim(&self, request_timeout: Duration) -> K8sSubstrate {
        self.connected(settings("_VICTIM").with_request_timeout(request_timeout)).await
    }

    pub(crate) async fn connected(&self, settings: K8sConfig) -> K8sSubstrate {
        let cluster = K8sSubstrate::new("lab", settings).unwrap();
        cluster.connect().await.unwrap();
        cluster
    }

    /// The bare client, for what the contract has no words for.
    pub(crate) async fn bare(&self) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(variable("")).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }

    /// Something the contract has no words for, by its path below the namespace.
    pub(crate) async fn ask(&self, method: &str, group: &str, path: &str, body: Option<Value>) -> Value {
        let uri = format!("{group}/namespaces/{}/{path}", variable("_NAMESPACE"));
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(uri).header("Content-Type", content);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.bare().await.request(request.body(body.into_bytes()).unwrap()).await.unwrap()
    }

    /// Kills, stops, starts, freezes or thaws the second API server.
    pub(crate) async fn control(&self, action: &str) {
        let output = Command::new(variable("_VICTIM_CONTROL")).arg(action).output().await.unwrap();
        assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn named(&self, suffix: &str) -> InstanceName {
        format!("{}-{suffix}", self.prefix).parse().unwrap()
    }

    pub(crate) fn config(&self, suffix: &str) -> InstanceConfig {
        InstanceConfig::new(self.named(suffix))
            .with_image(variable("_IMAGE"))
            .with_command(["sh", "-c", SERVE])
    }

    pub(crate) async fn running(&self, cluster: &K8sSubstrate, suffix: &str) -> InstanceName {
        let config = self.config(suffix);
        cluster.create_instance(&config).await.unwrap();
        cluster.start_instance(&config.name).await.unwrap();
        config.name
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A panicking test is inside a runtime that may be on its way down: clean up from a thread of our own.
        let (prefix, kinds) = (self.prefix.clone(), self.kinds.clone());
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for kind in kinds {
                    clean(&prefix, settings("").with_workload(kind)).await;
                }
            });
        });
        let _ = cleaner.join();
    }
}

async fn clean(prefix: &str, settings: K8sConfig) {
    let cluster = K8sSubstrate::new("cleaner", settings).unwrap();
    let filter = InstanceFilter::all().with_name_prefix(prefix);
    for instance in cluster.list_instances(&filter).await.unwrap_or_default() {
        let _ = cluster.delete_instance(&instance.name, true).await;
    }
    for network in cluster.list_networks().await.unwrap_or_default() {
        if network.name.as_str().starts_with(prefix) {
            let _ = cluster.delete_network(&network.name).await;
        }
    }
    for volume in cluster.list_volumes().await.unwrap_or_default() {
        if volume.name.as_str().starts_with(prefix) {
            let _ = cluster.delete_volume(&volume.name).await;
        }
    }
}

/// Waits for a condition with a deadline.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

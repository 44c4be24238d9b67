//! The lab's daemon, and what a test makes on it: gone when the test ends, however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use substrate_core::{
    Instance, InstanceConfig, InstanceFilter, InstanceName, NetworkName, Substrate, VolumeName,
};
use substrate_docker::{DockerConfig, DockerSubstrate, PullPolicy};

/// A main process that ends in order on a stop request.
pub(crate) const SERVE: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
/// One that is deaf to it.
pub(crate) const DEAF: &str = "trap '' TERM; while :; do sleep 0.05; done";

static TESTS: AtomicU32 = AtomicU32::new(0);

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("live tests need {name}: start the lab"))
}

pub(crate) fn image() -> String {
    std::env::var("SUBSTRATES_LAB_DOCKER_IMAGE").unwrap_or_else(|_| "busybox:local".to_owned())
}

/// The bare client library, for what others do.
pub(crate) fn raw() -> bollard::Docker {
    let host = variable("SUBSTRATES_LAB_DOCKER");
    bollard::Docker::connect_with_unix(host.trim_start_matches("unix://"), 20, bollard::API_DEFAULT_VERSION)
        .unwrap()
}

pub(crate) fn name(text: &str) -> InstanceName {
    text.parse().unwrap()
}

/// One test's corner of the daemon.
pub(crate) struct Lab {
    pub(crate) docker: Arc<DockerSubstrate>,
    pub(crate) prefix: String,
    host: String,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::at(variable("SUBSTRATES_LAB_DOCKER")).await
    }

    pub(crate) async fn at(host: String) -> Self {
        let config = DockerConfig::default().with_host(&host).with_pull_policy(PullPolicy::Missing);
        let docker = Arc::new(DockerSubstrate::new("lab", config).unwrap());
        docker.connect().await.unwrap();
        let number = TESTS.fetch_add(1, Ordering::Relaxed);
        Self { docker, prefix: format!("sd-{}-{number}", std::process::id()), host }
    }

    pub(crate) fn named(&self, suffix: &str) -> InstanceName {
        name(&format!("{}-{suffix}", self.prefix))
    }

    pub(crate) fn config(&self, suffix: &str, script: &str) -> InstanceConfig {
        InstanceConfig::new(self.named(suffix)).with_image(image()).with_command(["sh", "-c", script])
    }

    pub(crate) async fn running(&self, suffix: &str, script: &str) -> Arc<Instance> {
        let config = self.config(suffix, script);
        self.docker.create_instance(&config).await.unwrap();
        self.docker.start_instance(&config.name).await.unwrap();
        self.docker.get_instance(&config.name).await.unwrap()
    }

    /// The images, networks, volumes and containers of this test that are there.
    pub(crate) async fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for instance in self.docker.list_instances(&InstanceFilter::all()).await.unwrap() {
            if instance.name.as_str().starts_with(&self.prefix) {
                left.push(format!("container {}", instance.name));
            }
        }
        for network in self.docker.list_networks().await.unwrap() {
            if network.name.as_str().starts_with(&self.prefix) {
                left.push(format!("network {}", network.name));
            }
        }
        for volume in self.docker.list_volumes().await.unwrap() {
            if volume.name.as_str().starts_with(&self.prefix) {
                left.push(format!("volume {}", volume.name));
            }
        }
        left
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A panicking test is inside a runtime that may be on its way down: clean up from a thread of our own.
        let (prefix, host) = (self.prefix.clone(), self.host.clone());
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clean(&prefix, &host));
        });
        let _ = cleaner.join();
    }
}

async fn clean(prefix: &str, host: &str) {
    let docker = DockerSubstrate::new("cleaner", DockerConfig::default().with_host(host)).unwrap();
    let Ok(instances) = docker.list_instances(&InstanceFilter::all().with_name_prefix(prefix)).await else {
        return;
    };
    for instance in instances {
        let _ = docker.delete_instance(&instance.name, true).await;
    }
    for network in docker.list_networks().await.unwrap_or_default() {
        if network.name.as_str().starts_with(prefix) {
            let _ = docker.delete_network(&NetworkName::new(&network.id).unwrap()).await;
        }
    }
    for volume in docker.list_volumes().await.unwrap_or_default() {
        if volume.name.as_str().starts_with(prefix) {
            let _ = docker.delete_volume(&VolumeName::new(volume.name.as_str()).unwrap()).await;
        }
    }
}

/// Waits for a condition with a deadline.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! Connecting, discovering, health.

use std::collections::BTreeMap;

use serde::Deserialize;
use substrate_core::{
    Capabilities, Capacity, Descriptor, Feature, HealthReport, HealthStatus, InstanceKind, Operation, Result,
};
use tokio::time::Instant;

use super::{DockerSubstrate, PROVIDER_TYPE};
use crate::client::Target;

/// `/version`, as far as it is used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    #[serde(default)]
    version: String,
    #[serde(default, rename = "MinAPIVersion")]
    min_api_version: Option<String>,
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    components: Option<Vec<Component>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    #[serde(default)]
    name: String,
}

impl Version {
    fn is_podman(&self) -> bool {
        self.components.iter().flatten().any(|component| component.name.contains("Podman"))
    }

    fn server(&self) -> &'static str {
        if self.is_podman() { "Podman" } else { "Docker" }
    }
}

/// `/info`, as far as it is used.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Info {
    containers: Option<u64>,
    containers_running: Option<u64>,
    #[serde(rename = "NCPU")]
    processors: Option<u32>,
    mem_total: Option<u64>,
    driver: Option<String>,
    memory_limit: Option<bool>,
    cpu_cfs_quota: Option<bool>,
    cgroup_driver: Option<String>,
    cgroup_version: Option<String>,
    warnings: Option<Vec<String>>,
    /// The daemon's own clock.
    pub(super) system_time: Option<String>,
    runtimes: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(rename = "OSType")]
    os: Option<String>,
}

const MEMORY_IS_NOT_COMMITTED: &str =
    "a snapshot is a commit of the container's file system; memory and volumes are not in it";
const NO_FIRST_BOOT: &str = "a container does not boot, so nothing in it reads cloud-init data";
const NO_BANDWIDTH: &str = "Docker cannot limit a container's bandwidth";
const QUOTA_UNKNOWN: &str = "disk quotas need the storage driver btrfs, zfs, devicemapper or windowsfilter; on \
     overlay2 they depend on project quotas of the file system below, which the daemon does not report";

/// What Docker can do at best.
pub(super) fn at_best() -> Capabilities {
    Capabilities::all()
        .without(Feature::CloudInit, NO_FIRST_BOOT)
        .without(Feature::SnapshotMemory, MEMORY_IS_NOT_COMMITTED)
        .without(Feature::NetworkLimit, NO_BANDWIDTH)
}

/// What this daemon can do.
fn capabilities(info: &Info, podman: bool, api: (u64, u64)) -> Capabilities {
    let mut capabilities = at_best();
    let driver = info.driver.as_deref().unwrap_or("unknown");
    if !matches!(driver, "btrfs" | "zfs" | "devicemapper" | "windowsfilter") {
        capabilities = capabilities
            .without(Feature::DiskLimit, format!("the storage driver is {driver}: {QUOTA_UNKNOWN}"));
    }
    let no_controller = info.cgroup_driver.as_deref() == Some("none");
    if info.memory_limit == Some(false) || no_controller {
        capabilities = capabilities
            .without(Feature::MemoryLimit, "the daemon's host has no memory controller for containers");
    }
    if info.cpu_cfs_quota == Some(false) || no_controller {
        capabilities = capabilities
            .without(Feature::CpuLimit, "the daemon's host has no processor quotas for containers");
    }
    if no_controller {
        let reason = "the daemon runs without control groups (rootless on cgroup v1)";
        capabilities = capabilities
            .without(Operation::PauseInstance, reason)
            .without(Operation::ResumeInstance, reason)
            .without(Operation::SetResourceLimits, reason)
            .without(Feature::LiveLimits, reason);
    }
    if podman {
        capabilities = capabilities.without(
            Feature::WatchResume,
            "Podman keeps its events in a journal with other limits than Docker's history of 256",
        );
        if api < (1, 44) {
            // Its Docker-compatible service got `update` late, and reports success without effect before.
            let reason = "this Podman's Docker-compatible service does not change limits of containers";
            capabilities = capabilities
                .without(Operation::SetResourceLimits, reason)
                .without(Feature::LiveLimits, reason);
        }
    }
    capabilities
}

impl DockerSubstrate {
    /// Negotiates anew and finds out what this daemon can do.
    pub(super) async fn discover(&self) -> Result<()> {
        self.client.negotiate().await?;
        let version = self.version().await?;
        let info = self.info().await?;
        let name = self.descriptor.get().name.clone();
        let api = self.client.version().unwrap_or((1, 0));
        let capabilities = capabilities(&info, version.is_podman(), api);
        self.descriptor.set(Descriptor::new(PROVIDER_TYPE, name, [InstanceKind::Container], capabilities));
        Ok(())
    }

    async fn version(&self) -> Result<Version> {
        self.client.get("ask for the version", &Target::new("/version")).await
    }

    pub(super) async fn info(&self) -> Result<Info> {
        self.client.get("ask for the daemon's description", &Target::new("/info")).await
    }

    pub(super) async fn health(&self) -> Result<HealthReport> {
        // The agreement on a version is not part of how fast it answers.
        self.client.docker().await?;
        let start = Instant::now();
        let version = self.version().await?;
        let latency = start.elapsed();
        let info = self.info().await?;
        let mut report = described(HealthReport::healthy(latency), &version, &info)
            .with_property("api_version", self.client.api_version().unwrap_or_default());
        report.capacity = capacity(&info);
        for warning in info.warnings.iter().flatten() {
            report = report.with_issue(HealthStatus::Degraded, warning.trim_start_matches("WARNING: "));
        }
        if self.config.tls.as_ref().is_some_and(|tls| !tls.verify) {
            report = report.with_issue(
                HealthStatus::Degraded,
                "the daemon's certificate is not checked (`tls.verify: false`): anybody in between can read and change everything",
            );
        }
        Ok(report)
    }
}

fn described(report: HealthReport, version: &Version, info: &Info) -> HealthReport {
    report
        .with_version(&version.version)
        .with_property("server", version.server())
        .with_property("lowest_api_version", version.min_api_version.as_deref())
        .with_property("highest_api_version", version.api_version.as_deref())
        .with_property("os", info.os.as_deref())
        .with_property("cgroup_version", info.cgroup_version.as_deref())
        .with_property("storage_driver", info.driver.as_deref())
        .with_property(
            "runtimes",
            info.runtimes.as_ref().map(|runtimes| Vec::from_iter(runtimes.keys().cloned())),
        )
}

fn capacity(info: &Info) -> Capacity {
    Capacity {
        cpu_cores: info.processors.map(f64::from),
        memory_mb: info.mem_total.map(|bytes| bytes >> 20),
        instances: info.containers,
        instances_running: info.containers_running,
        ..Capacity::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(json: &str) -> Info {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_daemon_of_the_usual_kind() {
        let info =
            info(r#"{"Driver":"overlay2","MemoryLimit":true,"CpuCfsQuota":true,"CgroupDriver":"cgroupfs"}"#);
        let capabilities = capabilities(&info, false, (1, 41));
        for feature in [Feature::MemoryLimit, Feature::CpuLimit, Feature::LiveLimits, Feature::WatchResume] {
            assert!(capabilities.can(feature), "{feature}");
        }
        for feature in [Feature::DiskLimit, Feature::NetworkLimit, Feature::SnapshotMemory] {
            assert!(!capabilities.can(feature), "{feature}");
        }
        let error = capabilities.require(Feature::DiskLimit).unwrap_err();
        assert!(error.message().contains("overlay2"), "{error}");
    }

    #[test]
    fn what_the_host_lacks_is_not_declared() {
        let rootless = capabilities(&info(r#"{"Driver":"btrfs","CgroupDriver":"none"}"#), false, (1, 41));
        assert!(!rootless.can(Feature::MemoryLimit) && !rootless.can(Operation::PauseInstance));
        assert!(rootless.can(Feature::DiskLimit));
        let no_swap = capabilities(&info(r#"{"MemoryLimit":false,"CpuCfsQuota":true}"#), false, (1, 41));
        assert!(!no_swap.can(Feature::MemoryLimit) && no_swap.can(Feature::CpuLimit));
    }

    #[test]
    fn podman_is_recognised_and_declares_less() {
        let version: Version = serde_json::from_str(
            r#"{"Version":"4.3.1","ApiVersion":"1.41","MinAPIVersion":"1.24","Components":[{"Name":"Podman Engine"}]}"#,
        )
        .unwrap();
        assert!(version.is_podman());
        assert!(!capabilities(&Info::default(), true, (1, 41)).can(Feature::WatchResume));
    }
}

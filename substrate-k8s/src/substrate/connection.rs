//! What the cluster is and how it is.

use std::sync::PoisonError;

use serde::Deserialize;
use substrate_core::{Capabilities, Feature, HealthReport, HealthStatus, Operation, Result};
use tokio::time::Instant;

use super::K8sSubstrate;
use crate::client::{Resource, Target};
use crate::config::{K8sConfig, Workload};
use crate::convert::meta::Meta;
use crate::convert::pod::Condition;
use crate::convert::quantity;

/// What was found out at the last connect.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Discovered {
    /// The metrics API is there.
    pub(super) metrics: bool,
    /// Bounds of a running pod can change.
    pub(super) resize: bool,
    /// A command can read the end of its input.
    pub(super) end_of_input: bool,
    /// Claims can be snapshotted.
    pub(super) snapshots: bool,
    /// KubeVirt is there.
    pub(super) machines: bool,
    /// And snapshots machines.
    pub(super) machine_snapshots: bool,
}

/// Since when a client can end a command's input by itself.
const END_OF_INPUT_SINCE: u32 = 30;
/// Since when the bounds of a running pod can be changed without a setting of the cluster's.
const RESIZE_SINCE: u32 = 33;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
    major: String,
    minor: String,
}

impl Version {
    /// Whether it is 1.`minor` or newer. Some clusters write `20+`.
    fn is_at_least(&self, minor: u32) -> bool {
        let number = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().unwrap_or(0)
        };
        (number(&self.major), number(&self.minor)) >= (1, minor)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    name: String,
    versions: Vec<GroupVersion>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupVersion {
    version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    metadata: Meta,
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    unschedulable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    conditions: Vec<Condition>,
    allocatable: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Quota {
    metadata: Meta,
    status: QuotaStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct QuotaStatus {
    hard: std::collections::BTreeMap<String, String>,
    used: std::collections::BTreeMap<String, String>,
}

/// What the technology can do at its best.
pub(super) fn at_best(config: &K8sConfig) -> Capabilities {
    let all = Discovered {
        metrics: true,
        resize: true,
        end_of_input: true,
        snapshots: true,
        machines: true,
        machine_snapshots: true,
    };
    capabilities(config, all)
}

fn capabilities(config: &K8sConfig, found: Discovered) -> Capabilities {
    match config.workload {
        Workload::VirtualMachine => of_machines(found),
        Workload::Stateful | Workload::Deployment | Workload::Pod => of_pods(config, found),
    }
}

/// What the cluster chooses, or has nothing for, whatever an instance is.
fn of_any() -> Capabilities {
    const IMAGES: &str = "a cluster has no store of images: each node fetches what it starts";
    Capabilities::all()
        .without(Feature::FixedAddress, "a pod's address is the cluster's to choose")
        .without(Feature::NetworkLimit, "Kubernetes does not bound bandwidth")
        .without(Feature::LogStreamsApart, "a pod's log does not tell its streams apart")
        .without(Operation::ListImages, IMAGES)
        .without(Operation::EnsureImage, IMAGES)
        .without(Feature::ImageFiles, IMAGES)
}

fn of_machines(found: Discovered) -> Capabilities {
    const EXEC: &str = "KubeVirt's API runs no commands inside a machine; use its network, or cloud-init";
    const CLONE: &str =
        "KubeVirt's clones get their labels after their creation, so that nobody could tell whose a clone is";
    const SNAPSHOTS: &str = "the cluster does not have the API group snapshot.kubevirt.io/v1beta1, by which KubeVirt snapshots machines";
    const SYSTEM: &str = "a machine runs its own system; see `cloud_init`";
    let mut capabilities = of_any()
        .without(
            Feature::GracefulStop,
            "KubeVirt always cuts the power when the grace period is over; use `GracefulThenForce`",
        )
        .without(Feature::CreateVolumes, "a machine gets disks, not folders: see the option `machine.disks`")
        .without(Feature::CreateCommand, SYSTEM)
        .without(Feature::CreateEnvironment, SYSTEM)
        .without(Feature::DiskLimit, "a disk is a volume, and as large as that is")
        .without(
            Feature::LiveLimits,
            "whether KubeVirt changes a running machine is a setting of its own, which its API does not tell",
        )
        .without(Feature::SnapshotMemory, "KubeVirt snapshots disks, no memory")
        .without(Operation::CloneInstance, CLONE)
        .without(Feature::CloneWhileRunning, CLONE);
    for operation in [Operation::ExecuteCommand, Operation::OpenCommand] {
        capabilities = capabilities.without(operation, EXEC);
    }
    for feature in [
        Feature::CommandWithoutAgent,
        Feature::CommandInput,
        Feature::CommandTerminal,
        Feature::CommandResize,
        Feature::CommandEnvironment,
        Feature::CommandWorkingDirectory,
        Feature::CommandUser,
    ] {
        capabilities = capabilities.without(feature, EXEC);
    }
    if !found.machine_snapshots {
        for operation in [
            Operation::CreateSnapshot,
            Operation::ListSnapshots,
            Operation::RestoreSnapshot,
            Operation::DeleteSnapshot,
        ] {
            capabilities = capabilities.without(operation, SNAPSHOTS);
        }
        capabilities = capabilities.without(Feature::SnapshotWhileRunning, SNAPSHOTS);
    }
    capabilities
}

fn of_pods(config: &K8sConfig, found: Discovered) -> Capabilities {
    const NO_RESTORE: &str =
        "a claim cannot be brought back to a snapshot; make a volume of it with the option `snapshot`";
    const NO_CLONE: &str = "Kubernetes copies no workload; create one with the same configuration";
    const NO_SNAPSHOTS: &str = "the cluster does not have the API group snapshot.storage.k8s.io/v1, by which CSI drivers snapshot volumes";
    const EXEC: &str =
        "the cluster's API runs an argument vector and nothing else; put `env` or `sh` before it";
    let mut capabilities = of_any()
        .without(Operation::PauseInstance, "Kubernetes cannot freeze a pod")
        .without(Operation::ResumeInstance, "Kubernetes cannot freeze a pod")
        .without(
            Feature::GracefulStop,
            "Kubernetes always kills a pod when its grace period is over; use `GracefulThenForce`",
        )
        .without(
            Feature::DiskLimit,
            "Kubernetes does not bound a pod's disk: it evicts the pod that uses too much",
        )
        .without(Feature::CloudInit, "a pod has no first boot: put it into the image or the command")
        .without(Feature::CommandEnvironment, EXEC)
        .without(Feature::CommandWorkingDirectory, EXEC)
        .without(Feature::CommandUser, EXEC)
        .without(Feature::SnapshotMemory, "Kubernetes snapshots volumes, no memory")
        .without(Operation::RestoreSnapshot, NO_RESTORE)
        .without(Operation::CloneInstance, NO_CLONE)
        .without(Feature::CloneWhileRunning, NO_CLONE);
    if !found.snapshots {
        for operation in [Operation::CreateSnapshot, Operation::ListSnapshots, Operation::DeleteSnapshot] {
            capabilities = capabilities.without(operation, NO_SNAPSHOTS);
        }
        capabilities = capabilities.without(Feature::SnapshotWhileRunning, NO_SNAPSHOTS);
    }
    if !found.end_of_input {
        capabilities = capabilities.without(
            Feature::CommandInput,
            "a server older than Kubernetes 1.30 cannot end a command's input without ending the connection",
        );
    }
    if !found.resize {
        capabilities = capabilities.without(
            Feature::LiveLimits,
            "a cluster older than Kubernetes 1.33 cannot change the bounds of a pod",
        );
    }
    match config.workload {
        Workload::Pod => {
            const POD: &str = "a bare pod runs from its creation to its end; use the workload `stateful`";
            capabilities = capabilities.without(Feature::CreateStopped, POD);
            for operation in [Operation::StopInstance, Operation::RestartInstance] {
                capabilities = capabilities.without(operation, POD);
            }
            if !found.resize {
                capabilities = capabilities.without(Operation::SetResourceLimits, POD);
            }
        }
        Workload::Deployment | Workload::Stateful | Workload::VirtualMachine => {}
    }
    capabilities
}

impl K8sSubstrate {
    pub(super) async fn discover(&self) -> Result<()> {
        let version: Version = self.client.get("ask for the version", &Target::new("/version")).await?;
        let namespace = self.client.namespace().await?;
        // Whether the namespace can be read, and the credentials are good: the version is told to anybody.
        let target = self.resource().all(namespace).with("limit", "1");
        let look: Result<serde_json::Value> = self.client.get("look into the namespace", &target).await;
        if look.as_ref().is_err_and(substrate_core::Error::is_not_found) {
            self.require_kubevirt().await?;
        }
        look?;
        // Not the aggregated form of discovery, which older servers answer with nothing.
        let groups: Groups = self.client.get("ask for the API groups", &Target::new("/apis")).await?;
        let metrics = groups.groups.iter().any(|group| group.name == "metrics.k8s.io");
        let resize = version.is_at_least(RESIZE_SINCE);
        let end_of_input =
            self.config.end_of_input.unwrap_or_else(|| version.is_at_least(END_OF_INPUT_SINCE));
        let has = |resource: Resource| {
            let (group, version) = resource.group().split_once('/').unwrap_or_default();
            let mut found = groups.groups.iter().filter(|one| one.name == group);
            found.any(|one| one.versions.iter().any(|one| one.version == version))
        };
        let found = Discovered {
            metrics,
            resize,
            end_of_input,
            snapshots: has(Resource::Snapshots),
            machines: has(Resource::Machines),
            machine_snapshots: has(Resource::MachineSnapshots),
        };
        *self.discovered.write().unwrap_or_else(PoisonError::into_inner) = found;
        let mut descriptor = (*self.descriptor.get()).clone();
        descriptor.capabilities = capabilities(&self.config, found);
        self.descriptor.set(descriptor);
        Ok(())
    }

    pub(super) async fn health(&self) -> Result<HealthReport> {
        let begin = Instant::now();
        let version: Version = self.client.get("ask for the version", &Target::new("/version")).await?;
        let mut report = HealthReport::healthy(begin.elapsed()).with_version(version.git_version.clone());
        if let Err(error) = self.client.text("ask whether the server is ready", &Target::new("/readyz")).await
        {
            report = report.with_issue(
                HealthStatus::Unhealthy,
                format!("the API server is not ready: {}", error.message()),
            );
        }
        if !self.client.is_verified().await? {
            report = report.with_issue(
                HealthStatus::Degraded,
                "the server's certificate is not checked (insecure-skip-tls-verify): anybody in between can read all",
            );
        }
        report = self.nodes(report).await?;
        report = self.quotas(report).await?;
        let instances = match self.list(&substrate_core::InstanceFilter::all()).await {
            Err(error) if error.is_unsupported() => {
                return Ok(report.with_issue(HealthStatus::Unhealthy, error.message()));
            }
            instances => instances?,
        };
        let running =
            instances.iter().filter(|one| one.state == substrate_core::InstanceState::Running).count();
        report.capacity.instances = u64::try_from(instances.len()).ok();
        report.capacity.instances_running = u64::try_from(running).ok();
        let namespace = self.client.namespace().await?.to_owned();
        Ok(report.with_property("namespace", namespace))
    }

    /// Nodes are the cluster's: many a user of a namespace may not look at them, which is no illness.
    async fn nodes(&self, mut report: HealthReport) -> Result<HealthReport> {
        let nodes = match self.client.list::<Node>("list the nodes", &Target::new("/api/v1/nodes")).await {
            Ok(listing) => listing.items,
            Err(error) if error.is_permission_denied() => {
                return Ok(report.with_property("nodes", "not permitted"));
            }
            Err(error) => return Err(error),
        };
        let (mut cores, mut memory) = (0.0, 0);
        let mut usable = 0;
        for node in &nodes {
            let ready = node.status.conditions.iter().any(|one| one.kind == "Ready" && one.status == "True");
            let name = &node.metadata.name;
            if !ready {
                report = report.with_issue(HealthStatus::Degraded, format!("the node {name} is not ready"));
                continue;
            }
            for condition in node
                .status
                .conditions
                .iter()
                .filter(|one| one.kind.ends_with("Pressure") && one.status == "True")
            {
                report = report.with_issue(
                    HealthStatus::Degraded,
                    format!("the node {name} reports {}", condition.kind),
                );
            }
            if !node.spec.unschedulable {
                usable += 1;
            }
            let get = |key: &str| node.status.allocatable.get(key);
            cores += get("cpu").and_then(|text| quantity::parse(text)).unwrap_or_default();
            memory += get("memory").and_then(|text| quantity::to_mebibytes(text)).unwrap_or_default();
        }
        if usable == 0 {
            report = report.with_issue(HealthStatus::Unhealthy, "no node takes pods");
        }
        report.capacity.cpu_cores = Some(cores);
        report.capacity.memory_mb = Some(memory);
        Ok(report.with_property("nodes", nodes.len()))
    }

    /// What the namespace may have and has.
    async fn quotas(&self, mut report: HealthReport) -> Result<HealthReport> {
        let namespace = self.client.namespace().await?;
        let target = Resource::Quotas.all(namespace);
        let quotas = match self.client.list::<Quota>("list the quotas", &target).await {
            Ok(listing) => listing.items,
            Err(error) if error.is_permission_denied() => return Ok(report),
            Err(error) => return Err(error),
        };
        for quota in &quotas {
            for (what, hard) in &quota.status.hard {
                let used = quota.status.used.get(what).and_then(|text| quantity::parse(text));
                if let (Some(used), Some(most)) = (used, quantity::parse(hard))
                    && used >= most
                {
                    let issue = format!("the quota {} is used up: {what} {hard}", quota.metadata.name);
                    report = report.with_issue(HealthStatus::Degraded, issue);
                }
            }
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_clusters_write_them() {
        let version = |major: &str, minor: &str| Version {
            git_version: String::new(),
            major: major.to_owned(),
            minor: minor.to_owned(),
        };
        assert!(version("1", "30").is_at_least(30) && version("1", "31+").is_at_least(30));
        assert!(version("2", "0").is_at_least(30));
        assert!(!version("1", "20").is_at_least(30) && !version("1", "").is_at_least(30));
    }

    #[test]
    fn what_a_cluster_cannot_do_has_a_reason() {
        let old = capabilities(&K8sConfig::default(), Discovered::default());
        assert!(
            !old.can(Feature::CommandInput)
                && !old.can(Feature::LiveLimits)
                && old.can(Operation::StopInstance)
        );
        assert!(!old.can(Operation::CreateSnapshot) && !old.can(Feature::SnapshotWhileRunning));
        let pod = at_best(&K8sConfig::default().with_workload(Workload::Pod));
        assert!(!pod.can(Operation::StopInstance) && !pod.can(Feature::CreateStopped));
        assert!(!at_best(&K8sConfig::default()).can(Feature::GracefulStop));
        let machine = at_best(&K8sConfig::default().with_workload(Workload::VirtualMachine));
        assert!(machine.can(Operation::PauseInstance) && machine.can(Operation::RestoreSnapshot));
        assert!(machine.can(Feature::CloudInit) && !machine.can(Operation::OpenCommand));
    }
}

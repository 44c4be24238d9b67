//! Connecting, discovering, health.

use serde::Deserialize;
use serde_json::Value;
use substrate_core::{
    Capabilities, Capacity, Descriptor, Error, Feature, HealthReport, HealthStatus, InstanceFilter,
    InstanceState, Operation, Result,
};
use tokio::time::Instant;

use super::{PROVIDER_TYPE, ProxmoxSubstrate};
use crate::client::{Form, path};
use crate::convert::guest::GuestKind;
use crate::convert::text::{Fields, is_set, number, text};

#[derive(Debug, Deserialize)]
struct Version {
    #[serde(default)]
    version: String,
    #[serde(default)]
    release: String,
}

const NO_SNIPPETS: &str = "the API cannot write snippets: the option `cloud_init` sets the user, keys and addresses, or \
     names snippets that are there";
const NO_MOUNTS: &str = "a machine has no mount points: the option `disks` puts volumes in as disks";
const AGENT_RUNS_ARGV: &str = "the guest agent takes a program and its arguments, nothing else";
const AGENT_TAKES_LITTLE: &str =
    "the guest agent takes at most 64 KiB of input, and none while a command runs";
const NO_COMMANDS: &str = "the API has no call that runs a command in a container";
const FROZEN_WITH_CRIU: &str =
    "freezing a container needs CRIU, which Proxmox VE calls experimental and does not install";
const ONE_STREAM: &str = "a console is one stream; only the log of the guest's tasks is kept";

/// What Proxmox VE can do at best with the guests that this substrate is about.
pub(super) fn at_best(kinds: &[GuestKind]) -> Capabilities {
    let capabilities = Capabilities::all()
        .without(Feature::CreateCommand, "a guest runs what its own init starts")
        .without(Feature::CreateEnvironment, "a guest has no environment but its own")
        .without(Feature::CreatePorts, "guests have addresses of their own; nothing is forwarded")
        .without(Feature::CloudInit, NO_SNIPPETS)
        .without(Feature::CommandWithoutAgent, "commands run through the guest agent")
        .without(Feature::CommandInput, AGENT_TAKES_LITTLE)
        .without(Feature::CommandTerminal, AGENT_RUNS_ARGV)
        .without(Feature::CommandResize, AGENT_RUNS_ARGV)
        .without(Feature::CommandEnvironment, AGENT_RUNS_ARGV)
        .without(Feature::CommandWorkingDirectory, AGENT_RUNS_ARGV)
        .without(Feature::CommandUser, AGENT_RUNS_ARGV)
        .without(Feature::LogStreamsApart, ONE_STREAM)
        .without(Feature::NativeEvents, "the API has no event stream: the nodes' task lists are polled")
        .without(Feature::WatchResume, "the API has no event stream, so there is no place in one");
    if kinds.contains(&GuestKind::Qemu) {
        return capabilities
            .without(Feature::CreateVolumes, NO_MOUNTS)
            .without(Feature::LiveLimits, "a running machine gets new bounds at its next start only");
    }
    capabilities
        .without(Operation::ExecuteCommand, NO_COMMANDS)
        .without(Operation::OpenCommand, NO_COMMANDS)
        .without(Operation::PauseInstance, FROZEN_WITH_CRIU)
        .without(Operation::ResumeInstance, FROZEN_WITH_CRIU)
        .without(Feature::SnapshotMemory, "snapshots of containers hold no memory")
        .without(Feature::CloneWhileRunning, "a running container cannot be copied, only a snapshot of it")
}

impl ProxmoxSubstrate {
    /// Logs in, and finds out what is there.
    pub(super) async fn discover(&self) -> Result<()> {
        let version = self.version().await?;
        let major: u32 =
            version.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default();
        if major < 8 {
            return Err(Error::unsupported(format!(
                "the server is Proxmox VE {}; this needs 8 or later",
                version.version
            )));
        }
        let name = self.descriptor.get().name.clone();
        let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.instance_kind()).collect();
        self.descriptor.set(Descriptor::new(PROVIDER_TYPE, name, kinds, at_best(&self.kinds)));
        Ok(())
    }

    async fn version(&self) -> Result<Version> {
        self.client.get("ask for the version", &path(&["version"]), Form::new()).await
    }

    pub(super) async fn health(&self) -> Result<HealthReport> {
        let start = Instant::now();
        let version = self.version().await?;
        let mut report = HealthReport::healthy(start.elapsed())
            .with_version(&version.version)
            .with_property("release", version.release);
        let members: Vec<Fields> =
            self.client.get("ask for the cluster", &path(&["cluster", "status"]), Form::new()).await?;
        for member in &members {
            let name = text(member, "name").unwrap_or_default();
            match text(member, "type").as_deref() {
                Some("cluster") => {
                    report = report.with_property("cluster", name);
                    if !is_set(member, "quorate") {
                        report = report.with_issue(
                            HealthStatus::Unhealthy,
                            "the cluster has no quorum: nothing can be changed",
                        );
                    }
                }
                Some("node") if !is_set(member, "online") => {
                    report = report.with_issue(HealthStatus::Degraded, format!("the node {name} is offline"));
                }
                _ => {}
            }
        }
        let resources: Vec<Fields> =
            self.client.get("ask for the resources", &path(&["cluster", "resources"]), Form::new()).await?;
        report.capacity = capacity(&resources);
        for storage in resources.iter().filter(|one| is(one, "storage")) {
            if text(storage, "status").is_some_and(|status| status != "available") {
                let (name, node) = (text(storage, "storage"), text(storage, "node"));
                report = report.with_issue(
                    HealthStatus::Degraded,
                    format!(
                        "the storage {} on {} is not available",
                        name.unwrap_or_default(),
                        node.unwrap_or_default()
                    ),
                );
            }
        }
        let nodes: Vec<Value> = members
            .iter()
            .filter(|member| is(member, "node"))
            .filter_map(|member| text(member, "name").map(Value::from))
            .collect();
        report = report.with_property("nodes", nodes);
        // Counted as they are listed: the cluster's own figures are seconds old.
        let instances = self.list(&InstanceFilter::all()).await?;
        report.capacity.instances = u64::try_from(instances.len()).ok();
        let running = instances.iter().filter(|instance| instance.state == InstanceState::Running).count();
        report.capacity.instances_running = u64::try_from(running).ok();
        if !self.config.verify_ssl && self.config.fingerprint.is_empty() {
            report = report.with_issue(
                HealthStatus::Degraded,
                "the hosts' certificates are not checked (`verify_ssl: false`): anybody in between can read and change everything",
            );
        }
        Ok(report)
    }
}

fn is(resource: &Fields, kind: &str) -> bool {
    text(resource, "type").as_deref() == Some(kind)
}

pub(super) fn capacity(resources: &[Fields]) -> Capacity {
    let sum = |kind: &str, key: &str| {
        resources.iter().filter(|one| is(one, kind)).filter_map(|one| number(one, key)).reduce(|a, b| a + b)
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, and `as` saturates")]
    let mebibytes = |bytes: f64| (bytes / 1_048_576.0) as u64;
    let gibibytes = |bytes: f64| bytes / 1_073_741_824.0;
    // A shared storage is listed once per node, and is one.
    let mut seen = std::collections::HashSet::new();
    let storages: Vec<&Fields> = resources
        .iter()
        .filter(|one| is(one, "storage"))
        .filter(|one| {
            let shared = is_set(one, "shared");
            let key = (text(one, "storage"), text(one, "node").filter(|_| !shared));
            seen.insert(key)
        })
        .collect();
    let of_storages = |key: &str| storages.iter().filter_map(|one| number(one, key)).reduce(|a, b| a + b);
    Capacity {
        cpu_cores: sum("node", "maxcpu"),
        memory_mb: sum("node", "maxmem").map(mebibytes),
        memory_used_mb: sum("node", "mem").map(mebibytes),
        disk_gb: of_storages("maxdisk").map(gibibytes),
        disk_used_gb: of_storages("disk").map(gibibytes),
        ..Capacity::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_storage_counts_once() {
        let resources: Vec<Fields> = serde_json::from_value(serde_json::json!([
            {"type":"node","node":"a","maxmem":1_073_741_824_u64,"mem":0,"maxcpu":4},
            {"type":"node","node":"b","maxmem":1_073_741_824_u64,"mem":536_870_912,"maxcpu":4},
            {"type":"storage","node":"a","storage":"nfs","shared":1,"maxdisk":1_073_741_824_u64,"disk":0},
            {"type":"storage","node":"b","storage":"nfs","shared":1,"maxdisk":1_073_741_824_u64,"disk":0},
            {"type":"storage","node":"b","storage":"local","shared":0,"maxdisk":1_073_741_824_u64,"disk":0}
        ]))
        .unwrap();
        let capacity = capacity(&resources);
        assert_eq!((capacity.memory_mb, capacity.memory_used_mb), (Some(2048), Some(512)));
        assert_eq!((capacity.cpu_cores, capacity.disk_gb), (Some(8.0), Some(2.0)));
    }

    #[test]
    fn containers_can_less_and_change_their_bounds_while_they_run() {
        let machines = at_best(&[GuestKind::Qemu]);
        let containers = at_best(&[GuestKind::Lxc]);
        assert!(machines.can(Operation::ExecuteCommand) && !containers.can(Operation::ExecuteCommand));
        assert!(!machines.can(Feature::LiveLimits) && containers.can(Feature::LiveLimits));
    }
}

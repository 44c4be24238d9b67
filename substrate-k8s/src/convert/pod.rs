//! Pods; and the machine instances of KubeVirt, which are to a machine what a pod is to its workload, and look alike.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::Deserialize;

use super::meta::Meta;
use super::time;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: Meta,
    pub(crate) spec: PodSpec,
    pub(crate) status: PodStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpec {
    pub(crate) containers: Vec<Container>,
    pub(crate) init_containers: Vec<Container>,
    pub(crate) volumes: Vec<PodVolume>,
    /// Of a machine.
    pub(crate) domain: Option<Domain>,
    pub(crate) node_name: Option<String>,
    pub(crate) termination_grace_period_seconds: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: Option<String>,
    pub(crate) resources: Resources,
    pub(crate) ports: Vec<ContainerPort>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerPort {
    pub(crate) container_port: u16,
    pub(crate) host_port: Option<u16>,
    pub(crate) protocol: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    pub(crate) limits: BTreeMap<String, String>,
    pub(crate) requests: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodVolume {
    pub(crate) name: String,
    pub(crate) persistent_volume_claim: Option<ClaimSource>,
    /// Of a machine.
    pub(crate) container_disk: Option<ContainerDisk>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerDisk {
    pub(crate) image: String,
}

/// A machine's hardware.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Domain {
    pub(crate) cpu: Cpu,
    pub(crate) memory: Memory,
    pub(crate) resources: Resources,
    pub(crate) devices: Devices,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Cpu {
    pub(crate) cores: Option<u32>,
    pub(crate) sockets: Option<u32>,
    pub(crate) threads: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    pub(crate) guest: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Devices {
    pub(crate) interfaces: Vec<Interface>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Interface {
    pub(crate) ports: Vec<InterfacePort>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct InterfacePort {
    pub(crate) port: u16,
    pub(crate) protocol: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClaimSource {
    pub(crate) claim_name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodStatus {
    pub(crate) phase: String,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) container_statuses: Vec<ContainerStatus>,
    pub(crate) init_container_statuses: Vec<ContainerStatus>,
    #[serde(rename = "podIPs")]
    pub(crate) pod_ips: Vec<PodIp>,
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: Option<IpAddr>,
    /// Of a machine instance, as the next two: a pod's node stands in its `spec`.
    pub(crate) node_name: Option<String>,
    pub(crate) interfaces: Vec<InterfaceStatus>,
    pub(crate) phase_transition_timestamps: Vec<Transition>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct InterfaceStatus {
    /// What the guest says of itself: it need not be an address.
    #[serde(rename = "ipAddress")]
    pub(crate) ip_address: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Transition {
    pub(crate) phase: String,
    pub(crate) phase_transition_timestamp: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct PodIp {
    pub(crate) ip: IpAddr,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    pub(crate) name: String,
    pub(crate) ready: bool,
    pub(crate) restart_count: u32,
    pub(crate) state: ContainerState,
    pub(crate) last_state: ContainerState,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerState {
    pub(crate) running: Option<RunningState>,
    pub(crate) waiting: Option<WaitingState>,
    pub(crate) terminated: Option<TerminatedState>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RunningState {
    pub(crate) started_at: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct WaitingState {
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TerminatedState {
    pub(crate) exit_code: i32,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) finished_at: Option<String>,
}

/// The container of a machine's pod that writes what the guest writes to its serial console.
pub(crate) const CONSOLE: &str = "guest-console-log";

/// The annotation by which a pod says which of its containers is meant when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

impl Pod {
    /// The container that commands run in and whose log is read.
    pub(crate) fn main_container(&self) -> Option<&str> {
        let named = self.metadata.annotations.get(DEFAULT_CONTAINER);
        let known = |name: &&String| self.spec.containers.iter().any(|container| container.name == **name);
        named.filter(known).map(String::as_str).or_else(|| Some(self.spec.containers.first()?.name.as_str()))
    }

    /// The container whose log is the instance's: of a machine's pod its console.
    pub(crate) fn log_container(&self) -> Option<&str> {
        if self.has_console() { Some(CONSOLE) } else { self.main_container() }
    }

    /// Newer versions of KubeVirt start it before everything else, so that nothing is missed.
    pub(crate) fn has_console(&self) -> bool {
        let mut containers = self.spec.containers.iter().chain(&self.spec.init_containers);
        containers.any(|container| container.name == CONSOLE)
    }

    pub(crate) fn log_status(&self) -> Option<&ContainerStatus> {
        let name = self.log_container()?;
        let mut all = self.status.container_statuses.iter().chain(&self.status.init_container_statuses);
        all.find(|status| status.name == name)
    }

    pub(crate) fn main_status(&self) -> Option<&ContainerStatus> {
        let main = self.main_container()?;
        self.status.container_statuses.iter().find(|status| status.name == main)
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// When the last of its containers started.
    pub(crate) fn started_at(&self) -> Option<SystemTime> {
        let starts = self.status.container_statuses.iter().filter_map(|status| status.state.running.as_ref());
        let starts = starts.filter_map(|running| running.started_at.as_deref().and_then(time::parse));
        starts.chain(self.transitions(&["Running"])).max()
    }

    /// When the last of its containers ended.
    pub(crate) fn finished_at(&self) -> Option<SystemTime> {
        let ends =
            self.status.container_statuses.iter().filter_map(|status| status.state.terminated.as_ref());
        let ends = ends.filter_map(|ended| ended.finished_at.as_deref().and_then(time::parse));
        ends.chain(self.transitions(&["Succeeded", "Failed"])).max()
    }

    /// When a machine instance came to a phase.
    fn transitions(&self, phases: &'static [&str]) -> impl Iterator<Item = SystemTime> {
        let all = self.status.phase_transition_timestamps.iter();
        all.filter(|entry| phases.contains(&entry.phase.as_str()))
            .filter_map(|entry| time::parse(&entry.phase_transition_timestamp))
    }

    pub(crate) fn node(&self) -> Option<&str> {
        self.spec.node_name.as_deref().or(self.status.node_name.as_deref())
    }

    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.status.pod_ips.iter().map(|entry| entry.ip).collect();
        if let Some(first) = self.status.pod_ip.filter(|first| !addresses.contains(first)) {
            addresses.insert(0, first);
        }
        let of_machine =
            self.status.interfaces.iter().filter_map(|one| one.ip_address.as_deref()?.parse::<IpAddr>().ok());
        addresses.extend(of_machine);
        addresses
    }

    pub(crate) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }
}

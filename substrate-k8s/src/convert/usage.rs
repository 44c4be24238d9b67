//! What a pod uses: from the metrics API, or from its node's own summary.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::quantity;
use super::time;

/// A pod in the metrics API.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodMetrics {
    containers: Option<Vec<ContainerMetrics>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerMetrics {
    usage: ContainerUsage,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerUsage {
    cpu: Option<String>,
    memory: Option<String>,
}

/// What was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) memory_mb: Option<f64>,
    pub(crate) network: Option<Transferred>,
}

/// Bytes on the network so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Transferred {
    pub(crate) at: SystemTime,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

const MIB: f64 = 1024.0 * 1024.0;

impl PodMetrics {
    /// A pod that is too young has no containers here: nothing is measured.
    pub(crate) fn measured(&self) -> Measured {
        let containers = self.containers.as_deref().unwrap_or_default();
        let sum = |get: fn(&ContainerUsage) -> Option<&String>| {
            let values: Vec<f64> = containers
                .iter()
                .filter_map(|container| get(&container.usage))
                .filter_map(|text| quantity::parse(text))
                .collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>())
        };
        Measured {
            cpu_percent: sum(|usage| usage.cpu.as_ref()).map(|cores| cores * 100.0),
            memory_mb: sum(|usage| usage.memory.as_ref()).map(|bytes| bytes / MIB),
            network: None,
        }
    }
}

/// A node's summary.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Summary {
    pods: Option<Vec<PodSummary>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSummary {
    pod_ref: PodReference,
    containers: Option<Vec<ContainerSummary>>,
    network: Option<NetworkSummary>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodReference {
    uid: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerSummary {
    cpu: Option<CpuSummary>,
    memory: Option<MemorySummary>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CpuSummary {
    usage_nano_cores: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MemorySummary {
    working_set_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NetworkSummary {
    time: Option<String>,
    rx_bytes: Option<u64>,
    tx_bytes: Option<u64>,
}

impl Summary {
    /// What the node says of the pod with this id; `None` when it does not know it yet.
    #[allow(clippy::cast_precision_loss, reason = "a measurement needs no more than 52 bits")]
    pub(crate) fn measured(&self, uid: &str) -> Option<Measured> {
        let pod = self.pods.as_deref()?.iter().find(|pod| pod.pod_ref.uid == uid)?;
        // In its first seconds a pod has no containers here, or those have no measurements.
        let containers = pod.containers.as_deref().unwrap_or_default();
        let sum = |get: &dyn Fn(&ContainerSummary) -> Option<u64>| {
            let values: Vec<u64> = containers.iter().filter_map(get).collect();
            (!values.is_empty()).then(|| values.iter().sum::<u64>() as f64)
        };
        let network = pod.network.as_ref().and_then(|network| {
            let at = network.time.as_deref().and_then(time::parse)?;
            Some(Transferred { at, received: network.rx_bytes?, sent: network.tx_bytes? })
        });
        Some(Measured {
            cpu_percent: sum(&|container| container.cpu.as_ref()?.usage_nano_cores).map(|nano| nano / 1e7),
            memory_mb: sum(&|container| container.memory.as_ref()?.working_set_bytes)
                .map(|bytes| bytes / MIB),
            network,
        })
    }
}

/// How long after `start` a reading is; nothing when a clock went back.
pub(crate) fn since(start: SystemTime, at: SystemTime) -> Duration {
    at.duration_since(start).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_api_is_read_and_an_empty_answer_is_not_measured() {
        let pod: PodMetrics = serde_json::from_str(
            r#"{"containers":[{"name":"a","usage":{"cpu":"500000000n","memory":"2048Ki"}},{"usage":{"cpu":"250m"}}]}"#,
        )
        .unwrap();
        let measured = pod.measured();
        assert_eq!((measured.cpu_percent, measured.memory_mb), (Some(75.0), Some(2.0)));
        let young: PodMetrics = serde_json::from_str(r#"{"containers":null}"#).unwrap();
        assert_eq!(young.measured(), Measured::default());
    }

    #[test]
    fn a_nodes_summary_is_read_and_what_it_does_not_say_is_not_measured() {
        let summary: Summary = serde_json::from_str(
            r#"{"pods":[{"podRef":{"name":"a","uid":"u1"},"containers":null},
                {"podRef":{"uid":"u2"},"network":{"time":"2026-11-21T10:00:00Z","rxBytes":5,"txBytes":6},
                 "containers":[{"cpu":{"usageNanoCores":1000000000},"memory":{"workingSetBytes":1048576}}]}]}"#,
        )
        .unwrap();
        assert_eq!(summary.measured("u1"), Some(Measured::default()));
        assert_eq!(summary.measured("u3"), None);
        let measured = summary.measured("u2").unwrap();
        assert_eq!((measured.cpu_percent, measured.memory_mb), (Some(100.0), Some(1.0)));
        assert_eq!(measured.network.unwrap().received, 5);
    }
}

//! Resource usage: from a container's statistics, for cgroup v1 and v2, Docker and Podman.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use substrate_core::ResourceUsage;

use super::time;

/// `/containers/{id}/stats`, as far as it is used.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Statistics {
    #[serde(default)]
    read: Option<String>,
    #[serde(default)]
    cpu_stats: Cpu,
    #[serde(default)]
    precpu_stats: Cpu,
    #[serde(default)]
    memory_stats: Memory,
    #[serde(default)]
    networks: Option<BTreeMap<String, Interface>>,
}

#[derive(Debug, Default, Deserialize)]
struct Cpu {
    #[serde(default)]
    cpu_usage: CpuUsage,
    #[serde(default)]
    system_cpu_usage: Option<u64>,
    #[serde(default)]
    online_cpus: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct CpuUsage {
    #[serde(default)]
    total_usage: u64,
    /// Absent on cgroup v2 and on Podman.
    #[serde(default)]
    percpu_usage: Option<Vec<u64>>,
}

#[derive(Debug, Default, Deserialize)]
struct Memory {
    #[serde(default)]
    usage: Option<u64>,
    #[serde(default)]
    stats: Option<BTreeMap<String, u64>>,
}

#[derive(Debug, Default, Deserialize)]
struct Interface {
    #[serde(default)]
    rx_bytes: u64,
    #[serde(default)]
    tx_bytes: u64,
}

/// Counters and gauges of one reading. `None` = not measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// When the daemon read them, on its clock.
    pub(crate) at: Option<SystemTime>,
    pub(crate) cpu_nanoseconds: Option<u64>,
    /// From the daemon's own earlier sample, where it took one.
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) received_bytes: Option<u64>,
    pub(crate) sent_bytes: Option<u64>,
}

impl Statistics {
    pub(crate) fn reading(&self) -> Reading {
        let memory_bytes = self.memory_stats.working_set();
        let cpu = self.cpu_stats.cpu_usage.total_usage;
        // Nothing has used no processor and no memory at all: the control groups could not be read.
        let measured = cpu > 0 || memory_bytes.is_some();
        let total = |pick: fn(&Interface) -> u64| {
            let networks = self.networks.as_ref()?;
            Some(networks.values().fold(0_u64, |sum, interface| sum.saturating_add(pick(interface))))
        };
        Reading {
            at: self.read.as_deref().and_then(time::parse),
            cpu_nanoseconds: measured.then_some(cpu),
            cpu_percent: self.cpu_percent(),
            memory_bytes,
            received_bytes: total(|interface| interface.rx_bytes),
            sent_bytes: total(|interface| interface.tx_bytes),
        }
    }

    /// (Δ container / Δ machine) × processors × 100, where both differences are real: the earlier sample is
    /// all zero in a first and in a one-shot reading, and counters go back when a container restarts.
    fn cpu_percent(&self) -> Option<f64> {
        let (now, before) = (&self.cpu_stats, &self.precpu_stats);
        let system =
            now.system_cpu_usage?.checked_sub(before.system_cpu_usage.filter(|usage| *usage > 0)?)?;
        let container = now.cpu_usage.total_usage.checked_sub(before.cpu_usage.total_usage)?;
        let processors = now
            .online_cpus
            .filter(|count| *count > 0)
            .or_else(|| u64::try_from(now.cpu_usage.percpu_usage.as_ref()?.len()).ok())
            .filter(|count| *count > 0)?;
        #[allow(clippy::cast_precision_loss, reason = "a percentage needs no more than 52 bits")]
        (system > 0).then(|| container as f64 / system as f64 * processors as f64 * 100.0)
    }
}

impl Memory {
    /// Usage without the file cache that the kernel can drop at once. cgroup v1 calls it
    /// `total_inactive_file`, v2 `inactive_file`.
    fn working_set(&self) -> Option<u64> {
        let usage = self.usage.filter(|usage| *usage > 0)?;
        let stats = self.stats.as_ref();
        let cache = stats
            .and_then(|stats| stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")))
            .copied()
            .unwrap_or(0);
        // A cache larger than the usage is a reading between two moments.
        Some(if cache < usage { usage - cache } else { usage })
    }
}

impl Reading {
    /// What can be said from this reading alone.
    #[allow(clippy::cast_precision_loss, reason = "MiB need no more than 52 bits")]
    pub(crate) fn usage(&self) -> ResourceUsage {
        ResourceUsage {
            cpu_percent: self.cpu_percent,
            memory_mb: self.memory_bytes.map(|bytes| bytes as f64 / 1_048_576.0),
            ..ResourceUsage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(json: &str) -> Reading {
        serde_json::from_str::<Statistics>(json).unwrap().reading()
    }

    const V1: &str = r#"{"read":"2026-11-21T04:13:03.806612134Z","preread":"2026-11-21T04:13:02.8Z",
        "cpu_stats":{"cpu_usage":{"total_usage":2000000000,"percpu_usage":[1500000000,500000000]},
        "system_cpu_usage":104000000000,"online_cpus":2},
        "precpu_stats":{"cpu_usage":{"total_usage":1000000000},"system_cpu_usage":100000000000,"online_cpus":2},
        "memory_stats":{"usage":3145728,"max_usage":4083712,"limit":67108864,
            "stats":{"inactive_file":4096,"total_inactive_file":1048576,"cache":2097152}},
        "networks":{"eth0":{"rx_bytes":600,"tx_bytes":10},"eth1":{"rx_bytes":26,"tx_bytes":0}}}"#;

    #[test]
    fn cgroup_v1() {
        let reading = reading(V1);
        assert_eq!(reading.cpu_percent, Some(50.0));
        assert_eq!(reading.memory_bytes, Some(2_097_152), "usage without the inactive file cache");
        assert_eq!((reading.received_bytes, reading.sent_bytes), (Some(626), Some(10)));
        assert_eq!(reading.usage().memory_mb, Some(2.0));
    }

    #[test]
    fn cgroup_v2_has_no_counts_per_processor_and_other_names() {
        let reading = reading(
            r#"{"read":"2026-11-21T04:13:03Z","cpu_stats":{"cpu_usage":{"total_usage":300,"usage_in_usermode":1},
            "system_cpu_usage":2000,"online_cpus":4},"precpu_stats":{"cpu_usage":{"total_usage":200},"system_cpu_usage":1000},
            "memory_stats":{"usage":1000,"stats":{"anon":100,"file":500,"inactive_file":400},"limit":5}}"#,
        );
        assert_eq!(reading.cpu_percent, Some(40.0));
        assert_eq!(reading.memory_bytes, Some(600));
        assert_eq!(reading.received_bytes, None, "host network: not measured, not zero");
    }

    #[test]
    fn both_generations_say_the_same_of_the_same_load() {
        let v2 = V1
            .replace(r#""percpu_usage":[1500000000,500000000]"#, r#""usage_in_usermode":0"#)
            .replace(r#""inactive_file":4096,"total_inactive_file""#, r#""anon":7,"inactive_file""#);
        assert_eq!(reading(&v2).usage(), reading(V1).usage());
    }

    #[test]
    fn a_first_or_one_shot_sample_has_no_percentage() {
        let reading = reading(
            r#"{"cpu_stats":{"cpu_usage":{"total_usage":5},"system_cpu_usage":9,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":0}},"memory_stats":{}}"#,
        );
        assert_eq!(reading.cpu_percent, None);
        assert_eq!(reading.cpu_nanoseconds, Some(5));
    }

    #[test]
    fn a_restart_gives_neither_a_spike_nor_a_negative() {
        let counters = |now: u64, before: u64| {
            reading(&format!(
                r#"{{"cpu_stats":{{"cpu_usage":{{"total_usage":{now}}},"system_cpu_usage":20,"online_cpus":1}},
                "precpu_stats":{{"cpu_usage":{{"total_usage":{before}}},"system_cpu_usage":10}}}}"#
            ))
            .cpu_percent
        };
        assert_eq!(counters(5, 90), None);
        assert_eq!(counters(10, 5), Some(50.0));
    }

    #[test]
    fn all_zeros_are_not_measured_and_not_idle() {
        let reading = reading(
            r#"{"read":"2026-11-21T04:13:03Z","cpu_stats":{"cpu_usage":{"total_usage":0}},
            "precpu_stats":{"cpu_usage":{"total_usage":0}},"memory_stats":{"usage":0,"stats":{}}}"#,
        );
        assert_eq!(reading.usage(), ResourceUsage::default());
        assert_eq!(reading.cpu_nanoseconds, None);
    }

    #[test]
    fn podman_s_form_is_read() {
        let reading = reading(
            r#"{"read":"2026-11-21T04:13:03.1+01:00","cpu_stats":{"cpu_usage":{"total_usage":70},"system_cpu_usage":700,
            "online_cpus":1,"cpu":3.5},"precpu_stats":{"cpu_usage":{"total_usage":0},"system_cpu_usage":0},
            "memory_stats":{"usage":2048,"max_usage":4096,"limit":9000},"networks":{"eth0":{"rx_bytes":1,"tx_bytes":2}}}"#,
        );
        assert_eq!(reading.cpu_percent, None);
        assert_eq!(reading.memory_bytes, Some(2048));
        assert!(reading.at.is_some());
    }
}

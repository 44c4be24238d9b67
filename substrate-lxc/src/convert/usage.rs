//! What an instance uses.

use std::time::Duration;

use substrate_core::{ResourceUsage, UsageCounters};
use tokio::time::Instant;

use super::instance::{Interface, StateDocument};

/// The counters of a reading that was asked for at this moment; what the server could not read is below zero there, and
/// `None` here.
pub(crate) fn counters(state: &StateDocument, asked: Instant) -> UsageCounters {
    let mut counters = UsageCounters::read_since(asked);
    // Zero is what a virtual machine without an agent shows.
    counters.cpu_time = positive(state.cpu.usage).map(Duration::from_nanos);
    if let Some(interfaces) = &state.network {
        let sum = |bytes: fn(&Interface) -> i64| {
            let outside = interfaces.values().filter(|interface| !interface.is_loopback());
            let bytes = outside.map(|interface| u64::try_from(bytes(interface)).unwrap_or(0));
            bytes.fold(0, u64::saturating_add)
        };
        counters.received_bytes = Some(sum(|interface| interface.counters.bytes_received));
        counters.sent_bytes = Some(sum(|interface| interface.counters.bytes_sent));
    }
    counters
}

/// What needs no second reading. Memory includes the page cache where the kernel counts it to the group: the
/// servers do not tell how much of it could be given back.
pub(crate) fn usage(state: &StateDocument) -> ResourceUsage {
    #[allow(clippy::cast_precision_loss, reason = "a size in MiB needs no more than 52 bits")]
    let units = |bytes: Option<u64>, size: u64| bytes.map(|bytes| bytes as f64 / size as f64);
    let root = state.disk.as_ref().and_then(|disks| disks.get("root")).map_or(0, |root| root.usage);
    ResourceUsage {
        memory_mb: units(positive(state.memory.usage), 1 << 20),
        disk_gb: units(positive(root), 1 << 30),
        ..ResourceUsage::default()
    }
}

fn positive(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(json: serde_json::Value) -> StateDocument {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn counters_at_their_ends_are_no_reason_to_panic() {
        let most = serde_json::json!({"counters": {"bytes_received": i64::MAX, "bytes_sent": i64::MIN}});
        let state = state(serde_json::json!({"network": {"a": most, "b": most, "c": most}}));
        let counters = counters(&state, Instant::now());
        assert_eq!((counters.received_bytes, counters.sent_bytes), (Some(u64::MAX), Some(0)));
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "the numbers are exact")]
    fn a_reading_becomes_numbers() {
        let state = state(serde_json::json!({
            "cpu": {"usage": 6_636_184}, "memory": {"usage": 2_097_152}, "disk": {"root": {"usage": 0}},
            "network": {
                "eth0": {"counters": {"bytes_received": 10, "bytes_sent": 20}},
                "lo": {"type": "loopback", "counters": {"bytes_received": 5, "bytes_sent": 5}}
            }
        }));
        let counters = counters(&state, Instant::now());
        assert_eq!(counters.cpu_time, Some(Duration::from_nanos(6_636_184)));
        assert_eq!((counters.received_bytes, counters.sent_bytes), (Some(10), Some(20)));
        let usage = usage(&state);
        assert_eq!((usage.memory_mb, usage.disk_gb), (Some(2.0), None));
    }

    #[test]
    fn what_a_machine_without_agent_does_not_tell_is_not_zero() {
        let state = state(serde_json::json!({"cpu": {"usage": -1}, "memory": {"usage": 0}, "network": null}));
        let counters = counters(&state, Instant::now());
        assert_eq!((counters.cpu_time, counters.received_bytes), (None, None));
        assert_eq!(usage(&state), ResourceUsage::default());
    }
}

//! What a guest uses: its state now, and the recorded averages where one look is not enough.

use substrate_core::{InstanceName, InstanceState, ResourceUsage, Result, UsageCounters};
use tokio::time::Instant;

use super::ProxmoxSubstrate;
use super::locate::guest_path;
use crate::client::Form;
use crate::convert::guest::{Guest, GuestKind};
use crate::convert::text::{Fields, integer, number};

const MEBIBYTE: f64 = 1024.0 * 1024.0;

impl ProxmoxSubstrate {
    pub(super) async fn usage(&self, name: &InstanceName) -> Result<ResourceUsage> {
        let asked = Instant::now();
        let guest = self.guest(name).await?;
        let id = guest.id();
        if !matches!(guest.state(), InstanceState::Running | InstanceState::Paused) {
            self.meter.forget(&id);
            // Nothing runs: that is known, not measured.
            return Ok(ResourceUsage { cpu_percent: Some(0.0), memory_mb: Some(0.0), ..disk(&guest) });
        }
        let counters = UsageCounters {
            received_bytes: integer(&guest.status, "netin"),
            sent_bytes: integer(&guest.status, "netout"),
            ..UsageCounters::read_since(asked)
        };
        let rates = self.meter.record(&id, counters);
        let mut usage = ResourceUsage {
            cpu_percent: cpu(&guest.status),
            memory_mb: number(&guest.status, "mem").map(|bytes| bytes / MEBIBYTE),
            network_rx_mbps: rates.network_rx_mbps,
            network_tx_mbps: rates.network_tx_mbps,
            ..disk(&guest)
        };
        if usage.network_rx_mbps.is_none() {
            self.add_recorded(&guest, &mut usage).await;
        }
        Ok(usage)
    }

    /// The first look: the last recorded minute says what the network did. Without a record it is not measured.
    async fn add_recorded(&self, guest: &Guest, usage: &mut ResourceUsage) {
        let target = guest_path(&guest.place(), &["rrddata"]);
        let query = Form::new().with("timeframe", "hour");
        let recorded: Vec<Fields> =
            self.client.get("read the guest's record", &target, query).await.unwrap_or_default();
        let Some(last) = recorded.iter().rev().find(|point| point.contains_key("netin")) else { return };
        let megabits = |key| number(last, key).map(|bytes| bytes * 8.0 / 1e6).filter(|rate| rate.is_finite());
        usage.network_rx_mbps = megabits("netin");
        usage.network_tx_mbps = megabits("netout");
    }
}

/// A fraction of all its cores, as percent of one.
fn cpu(status: &Fields) -> Option<f64> {
    Some(number(status, "cpu")? * number(status, "cpus").unwrap_or(1.0) * 100.0)
}

/// A machine's is always zero there: not measured.
fn disk(guest: &Guest) -> ResourceUsage {
    let bytes = number(&guest.status, "disk").filter(|_| guest.kind == GuestKind::Lxc);
    ResourceUsage { disk_gb: bytes.map(|bytes| bytes / MEBIBYTE / 1024.0), ..ResourceUsage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_a_fraction_of_all_its_cores() {
        let status = serde_json::json!({"cpu": 0.5, "cpus": 4});
        assert_eq!(cpu(status.as_object().unwrap()), Some(200.0));
        assert_eq!(cpu(&Fields::new()), None);
    }
}

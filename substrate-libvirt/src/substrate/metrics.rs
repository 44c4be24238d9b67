//! What a machine uses.

use std::time::Duration;

use substrate_core::provider::Wait;
use substrate_core::{InstanceName, InstanceState, ResourceUsage, Result, UsageCounters};
use tokio::time::Instant;
use virt::sys;

use super::LibvirtSubstrate;
use super::lookup::{find, state_of};
use crate::client::native::{self, Statistics};
use crate::error::Attempt;

/// What is counted, and read without asking the machine's process.
const COUNTED: u32 = sys::VIR_DOMAIN_STATS_CPU_TOTAL | sys::VIR_DOMAIN_STATS_INTERFACE;
/// What that process tells, which on a busy host takes its time.
const TOLD: u32 = sys::VIR_DOMAIN_STATS_BALLOON | sys::VIR_DOMAIN_STATS_BLOCK;
/// Between the two readings that the first look at a machine takes.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);

/// The counters among the statistics that were asked for at this moment.
fn counters(statistics: &Statistics, asked: Instant) -> UsageCounters {
    let mut counters = UsageCounters::read_since(asked);
    counters.cpu_time = statistics.number("cpu.time").map(Duration::from_nanos);
    counters.received_bytes = sum(statistics, "net", "rx.bytes");
    counters.sent_bytes = sum(statistics, "net", "tx.bytes");
    counters
}

/// A figure over all devices of a kind; not measured where there is none.
fn sum(statistics: &Statistics, kind: &str, figure: &str) -> Option<u64> {
    let count = statistics.number(&format!("{kind}.count"))?;
    let mut total: Option<u64> = None;
    for index in 0..count.min(1024) {
        if let Some(value) = statistics.number(&format!("{kind}.{index}.{figure}")) {
            total = Some(total.unwrap_or(0).saturating_add(value));
        }
    }
    total
}

/// Memory in use: what the guest's balloon driver tells, else what the hypervisor's process holds.
#[allow(clippy::cast_precision_loss, reason = "a figure for a person")]
fn memory_mb(statistics: &Statistics) -> Option<f64> {
    let number = |key| statistics.number(key);
    let told = match (number("balloon.available"), number("balloon.usable").or(number("balloon.unused"))) {
        (Some(available), Some(free)) if available > 0 => Some(available.saturating_sub(free)),
        _ => None,
    };
    told.or(number("balloon.rss")).map(|kibibytes| kibibytes as f64 / 1024.0)
}

#[allow(clippy::cast_precision_loss, reason = "a figure for a person")]
fn disk_gb(statistics: &Statistics) -> Option<f64> {
    sum(statistics, "block", "allocation").map(|bytes| bytes as f64 / f64::from(1 << 30))
}

/// One look at a run of a machine; nothing for one that does not run.
type Look = Option<(String, UsageCounters, Statistics)>;

impl LibvirtSubstrate {
    async fn read_usage(&self, name: &InstanceName) -> Result<Look> {
        let wanted = name.clone();
        self.client
            .look(move |connection| {
                let domain = find(connection, wanted.as_str())?;
                if !matches!(state_of(&domain)?, InstanceState::Running | InstanceState::Paused) {
                    return Ok(None);
                }
                // Counters begin anew with each start, and may be higher than the last ones before the next look: they
                // belong to the run, which has an id of its own.
                let uuid = domain.uuid_string().attempt("ask for the machine's UUID")?;
                let run = format!("{uuid} {}", domain.id().unwrap_or(0));
                let asked = Instant::now();
                let counted = native::statistics(&domain, COUNTED).attempt("measure the machine")?;
                let counters = counters(&counted, asked);
                let statistics = native::statistics(&domain, TOLD).attempt("measure the machine")?;
                Ok(Some((run, counters, statistics)))
            })
            .await
    }

    pub(super) async fn usage(&self, name: &InstanceName) -> Result<ResourceUsage> {
        let Some((run, counters, statistics)) = self.read_usage(name).await? else {
            // Nothing runs: that is known, not measured.
            return Ok(ResourceUsage {
                cpu_percent: Some(0.0),
                memory_mb: Some(0.0),
                ..ResourceUsage::default()
            });
        };
        let (mut rates, mut statistics) = (self.meter.record(&run, counters), statistics);
        if rates.cpu_percent.is_none() && counters.cpu_time.is_some() {
            // The first look at this run: rates need two readings.
            let mut wait = Wait::at_most(FIRST_INTERVAL);
            while wait.pause().await {}
            if let Some((run, later, read)) = self.read_usage(name).await? {
                (rates, statistics) = (self.meter.record(&run, later), read);
            }
        }
        Ok(ResourceUsage {
            cpu_percent: rates.cpu_percent,
            memory_mb: memory_mb(&statistics),
            disk_gb: disk_gb(&statistics),
            network_rx_mbps: rates.network_rx_mbps,
            network_tx_mbps: rates.network_tx_mbps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_added_up_and_none_is_not_zero() {
        let two = Statistics::of([("net.count", 2), ("net.0.rx.bytes", 100), ("net.1.rx.bytes", 20)]);
        assert_eq!(sum(&two, "net", "rx.bytes"), Some(120));
        assert_eq!(sum(&Statistics::of([("net.count", 0)]), "net", "rx.bytes"), None);
        assert_eq!(sum(&Statistics::of([]), "net", "rx.bytes"), None);
    }

    #[test]
    fn without_a_balloon_driver_memory_is_what_the_process_holds() {
        let silent = Statistics::of([("balloon.rss", 204_800), ("balloon.current", 98_304)]);
        assert_eq!(memory_mb(&silent), Some(200.0));
        let told = Statistics::of([
            ("balloon.rss", 204_800),
            ("balloon.available", 81_920),
            ("balloon.usable", 20_480),
        ]);
        assert_eq!(memory_mb(&told), Some(60.0));
        assert_eq!(memory_mb(&Statistics::of([])), None);
    }

    #[test]
    fn processor_time_is_in_nanoseconds() {
        let counters = counters(&Statistics::of([("cpu.time", 1_500_000_000)]), Instant::now());
        assert_eq!(counters.cpu_time, Some(Duration::from_millis(1500)));
    }
}

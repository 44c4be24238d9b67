//! What a container uses.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use substrate_core::{InstanceName, InstanceState, ResourceUsage, Result, UsageCounters};
use tokio::time::Instant;

use super::DockerSubstrate;
use crate::client::Target;
use crate::convert::stats::{Reading, Statistics};

/// From this API on (1.41), a reading can be had without waiting for a second one.
const ONE_SHOT: u64 = 41;

/// Puts the daemon's times on our clock, so that rates are as exact as the daemon's readings and do not
/// depend on how long an answer was on its way.
#[derive(Debug, Default)]
pub(super) struct Clock(OnceLock<(Instant, SystemTime)>);

impl Clock {
    fn instant(&self, at: Option<SystemTime>) -> Instant {
        let Some(at) = at else { return Instant::now() };
        let (instant, time) = *self.0.get_or_init(|| (Instant::now(), at));
        match at.duration_since(time) {
            Ok(later) => instant + later,
            Err(earlier) => instant.checked_sub(earlier.duration()).unwrap_or(instant),
        }
    }
}

impl DockerSubstrate {
    pub(super) async fn usage(&self, name: &InstanceName) -> Result<ResourceUsage> {
        let container = self.inspect(name).await?;
        if !matches!(container.instance_state(), InstanceState::Running | InstanceState::Paused) {
            self.meter.forget(&container.id);
            // Nothing runs: that is known, not measured.
            return Ok(ResourceUsage {
                cpu_percent: Some(0.0),
                memory_mb: Some(0.0),
                ..ResourceUsage::default()
            });
        }
        if self.client.api_is_at_least(ONE_SHOT) {
            let reading = self.read_usage(&container.id, true).await?;
            let usage = self.rated(&container.id, &reading);
            if usage.cpu_percent.is_some() {
                return Ok(usage);
            }
        }
        // The first look: the daemon takes two samples, a second apart.
        let reading = self.read_usage(&container.id, false).await?;
        Ok(self.rated(&container.id, &reading))
    }

    pub(super) async fn read_usage(&self, id: &str, one_shot: bool) -> Result<Reading> {
        let mut target = Target::new("/containers").segment(id).segment("stats").with("stream", "0");
        if one_shot {
            target = target.with("one-shot", "1");
        }
        let statistics: Statistics = self.client.get("read the container's usage", &target).await?;
        Ok(statistics.reading())
    }

    fn rated(&self, id: &str, reading: &Reading) -> ResourceUsage {
        let rates = self.meter.record(
            id,
            UsageCounters {
                at: self.clock.instant(reading.at),
                cpu_time: reading.cpu_nanoseconds.map(Duration::from_nanos),
                received_bytes: reading.received_bytes,
                sent_bytes: reading.sent_bytes,
                ..UsageCounters::now()
            },
        );
        let usage = reading.usage();
        ResourceUsage {
            cpu_percent: usage.cpu_percent.or(rates.cpu_percent),
            network_rx_mbps: rates.network_rx_mbps,
            network_tx_mbps: rates.network_tx_mbps,
            ..usage
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_daemon_s_times_keep_their_distances() {
        let clock = Clock::default();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let first = clock.instant(Some(time));
        assert_eq!(
            clock.instant(Some(time + Duration::from_millis(1500))) - first,
            Duration::from_millis(1500)
        );
        assert!(clock.instant(Some(time - Duration::from_secs(9))) <= first);
    }
}

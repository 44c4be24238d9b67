//! What an instance may use, and what it does use.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::capability::{Capabilities, Feature};
use crate::error::{Error, Result};

/// Upper bounds of an instance. `None` = no bound (in a configuration) or leave as it is (in a change).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceLimits {
    /// Processor cores; fractions are allowed: `0.5`.
    pub cpu_cores: Option<f64>,
    /// Memory in MiB.
    pub memory_mb: Option<u64>,
    /// Disk in GiB.
    pub disk_gb: Option<u64>,
    /// Network bandwidth per direction in Mbit/s.
    pub network_mbps: Option<f64>,
}

impl ResourceLimits {
    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These limits with `change` on top: what is `None` there stays.
    #[must_use]
    pub fn overlaid_with(&self, change: &Self) -> Self {
        Self {
            cpu_cores: change.cpu_cores.or(self.cpu_cores),
            memory_mb: change.memory_mb.or(self.memory_mb),
            disk_gb: change.disk_gb.or(self.disk_gb),
            network_mbps: change.network_mbps.or(self.network_mbps),
        }
    }

    /// Refuses what no technology can mean: zero, negative, not a number, infinite.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) naming the field.
    pub fn validate(&self) -> Result<()> {
        let positive = |name: &str, value: Option<f64>| match value {
            Some(value) if !(value.is_finite() && value > 0.0) => {
                Err(Error::invalid_input(format!("limit {name} must be a positive number, not {value}")))
            }
            _ => Ok(()),
        };
        let not_zero = |name: &str, value: Option<u64>| match value {
            Some(0) => Err(Error::invalid_input(format!("limit {name} must be at least 1"))),
            _ => Ok(()),
        };
        positive("cpu_cores", self.cpu_cores)?;
        not_zero("memory_mb", self.memory_mb)?;
        not_zero("disk_gb", self.disk_gb)?;
        positive("network_mbps", self.network_mbps)
    }

    /// Refuses a bound that the substrate cannot set.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) naming the feature and the reason.
    pub fn require_features(&self, capabilities: &Capabilities) -> Result<()> {
        for (asked, feature) in [
            (self.cpu_cores.is_some(), Feature::CpuLimit),
            (self.memory_mb.is_some(), Feature::MemoryLimit),
            (self.disk_gb.is_some(), Feature::DiskLimit),
            (self.network_mbps.is_some(), Feature::NetworkLimit),
        ] {
            if asked {
                capabilities.require(feature)?;
            }
        }
        Ok(())
    }
}

/// What an instance uses now. **Each field is an `Option`: not measured is not zero.**
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceUsage {
    /// Processor time per wall time in percent: 100 = one core busy.
    pub cpu_percent: Option<f64>,
    /// Memory in MiB that cannot be reclaimed at once (working set: without inactive file cache).
    pub memory_mb: Option<f64>,
    /// Disk in GiB.
    pub disk_gb: Option<f64>,
    /// Received, in Mbit/s.
    pub network_rx_mbps: Option<f64>,
    /// Sent, in Mbit/s.
    pub network_tx_mbps: Option<f64>,
}

/// Counters that only ever grow while an instance runs, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageCounters {
    /// When they were read, on tokio's clock.
    pub at: Instant,
    /// By how much that may be wrong, in either direction: nothing where the server tells the moment.
    pub uncertainty: Duration,
    /// Processor time used so far, over all cores.
    pub cpu_time: Option<Duration>,
    /// Bytes received so far.
    pub received_bytes: Option<u64>,
    /// Bytes sent so far.
    pub sent_bytes: Option<u64>,
}

impl UsageCounters {
    /// Nothing measured yet, now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            uncertainty: Duration::ZERO,
            cpu_time: None,
            received_bytes: None,
            sent_bytes: None,
        }
    }

    /// Nothing measured yet, at some moment since `asked`: for an answer that does not tell when it was true. On a busy
    /// server that is anywhere between the question and the answer.
    #[must_use]
    pub fn read_since(asked: Instant) -> Self {
        let uncertainty = asked.elapsed() / 2;
        Self { at: asked + uncertainty, uncertainty, ..Self::now() }
    }

    /// Whether rates since an `earlier` reading are right to about a quarter. Two readings that are close to each other
    /// and late by a different time would make one busy core two.
    fn is_exact_since(&self, earlier: &Self) -> bool {
        let elapsed = self.at.saturating_duration_since(earlier.at);
        let uncertainty = self.uncertainty.saturating_add(earlier.uncertainty);
        !elapsed.is_zero() && uncertainty.saturating_mul(5) <= elapsed
    }

    /// The rates between an `earlier` reading and this one: not measured where their moments are too uncertain for the
    /// time between them. A counter that went backwards was reset (the instance restarted): its rate is not measured
    /// rather than negative or a spike.
    #[must_use]
    pub fn rates_since(&self, earlier: &Self) -> UsageRates {
        if !self.is_exact_since(earlier) {
            return UsageRates::default();
        }
        let elapsed = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        let per_second = |before: Option<f64>, after: Option<f64>| match (before, after) {
            (Some(before), Some(after)) if after >= before => Some((after - before) / elapsed),
            _ => None,
        };
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
        let megabits = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64 * 8.0 / 1e6);
        UsageRates {
            cpu_percent: per_second(seconds(earlier.cpu_time), seconds(self.cpu_time))
                .map(|cores| cores * 100.0),
            network_rx_mbps: per_second(megabits(earlier.received_bytes), megabits(self.received_bytes)),
            network_tx_mbps: per_second(megabits(earlier.sent_bytes), megabits(self.sent_bytes)),
        }
    }
}

/// Rates derived from two [`UsageCounters`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UsageRates {
    /// As [`ResourceUsage::cpu_percent`].
    pub cpu_percent: Option<f64>,
    /// As [`ResourceUsage::network_rx_mbps`].
    pub network_rx_mbps: Option<f64>,
    /// As [`ResourceUsage::network_tx_mbps`].
    pub network_tx_mbps: Option<f64>,
}

/// Remembers the last counters of each instance, so that a provider can turn cumulative readings into
/// rates. Bounded: the readings of instances that are gone are dropped.
#[derive(Default)]
pub struct UsageMeter {
    last: Mutex<HashMap<String, UsageCounters>>,
}

impl UsageMeter {
    /// How many instances are remembered before the oldest readings go.
    const CAPACITY: usize = 16_384;

    /// A meter that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a reading of the instance with this immutable `id` and returns the rates since the last one;
    /// all are "not measured" at the first, and where the two are too close for what is known of their moments: then
    /// the more exact one is remembered, so that later ones are measured against it.
    pub fn record(&self, id: &str, counters: UsageCounters) -> UsageRates {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(previous) = last.get_mut(id) {
            let rates = counters.rates_since(previous);
            if counters.is_exact_since(previous) || counters.uncertainty < previous.uncertainty {
                *previous = counters;
            }
            return rates;
        }
        if last.len() >= Self::CAPACITY {
            let oldest_half = {
                let mut times: Vec<Instant> = last.values().map(|counters| counters.at).collect();
                times.sort_unstable();
                times.get(times.len() / 2).copied()
            };
            last.retain(|_, counters| Some(counters.at) > oldest_half);
        }
        last.insert(id.to_owned(), counters);
        UsageRates::default()
    }

    /// Forgets an instance that was deleted or restarted.
    pub fn forget(&self, id: &str) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl fmt::Debug for UsageMeter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remembered = self.last.lock().unwrap_or_else(PoisonError::into_inner).len();
        formatter.debug_struct("UsageMeter").field("remembered", &remembered).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(at: Instant, cpu_milliseconds: u64, received: u64) -> UsageCounters {
        UsageCounters {
            at,
            cpu_time: Some(Duration::from_millis(cpu_milliseconds)),
            received_bytes: Some(received),
            ..UsageCounters::now()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rates_come_from_differences() {
        let start = Instant::now();
        let meter = UsageMeter::new();
        assert_eq!(meter.record("a", counters(start, 1_000, 0)), UsageRates::default());
        let rates = meter.record("a", counters(start + Duration::from_secs(2), 4_000, 1_000_000));
        assert_eq!(rates.cpu_percent, Some(150.0));
        assert_eq!(rates.network_rx_mbps, Some(4.0));
        assert_eq!(rates.network_tx_mbps, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_counter_is_not_measured_and_neither_a_spike_nor_negative() {
        let start = Instant::now();
        let meter = UsageMeter::new();
        meter.record("a", counters(start, 90_000, 5_000));
        let rates = meter.record("a", counters(start + Duration::from_secs(1), 10, 9_000));
        assert_eq!(rates.cpu_percent, None);
        assert!(rates.network_rx_mbps.is_some_and(|rate| (rate - 0.032).abs() < 1e-9));
    }

    #[tokio::test(start_paused = true)]
    async fn two_readings_at_one_moment_give_no_rate() {
        let now = Instant::now();
        assert_eq!(counters(now, 10, 10).rates_since(&counters(now, 0, 0)), UsageRates::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_makes_no_spike_and_the_next_rate_is_right() {
        let meter = UsageMeter::new();
        // One busy core. The first answer came 400 ms after it was true, the next ones at once.
        let begin = Instant::now();
        tokio::time::advance(Duration::from_millis(400)).await;
        let late = UsageCounters { cpu_time: Some(Duration::ZERO), ..UsageCounters::read_since(begin) };
        assert_eq!(
            (late.at - begin, late.uncertainty),
            (Duration::from_millis(200), Duration::from_millis(200))
        );
        meter.record("a", late);
        let prompt = |milliseconds| counters(begin + Duration::from_millis(milliseconds), milliseconds, 0);
        assert_eq!(meter.record("a", prompt(600)), UsageRates::default(), "it would be 150 %");
        let percent = meter.record("a", prompt(700)).cpu_percent.map(f64::round);
        assert_eq!(percent, Some(100.0), "against the exact one");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_all_late_are_measured_over_a_longer_time() {
        let meter = UsageMeter::new();
        let begin = Instant::now();
        let late = |milliseconds| UsageCounters {
            uncertainty: Duration::from_millis(100),
            ..counters(begin + Duration::from_millis(milliseconds), milliseconds, 0)
        };
        let rates = [0, 300, 600, 900, 1_200]
            .map(|moment| meter.record("a", late(moment)).cpu_percent.map(f64::round));
        assert_eq!(rates, [None, None, None, None, Some(100.0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_meter_is_bounded() {
        let meter = UsageMeter::new();
        for number in 0..UsageMeter::CAPACITY * 2 {
            meter.record(&number.to_string(), UsageCounters::now());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(meter.last.lock().unwrap().len() <= UsageMeter::CAPACITY);
    }

    #[test]
    fn limits_that_nobody_can_mean_are_refused() {
        for cores in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let limits = ResourceLimits { cpu_cores: Some(cores), ..Default::default() };
            assert!(limits.validate().unwrap_err().message().contains("cpu_cores"));
        }
        assert!(ResourceLimits { memory_mb: Some(0), ..Default::default() }.validate().is_err());
        assert!(ResourceLimits { cpu_cores: Some(0.5), ..Default::default() }.validate().is_ok());
    }
}

//! What can be set about a stack, as it stands under `global:` in a configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::operation::TimeoutClass;

/// The settings of [`Stack::standard`](crate::layer::Stack::standard).
///
/// ```
/// use substrate_core::layer::StackSettings;
/// let settings: StackSettings = serde_json::from_str(
///     r#"{"enable_caching": false, "retry": {"retries": 3, "delay": "500ms"}, "timeouts": {"read": "5s"}}"#,
/// )?;
/// assert_eq!(settings.retry.retries, 3);
/// # serde_json::Result::Ok(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StackSettings {
    /// Run every call in a tracing span.
    pub enable_tracing: bool,
    /// Count calls.
    pub enable_metrics: bool,
    /// Announce events.
    pub enable_events: bool,
    /// Cache reads.
    pub enable_caching: bool,
    /// How failed calls are repeated.
    pub retry: RetrySettings,
    /// How long calls may take.
    pub timeouts: TimeoutSettings,
    /// How long answers are kept.
    pub cache: CacheSettings,
    /// How many calls at once, how many per second.
    pub limits: LimitSettings,
    /// When a substrate that is down is left alone.
    pub breaker: BreakerSettings,
    /// How many events a slow subscriber may be behind.
    pub event_buffer: usize,
}

impl Default for StackSettings {
    fn default() -> Self {
        Self {
            enable_tracing: true,
            enable_metrics: true,
            enable_events: true,
            enable_caching: true,
            retry: RetrySettings::default(),
            timeouts: TimeoutSettings::default(),
            cache: CacheSettings::default(),
            limits: LimitSettings::default(),
            breaker: BreakerSettings::default(),
            event_buffer: 1024,
        }
    }
}

/// How failed calls are repeated: after `delay`, then `delay × backoff`, and so on up to `max_delay`.
/// `retries: 5, delay: 2s, backoff: 2` without jitter waits 2, 4, 8, 16 and 32 seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// How many repetitions; 0 = none.
    pub retries: usize,
    /// The first wait.
    #[serde(with = "crate::config::duration")]
    pub delay: Duration,
    /// By how much each wait is longer than the one before; at least 1.
    pub backoff: f32,
    /// The longest wait, also for a substrate that asks for more.
    #[serde(with = "crate::config::duration")]
    pub max_delay: Duration,
    /// Add up to as much again at random, never beyond `max_delay`, so that many clients do not come back
    /// at the same moment.
    pub jitter: bool,
    /// Begin no repetition later than this after the first attempt began.
    #[serde(with = "crate::config::duration")]
    pub max_elapsed: Duration,
    /// How many repetitions all calls of one substrate together have in hand. Each repetition takes one,
    /// each success gives a tenth back: an outage cannot multiply the load.
    pub budget: u32,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            retries: 3,
            delay: Duration::from_millis(200),
            backoff: 2.0,
            max_delay: Duration::from_secs(60),
            jitter: true,
            max_elapsed: Duration::from_secs(300),
            budget: 100,
        }
    }
}

/// How long calls may take, by class; see [`OperationProfile::timeout`](crate::OperationProfile).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutSettings {
    /// `connect`.
    #[serde(with = "crate::config::duration")]
    pub connect: Duration,
    /// Reads.
    #[serde(with = "crate::config::duration")]
    pub read: Duration,
    /// Changes; a stop's grace period comes on top.
    #[serde(with = "crate::config::duration")]
    pub mutate: Duration,
    /// What moves data: creation with its image, snapshots, clones.
    #[serde(with = "crate::config::duration")]
    pub long: Duration,
    /// How long an open stream may be silent; no bound when left out, because a quiet log is no fault.
    #[serde(with = "crate::config::duration::optional")]
    pub stream_idle: Option<Duration>,
    /// A whole call with all its attempts; no bound when left out.
    #[serde(with = "crate::config::duration::optional")]
    pub total: Option<Duration>,
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            read: Duration::from_secs(30),
            mutate: Duration::from_secs(300),
            long: Duration::from_secs(1800),
            stream_idle: None,
            total: None,
        }
    }
}

impl TimeoutSettings {
    /// The bound of a class.
    #[must_use]
    pub fn of(&self, class: TimeoutClass) -> Option<Duration> {
        match class {
            TimeoutClass::Connect => Some(self.connect),
            TimeoutClass::Read => Some(self.read),
            TimeoutClass::Mutate => Some(self.mutate),
            TimeoutClass::Long => Some(self.long),
            TimeoutClass::Unbounded => None,
        }
    }
}

/// How long answers are kept. Zero = not at all. Own changes and, where the substrate has them, native
/// events end an answer's life earlier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// `list_instances`.
    #[serde(with = "crate::config::duration")]
    pub list: Duration,
    /// `get_instance`, `get_resource_limits`.
    #[serde(with = "crate::config::duration")]
    pub instance: Duration,
    /// `list_snapshots`, `list_networks`, `list_volumes`, `list_images`.
    #[serde(with = "crate::config::duration")]
    pub inventory: Duration,
    /// `get_metrics`.
    #[serde(with = "crate::config::duration")]
    pub metrics: Duration,
    /// `health_check`.
    #[serde(with = "crate::config::duration")]
    pub health: Duration,
    /// How many answers are kept.
    pub max_entries: usize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            list: Duration::from_secs(2),
            instance: Duration::from_secs(2),
            inventory: Duration::from_secs(10),
            metrics: Duration::from_secs(1),
            health: Duration::from_secs(5),
            max_entries: 16_384,
        }
    }
}

/// How many calls at once, and how many per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Calls under way at once; no bound when left out. `execute_command` is not counted: a command may run
    /// for hours.
    pub concurrency: Option<usize>,
    /// Calls per second on average; no bound when left out.
    pub rate: Option<f64>,
    /// How many calls may come at once after a quiet time, when `rate` is set.
    pub burst: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { concurrency: Some(64), rate: None, burst: 10 }
    }
}

/// When a substrate that is down is left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// After how many attempts in a row without an answer; 0 = never.
    pub failures: u32,
    /// For how long; then one call tries again.
    #[serde(with = "crate::config::duration")]
    pub pause: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 20, pause: Duration::from_secs(5) }
    }
}

//! Virtual time: all of it is tokio's, so a paused clock stands still for the fake too.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// 2026-01-01T00:00:00Z: a fixed beginning, so that the same calls have the same times in every run.
pub(crate) const EPOCH: Moment = Moment(1_767_225_600_000_000);

/// A time in microseconds since 1970: what survives a document unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) fn system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.0)
    }

    pub(crate) fn after(self, elapsed: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// The end of a wait; a wait that no clock can measure ends in some sixty years.
pub(crate) fn deadline(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(2_000_000_000))
}

/// When a fake was made, on tokio's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn elapsed_at(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }
}

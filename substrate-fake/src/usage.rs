//! What an instance uses, from counters that run on tokio's clock.

use tokio::time::Instant;

/// Processor time since the start of a run: grows by the present number of busy cores.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    since: Instant,
    cores: f64,
    core_seconds: f64,
    read_at: Instant,
    read: f64,
}

impl Usage {
    pub(crate) fn begin(now: Instant) -> Self {
        Self { since: now, cores: 0.0, core_seconds: 0.0, read_at: now, read: 0.0 }
    }

    /// From now on so many cores are busy.
    pub(crate) fn settle(&mut self, now: Instant, cores: f64) {
        self.core_seconds += now.saturating_duration_since(self.since).as_secs_f64() * self.cores;
        self.since = now;
        self.cores = cores;
    }

    /// The mean since the last reading, or since the start; at one and the same moment what is used now, so
    /// that a paused clock gives an answer too.
    pub(crate) fn cpu_percent(&mut self, now: Instant) -> f64 {
        self.settle(now, self.cores);
        let elapsed = now.saturating_duration_since(self.read_at).as_secs_f64();
        if elapsed <= 0.0 {
            return self.cores * 100.0;
        }
        let percent = (self.core_seconds - self.read) / elapsed * 100.0;
        self.read_at = now;
        self.read = self.core_seconds;
        percent
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_percentage_is_the_mean_since_the_last_reading() {
        let start = Instant::now();
        let mut usage = Usage::begin(start);
        usage.settle(start, 1.0);
        assert_eq!(usage.cpu_percent(start), 100.0);
        usage.settle(start + Duration::from_secs(1), 0.0);
        assert_eq!(usage.cpu_percent(start + Duration::from_secs(4)), 25.0);
        assert_eq!(usage.cpu_percent(start + Duration::from_secs(5)), 0.0);
    }
}

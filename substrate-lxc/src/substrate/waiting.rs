//! Waiting for what the server does in its own time. Each wait looks at growing intervals and has a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Between the first two looks, and at most between any two.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The pauses between looks until a deadline.
#[derive(Debug)]
pub(super) struct Wait {
    deadline: Instant,
    pause: Duration,
}

impl Wait {
    pub(super) fn at_most(limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, pause: FIRST_PAUSE }
    }

    /// Pauses; `false` when the deadline has come, so that one last look has been taken at or after it.
    pub(super) async fn pause(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sleep(self.pause.min(left)).await;
        self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_deadline() {
        let start = Instant::now();
        let mut wait = Wait::at_most(Duration::from_secs(3));
        let mut looks = 0;
        while wait.pause().await {
            looks += 1;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert!((10..40).contains(&looks), "{looks}");
    }
}

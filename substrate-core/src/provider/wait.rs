use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Between the first two looks, and at most between any two.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Some thirty years: a clock's own end is no deadline.
const NO_END: Duration = Duration::from_secs(1_000_000_000);

/// Waiting for what a server does in its own time and tells nobody: looks at growing intervals until a deadline.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
/// use substrate_core::provider::Wait;
///
/// # let mut looks = 0;
/// # let mut is_running = || { looks += 1; looks > 2 };
/// let mut wait = Wait::at_most(Duration::from_secs(5));
/// while !is_running() {
///     assert!(wait.pause().await, "it does not run after five seconds");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Wait {
    deadline: Instant,
    pause: Duration,
    longest: Duration,
}

impl Wait {
    /// Looks first after 10 ms, and then at least every 250 ms.
    pub fn at_most(limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, pause: FIRST_PAUSE, longest: LONGEST_PAUSE }
    }

    /// For what is bounded by whoever waits.
    pub fn without_end() -> Self {
        Self::at_most(NO_END)
    }

    /// Other pauses, where a look costs more.
    #[must_use]
    pub fn with_pauses(self, first: Duration, longest: Duration) -> Self {
        Self { pause: first, longest, ..self }
    }

    /// Pauses; `false` when the deadline has come, so that one last look has been taken at or after it.
    pub async fn pause(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sleep(self.pause.min(left)).await;
        self.pause = (self.pause * 3 / 2).min(self.longest);
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

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_the_longest() {
        let start = Instant::now();
        let mut wait = Wait::without_end().with_pauses(Duration::from_secs(4), Duration::from_secs(5));
        for after in [4, 9, 14] {
            assert!(wait.pause().await);
            assert_eq!(start.elapsed(), Duration::from_secs(after));
        }
    }
}

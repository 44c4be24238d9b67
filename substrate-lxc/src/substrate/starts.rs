//! Which instances this handle has started lately.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a start is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// When instances were started, by name. What is long ago is forgotten.
#[derive(Debug, Default)]
pub(super) struct Starts(Mutex<HashMap<String, Instant>>);

impl Starts {
    /// Notes that an instance was started now.
    pub(super) fn note(&self, name: &str) {
        let mut starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        starts.retain(|_, at| at.elapsed() < REMEMBERED);
        starts.insert(name.to_owned(), Instant::now());
    }

    /// How long ago that was, if it is remembered.
    pub(super) fn since(&self, name: &str) -> Option<Duration> {
        let starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        starts.get(name).map(Instant::elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_start_is_remembered_for_a_while() {
        let starts = Starts::default();
        starts.note("a");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(starts.since("a"), Some(Duration::from_secs(5)));
        tokio::time::advance(REMEMBERED).await;
        starts.note("b");
        assert_eq!(starts.since("a"), None);
    }
}

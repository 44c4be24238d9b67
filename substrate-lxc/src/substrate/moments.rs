//! When this handle last did something to instances.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a moment is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// When one thing was done to instances, by name. What is long ago is forgotten.
#[derive(Debug, Default)]
pub(super) struct Moments(Mutex<HashMap<String, Instant>>);

impl Moments {
    /// Notes that it was done to an instance now.
    pub(super) fn note(&self, name: &str) {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moments.retain(|_, at| at.elapsed() < REMEMBERED);
        moments.insert(name.to_owned(), Instant::now());
    }

    /// How long ago that was, if it is remembered.
    pub(super) fn since(&self, name: &str) -> Option<Duration> {
        let moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moments.get(name).map(Instant::elapsed)
    }

    /// Forgets that it was done.
    pub(super) fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_is_remembered_for_a_while() {
        let moments = Moments::default();
        moments.note("a");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(moments.since("a"), Some(Duration::from_secs(5)));
        tokio::time::advance(REMEMBERED).await;
        moments.note("b");
        assert_eq!(moments.since("a"), None);
        moments.forget("b");
        assert_eq!(moments.since("b"), None);
    }
}

//! One change of a thing at a time.
//!
//! The server refuses a change of an instance that is in another one ("busy"), and looks at a name and takes it
//! in two steps. Callers on one handle wait for each other instead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Locks by name. Those that nobody holds or waits for are forgotten.
#[derive(Debug, Default)]
pub(super) struct NameLocks(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl NameLocks {
    /// Waits for the name and holds it until the guard is dropped.
    pub(super) async fn hold(&self, kind: &str, name: &str) -> OwnedMutexGuard<()> {
        let key = format!("{kind} {name}");
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match locks.get(&key).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    locks.retain(|_, lock| lock.strong_count() > 0);
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(key, Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_name_is_held_once_and_others_are_free() {
        let locks = NameLocks::default();
        let held = locks.hold("instance", "a").await;
        let other = locks.hold("instance", "b").await;
        let again = tokio::time::timeout(Duration::from_secs(1), locks.hold("instance", "a")).await;
        assert!(again.is_err());
        drop((held, other));
        locks.hold("instance", "a").await;
        locks.hold("network", "a").await;
        assert_eq!(locks.0.lock().unwrap().len(), 1, "nobody holds the others");
    }
}

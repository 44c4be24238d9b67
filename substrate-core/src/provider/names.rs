use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// One change of a thing at a time, by kind and name.
///
/// Most servers look at a name and take it in two steps, or refuse a change of what is being changed; a change that is
/// several calls can meet another one in its middle. Callers on one handle wait for each other instead. Callers on
/// other handles and other programs do not: what they can do in between has to end well too.
///
/// Names that nobody holds or waits for are forgotten.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use substrate_core::provider::NameLocks;
///
/// let names = NameLocks::default();
/// let held = names.hold("volume", "data").await;
/// // Look whether there is such a volume, then make it.
/// drop(held);
/// # }
/// ```
#[derive(Debug, Default)]
pub struct NameLocks(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl NameLocks {
    /// Waits for the name and holds it until the guard is dropped. In the order of the callers.
    ///
    /// # Cancel safety
    ///
    /// A caller that is dropped gives up its place. A change that goes on without its caller takes the guard along.
    pub async fn hold(&self, kind: &str, name: &str) -> OwnedMutexGuard<()> {
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

    /// Holds two names of one kind, which may be the same. Always in the same order: who holds the one and waits for
    /// the other never meets somebody who does it the other way round.
    pub async fn hold_both(&self, kind: &str, one: &str, other: &str) -> [Option<OwnedMutexGuard<()>>; 2] {
        let first = self.hold(kind, one.min(other)).await;
        let second = if one == other { None } else { Some(self.hold(kind, one.max(other)).await) };
        [Some(first), second]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_name_is_held_once_and_others_are_free() {
        let locks = NameLocks::default();
        let held = locks.hold("volume", "a").await;
        let other = locks.hold("volume", "b").await;
        let kind = locks.hold("network", "a").await;
        let again = tokio::time::timeout(Duration::from_secs(1), locks.hold("volume", "a")).await;
        assert!(again.is_err());
        drop((held, other, kind));
        locks.hold("volume", "a").await;
        locks.hold("volume", "c").await;
        assert_eq!(locks.0.lock().unwrap().len(), 1, "nobody holds the others");
    }

    #[tokio::test(start_paused = true)]
    async fn two_names_are_held_whichever_way_round_they_are_given() {
        let locks = NameLocks::default();
        for _ in 0..100 {
            let both = async |one: &str, other: &str| drop(locks.hold_both("machine", one, other).await);
            tokio::join!(both("a", "b"), both("b", "a"), both("a", "a"));
        }
        let _held = locks.hold_both("machine", "b", "a").await;
        let again = tokio::time::timeout(Duration::from_secs(1), locks.hold("machine", "a")).await;
        assert!(again.is_err());
    }
}

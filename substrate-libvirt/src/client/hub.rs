//! From one registration per connection to any number of watchers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::native::NativeEvent;

/// How many events wait for a watcher that does not read. Beyond that they are dropped, and the watcher told.
const QUEUE: usize = 4096;

#[derive(Debug)]
struct Watcher {
    queue: mpsc::Sender<NativeEvent>,
    overflowed: Arc<AtomicBool>,
}

/// Hands events on. Never blocks: it is called on the thread of the event loop.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<Vec<Watcher>>);

/// One watcher's end.
#[derive(Debug)]
pub(crate) struct Subscription {
    queue: mpsc::Receiver<NativeEvent>,
    overflowed: Arc<AtomicBool>,
}

impl Hub {
    pub(crate) fn publish(&self, event: &NativeEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|watcher| {
            match watcher.queue.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    watcher.overflowed.store(true, Ordering::Release);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let overflowed = Arc::new(AtomicBool::new(false));
        let watcher = Watcher { queue: sender, overflowed: Arc::clone(&overflowed) };
        let mut watchers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| !watcher.queue.is_closed());
        watchers.push(watcher);
        Subscription { queue: receiver, overflowed }
    }
}

impl Subscription {
    /// The next event; `None` when nobody can send any more.
    pub(crate) async fn next(&mut self) -> Option<NativeEvent> {
        self.queue.recv().await
    }

    /// Whether events were dropped since this was asked last. They are missing *behind* those that wait.
    pub(crate) fn has_gap(&self) -> bool {
        self.queue.is_empty() && self.overflowed.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_that_does_not_read_is_told_that_events_are_missing() {
        let hub = Hub::default();
        let mut slow = hub.subscribe();
        for _ in 0..=QUEUE {
            hub.publish(&NativeEvent::Lost { reason: "test" });
        }
        assert!(!slow.has_gap(), "what waits comes first");
        for _ in 0..QUEUE {
            slow.next().await.unwrap();
        }
        assert!(slow.has_gap());
        assert!(!slow.has_gap());
    }

    #[tokio::test]
    async fn a_dropped_watcher_is_forgotten() {
        let hub = Hub::default();
        drop(hub.subscribe());
        hub.publish(&NativeEvent::Lost { reason: "test" });
        assert!(hub.0.lock().unwrap().is_empty());
    }
}

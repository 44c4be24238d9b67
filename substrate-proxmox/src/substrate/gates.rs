//! What must not happen at once on one storage.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many operations that make disks are begun at once on a storage: first, and at most.
///
/// Each of them takes the storage's lock for a part of its work, and waits at most ten seconds for it. One at a time
/// would be safe and slow (most of the work needs no lock), all at once would fail. So the number grows with each
/// success until a lock was not to be had for the first time, and from then on by one after each round of successes.
const FIRST: usize = 8;
const MOST: usize = 64;

#[derive(Debug)]
struct Size {
    now: usize,
    /// Successes since it last grew.
    successes: usize,
    /// Whether a lock was ever not to be had.
    met_a_lock: bool,
}

/// The gate of one storage.
#[derive(Debug)]
struct Gate {
    permits: Arc<Semaphore>,
    size: Mutex<Size>,
}

/// Gates by storage.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<HashMap<String, Arc<Gate>>>);

/// The right to make disks on a storage.
pub(super) struct Pass {
    gate: Arc<Gate>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Gates {
    pub(super) async fn enter(&self, storage: &str) -> Pass {
        let gate = {
            let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || {
                let size = Size { now: FIRST, successes: 0, met_a_lock: false };
                Arc::new(Gate { permits: Arc::new(Semaphore::new(FIRST)), size: Mutex::new(size) })
            };
            gates.entry(storage.to_owned()).or_insert_with(new).clone()
        };
        // The semaphore is never closed; without a permit nothing would be worse than without the gate.
        let permit = gate.permits.clone().acquire_owned().await.ok();
        Pass { gate, permit }
    }
}

impl Pass {
    /// It went well: more may try at once.
    pub(super) fn succeeded(self) {
        let mut size = self.gate.size.lock().unwrap_or_else(PoisonError::into_inner);
        size.successes += 1;
        let enough = if size.met_a_lock { size.now } else { 1 };
        if size.now < MOST && size.successes >= enough {
            size.now += 1;
            size.successes = 0;
            self.gate.permits.add_permits(1);
        }
    }

    /// A lock was not to be had: one less from now on.
    pub(super) fn was_locked_out(mut self) {
        let mut size = self.gate.size.lock().unwrap_or_else(PoisonError::into_inner);
        size.met_a_lock = true;
        size.successes = 0;
        if size.now > 1
            && let Some(permit) = self.permit.take()
        {
            size.now -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_gate_narrows_when_a_lock_was_not_to_be_had_and_never_closes() {
        let gates = Gates::default();
        for _ in 0..2 * FIRST {
            gates.enter("local").await.was_locked_out();
        }
        let only = gates.enter("local").await;
        assert!(tokio::time::timeout(Duration::from_secs(1), gates.enter("local")).await.is_err());
        only.succeeded();
        let _both = (gates.enter("local").await, gates.enter("local").await);
        gates.enter("other").await;
    }
}

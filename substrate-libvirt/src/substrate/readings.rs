//! What the documents of domains were read as.
//!
//! libvirt tells nobody whether a definition has changed, and has no number that would: each document has to be fetched
//! for each list. Reading one takes longer than fetching it. So what was read is kept beside its text, and is good for as
//! long as not a byte of the text differs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use substrate_core::{Instance, Result};

use crate::convert::domain::Domain as Facts;

/// How many are kept.
const MOST: usize = 10_000;

#[derive(Debug)]
struct Reading {
    text: String,
    state: (i32, i32),
    instance: Arc<Instance>,
}

/// Readings by UUID.
#[derive(Debug, Default)]
pub(super) struct Readings(Mutex<HashMap<String, Reading>>);

impl Readings {
    /// The instance that a document describes, in this state.
    pub(super) fn of(&self, uuid: String, text: String, state: (i32, i32)) -> Result<Arc<Instance>> {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = readings.len() >= MOST;
        match readings.entry(uuid) {
            Entry::Occupied(known) if known.get().text == text && known.get().state == state => {
                Ok(Arc::clone(&known.get().instance))
            }
            Entry::Vacant(_) if is_full => Facts::read(&text)?.instance(state).map(Arc::new),
            entry => {
                let instance = Arc::new(Facts::read(&text)?.instance(state)?);
                entry.insert_entry(Reading { text, state, instance: Arc::clone(&instance) });
                Ok(instance)
            }
        }
    }

    /// Forgets all that are not of these.
    pub(super) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|uuid, _| is_there(uuid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "25bd09b9-2ae2-4578-9243-58088e0032fb";
    const RUNNING: (i32, i32) = (1, 1);
    const SHUT_OFF: (i32, i32) = (5, 1);

    fn document(megabytes: u64) -> String {
        format!(
            "<domain type='qemu'><name>web</name><uuid>{UUID}</uuid><memory unit='MiB'>{megabytes}</memory></domain>"
        )
    }

    #[test]
    fn a_reading_is_good_until_text_or_state_differ() {
        let readings = Readings::default();
        let of = |text: String, state| readings.of(UUID.to_owned(), text, state).unwrap();
        let first = of(document(64), SHUT_OFF);
        assert!(Arc::ptr_eq(&first, &of(document(64), SHUT_OFF)));
        assert_eq!(of(document(96), SHUT_OFF).limits.memory_mb, Some(96));
        assert_ne!(of(document(96), RUNNING).state, first.state);
        assert_eq!(of(document(64), SHUT_OFF), first);
        readings.retain(|_| false);
        assert!(readings.0.lock().unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let readings = Readings::default();
        assert!(readings.of(UUID.to_owned(), "<domain".to_owned(), RUNNING).is_err());
        assert!(readings.of(UUID.to_owned(), document(64), RUNNING).is_ok());
    }
}

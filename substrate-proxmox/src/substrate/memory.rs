//! What this handle remembers, because the cluster's own view is seconds old: which guests it touched lately, which
//! creations it began, which labels it read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use substrate_core::InstanceName;
use tokio::time::Instant;

use crate::convert::guest::{Guest, Place};
use crate::convert::notes::Marks;

/// How old the cluster's view of a guest can be. It is said to lag ten seconds.
const LAG: Duration = Duration::from_secs(15);
/// How long labels that were read are believed; only a person changes them.
const LABELS: Duration = Duration::from_secs(5 * 60);
/// How long after a call was dropped what it sent may still arrive.
const DOUBT: Duration = Duration::from_secs(2);
/// How long a machine whose agent did not answer is not asked again for its addresses: the API takes seconds to find
/// that out.
const SILENT: Duration = Duration::from_secs(10);
/// How many guests are remembered.
const CAPACITY: usize = 20_000;

/// A creation that was sent, or is about to be.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) place: Place,
    pub(super) marks: Marks,
    /// When the call that began it was given up.
    dropped: Option<Instant>,
}

impl Pending {
    /// Whether it can still appear, though nobody waits for it.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.dropped.is_none_or(|dropped| dropped.elapsed() < DOUBT)
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.dropped.is_some()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) marks: Option<Marks>,
    read: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    touched: HashMap<u64, Instant>,
    paused: HashMap<u64, ()>,
    known: HashMap<u64, Known>,
    pending: HashMap<InstanceName, Pending>,
    starts: HashMap<u64, (u64, SystemTime)>,
    /// Machines whose agent did not answer.
    silent: HashMap<u64, Instant>,
    /// Bridges and what their networks are called: one is made from the other, so this cannot grow old.
    networks: HashMap<String, String>,
    /// Names of guests that are gone, for events about them.
    late: HashMap<u64, String>,
    /// The server's clock: when it was read, and what it said.
    clock: Option<(Instant, SystemTime)>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Memory(Arc<Mutex<Inner>>);

impl Memory {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was done to a guest: the cluster's view of it is worth nothing for a while.
    pub(super) fn touch(&self, vmid: u64) {
        let mut inner = self.inner();
        inner.touched.retain(|_, at| at.elapsed() < LAG);
        inner.touched.insert(vmid, Instant::now());
    }

    /// Whether something was done to a guest lately.
    pub(super) fn was_touched(&self, vmid: u64) -> bool {
        self.inner().touched.get(&vmid).is_some_and(|at| at.elapsed() < LAG)
    }

    /// Whether a guest was paused when it was last read: lists do not tell.
    pub(super) fn is_paused(&self, vmid: u64) -> bool {
        self.inner().paused.contains_key(&vmid)
    }

    /// A guest was read.
    pub(super) fn learn(&self, guest: &Guest) {
        let mut inner = self.inner();
        if inner.known.len() >= CAPACITY {
            inner.known.clear();
            inner.starts.clear();
        }
        match guest.state() {
            substrate_core::InstanceState::Paused => drop(inner.paused.insert(guest.vmid, ())),
            _ => drop(inner.paused.remove(&guest.vmid)),
        }
        if guest.is_placeholder() {
            return;
        }
        let known = Known { name: guest.name(), marks: guest.marks(), read: Instant::now() };
        inner.known.insert(guest.vmid, known);
    }

    /// A guest is gone.
    pub(super) fn forget(&self, vmid: u64) {
        let mut inner = self.inner();
        inner.touched.remove(&vmid);
        inner.paused.remove(&vmid);
        inner.starts.remove(&vmid);
        if let Some(known) = inner.known.remove(&vmid) {
            if inner.late.len() >= CAPACITY {
                inner.late.clear();
            }
            inner.late.insert(vmid, known.name);
        }
    }

    /// What the network of a bridge is called.
    pub(super) fn network_on(&self, bridge: &str) -> Option<String> {
        self.inner().networks.get(bridge).cloned()
    }

    pub(super) fn learn_network(&self, bridge: &str, name: &str) {
        let mut inner = self.inner();
        if inner.networks.len() >= CAPACITY {
            inner.networks.clear();
        }
        inner.networks.insert(bridge.to_owned(), name.to_owned());
    }

    /// A machine's agent did not answer.
    pub(super) fn note_silence(&self, vmid: u64) {
        let mut inner = self.inner();
        inner.silent.retain(|_, at| at.elapsed() < SILENT);
        inner.silent.insert(vmid, Instant::now());
    }

    /// Whether a machine's agent did not answer a moment ago.
    pub(super) fn is_silent(&self, vmid: u64) -> bool {
        self.inner().silent.get(&vmid).is_some_and(|at| at.elapsed() < SILENT)
    }

    /// The server's clock was read.
    pub(super) fn note_time(&self, now: SystemTime) {
        self.inner().clock = Some((Instant::now(), now));
    }

    /// The time on the server's clock, as far as it was read.
    pub(super) fn server_time(&self) -> Option<SystemTime> {
        self.inner().clock.map(|(read, time)| time + read.elapsed())
    }

    /// The name under which a guest was last seen.
    pub(super) fn name_of(&self, vmid: u64) -> Option<String> {
        self.inner().known.get(&vmid).map(|known| known.name.clone())
    }

    /// The name of a guest that this handle knew, also when it is gone: numbers are not given again so soon.
    pub(super) fn name_of_late(&self, vmid: u64) -> Option<String> {
        let inner = self.inner();
        inner.known.get(&vmid).map(|known| known.name.clone()).or_else(|| inner.late.get(&vmid).cloned())
    }

    /// What is known of a guest that the cluster calls `name`, if it is not too old.
    pub(super) fn known(&self, vmid: u64, name: &str) -> Option<Known> {
        let inner = self.inner();
        inner.known.get(&vmid).filter(|known| known.name == name && known.read.elapsed() < LABELS).cloned()
    }

    /// The time of the start of a process: the first answer is kept, since later ones differ by what rounding does.
    pub(super) fn started(&self, vmid: u64, process: u64, time: SystemTime) -> SystemTime {
        let mut inner = self.inner();
        match inner.starts.get(&vmid) {
            Some((known, time)) if *known == process => *time,
            _ => {
                inner.starts.insert(vmid, (process, time));
                time
            }
        }
    }

    /// Remembers a creation until the guard is finished. Dropped before, it stays for a while: what was sent may
    /// still arrive.
    pub(super) fn begin(&self, name: &InstanceName, place: Place, marks: Marks) -> Creation {
        let pending = Pending { place, marks, dropped: None };
        self.inner().pending.insert(name.clone(), pending);
        Creation { memory: Self(self.0.clone()), name: name.clone(), finished: false }
    }

    /// The creation of a name that was begun and not finished.
    pub(super) fn pending(&self, name: &InstanceName) -> Option<Pending> {
        self.inner().pending.get(name).cloned()
    }

    pub(super) fn all_pending(&self) -> Vec<(InstanceName, Pending)> {
        self.inner().pending.iter().map(|(name, pending)| (name.clone(), pending.clone())).collect()
    }

    pub(super) fn settled(&self, name: &InstanceName) {
        self.inner().pending.remove(name);
    }
}

/// A creation under way.
pub(super) struct Creation {
    memory: Memory,
    name: InstanceName,
    finished: bool,
}

impl Creation {
    /// Its end is known.
    pub(super) fn finish(mut self) {
        self.finished = true;
        self.memory.settled(&self.name);
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Some(pending) = self.memory.inner().pending.get_mut(&self.name) {
            pending.dropped = Some(Instant::now());
        }
    }
}

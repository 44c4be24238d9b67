//! What all handles of one fake share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use substrate_core::{Descriptor, Error, Operation, Result};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::call_log::CallLog;
use crate::change::Change;
use crate::clock::{Clock, deadline};
use crate::config::Switches;
use crate::events::{EventHistory, Happening};
use crate::fault::{Faults, What};
use crate::guest::Programs;
use crate::persistence::StateFile;
use crate::state::State;

pub(crate) struct Inner {
    pub(crate) descriptor: Arc<Descriptor>,
    pub(crate) switches: Switches,
    /// How long every call takes.
    pub(crate) latency: Duration,
    pub(crate) clock: Clock,
    pub(crate) connected: AtomicBool,
    pub(crate) state_file: Option<StateFile>,
    /// Why the fake could not be built as asked: every call fails with it.
    pub(crate) broken: Option<Error>,
    core: Mutex<Core>,
    /// Beats at every event and at every loss of the connection.
    happened: watch::Sender<()>,
}

/// What changes: behind one lock, which is held for short sections and never across an await.
pub(crate) struct Core {
    pub(crate) state: State,
    pub(crate) history: EventHistory,
    pub(crate) faults: Faults,
    pub(crate) calls: CallLog,
    pub(crate) daemon: Daemon,
    pub(crate) programs: Programs,
    /// The state before each of the last changes, while reads may have to be stale.
    past: VecDeque<(Instant, State)>,
}

/// The imagined server process.
#[derive(Debug, Default)]
pub(crate) struct Daemon {
    /// Grows whenever connections are lost: what began under an older number has lost its own.
    pub(crate) generation: u64,
    /// The same for watches alone.
    pub(crate) watch_generation: u64,
    pub(crate) down: Down,
}

/// Whether the daemon answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Down {
    #[default]
    No,
    Until(Instant),
    UntilStarted,
}

impl Daemon {
    pub(crate) fn is_up(&self, now: Instant) -> bool {
        match self.down {
            Down::No => true,
            Down::Until(until) => now >= until,
            Down::UntilStarted => false,
        }
    }
}

impl Core {
    pub(crate) fn new(state: State, seed: u64, event_history: usize) -> Self {
        Self {
            history: EventHistory::new(event_history, state.last_event),
            state,
            faults: Faults::new(seed),
            calls: CallLog::default(),
            daemon: Daemon::default(),
            programs: Programs::new(),
            past: VecDeque::new(),
        }
    }

    /// The state as it was so long ago.
    fn state_before(&mut self, lag: Duration, now: Instant) -> &mut State {
        let unseen = self.past.iter().position(|(changed, _)| now.saturating_duration_since(*changed) < lag);
        match unseen.and_then(|position| self.past.get_mut(position)) {
            Some((_, state)) => state,
            None => &mut self.state,
        }
    }

    fn remember(&mut self, now: Instant) {
        match self.faults.greatest_lag() {
            None => self.past.clear(),
            Some(lag) => {
                while self
                    .past
                    .front()
                    .is_some_and(|(changed, _)| now.saturating_duration_since(*changed) >= lag)
                {
                    self.past.pop_front();
                }
                self.past.push_back((now, self.state.clone()));
            }
        }
    }

    /// Ends every open stream and every call that is under way.
    fn disconnect(&mut self) {
        self.daemon.generation += 1;
        for record in self.state.instances.values() {
            record.pulse.beat();
        }
    }
}

impl Inner {
    pub(crate) fn new(
        descriptor: Descriptor,
        switches: Switches,
        latency: Duration,
        core: Core,
        clock: Clock,
        state_file: Option<StateFile>,
        broken: Option<Error>,
    ) -> Self {
        Self {
            descriptor: Arc::new(descriptor),
            switches,
            latency,
            clock,
            connected: AtomicBool::new(false),
            state_file,
            broken,
            core: Mutex::new(core),
            happened: watch::Sender::new(()),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.elapsed_at(Instant::now())
    }

    pub(crate) fn note_connection(&self, works: bool) {
        self.connected.store(works, Ordering::Relaxed);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.happened.subscribe()
    }

    // ---- reading and changing ---------------------------------------------------------------------

    /// Reads the state, or the state of `lag` ago.
    pub(crate) async fn read<T>(
        &self,
        lag: Option<Duration>,
        read: impl FnOnce(&mut State, Instant) -> Result<T> + Send,
    ) -> Result<T> {
        if let Some(file) = &self.state_file {
            file.refresh(self).await?;
        }
        let now = Instant::now();
        let mut core = self.lock();
        match lag {
            None => read(&mut core.state, now),
            Some(lag) => read(core.state_before(lag, now), now),
        }
    }

    /// Changes the state. When this returns, the change is in the state file too, if there is one.
    ///
    /// Dropped before the change it does nothing; after it, the writing goes on.
    pub(crate) async fn change<T: Send>(
        &self,
        operation: Option<Operation>,
        change: impl FnOnce(&mut Change<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let Some(file) = &self.state_file else {
            return self.apply(operation, change);
        };
        let held = file.lock(self).await?;
        let answer = self.apply(operation, change)?;
        // No await between the change and the beginning of the write.
        let writing = held.write(&self.lock().state);
        writing.await?;
        Ok(answer)
    }

    fn apply<T>(
        &self,
        operation: Option<Operation>,
        change: impl FnOnce(&mut Change<'_>) -> Result<T>,
    ) -> Result<T> {
        let now = Instant::now();
        let mut guard = self.lock();
        let core = &mut *guard;
        core.remember(now);
        let elapsed = self.clock.elapsed_at(now);
        let mut open = Change::new(&mut core.state, &core.programs, &self.descriptor.name, now, elapsed);
        let answer = change(&mut open);
        let events = open.into_events();
        let any = !events.is_empty();
        for (number, event) in events {
            let instance = event.instance.as_ref().map_or("", |name| name.as_str());
            match core.faults.on_event(operation, instance) {
                None => core.history.push(number, Happening::Event(event)),
                Some(What::EventDuplicated) => {
                    core.history.push(number, Happening::Event(event.clone()));
                    core.history.push(number, Happening::Event(event));
                }
                Some(What::EventGap) => {
                    core.history.push(number, Happening::Gap("the connection was interrupted".to_owned()));
                }
                Some(_) => {}
            }
        }
        drop(guard);
        if any {
            self.happened.send_replace(());
        }
        answer
    }

    /// Takes over the state that another process wrote.
    pub(crate) fn adopt(&self, mut newer: State) {
        let now = Instant::now();
        newer.resume(self.clock.elapsed_at(now), now);
        let mut guard = self.lock();
        let core = &mut *guard;
        for (name, record) in &mut newer.instances {
            if let Some(known) = core.state.instances.get(name).filter(|known| known.id == record.id) {
                record.pulse = known.pulse.clone();
                if known.run == record.run && known.state == record.state {
                    record.usage = known.usage.clone();
                    record.settle_usage(now);
                }
            }
        }
        let older = std::mem::replace(&mut core.state, newer);
        for record in older.instances.values() {
            record.pulse.beat();
        }
        let number = core.state.last_event;
        core.history.push(number, Happening::Gap("another process changed the state file".to_owned()));
        drop(guard);
        self.happened.send_replace(());
    }

    // ---- the daemon -------------------------------------------------------------------------------

    /// Takes the daemon down: every connection is lost at once.
    pub(crate) fn take_down(&self, down: Down) {
        let mut core = self.lock();
        core.daemon.down = down;
        core.disconnect();
        drop(core);
        self.note_connection(false);
        self.happened.send_replace(());
    }

    pub(crate) fn restart_daemon(&self, down: Duration) {
        self.take_down(Down::Until(deadline(Instant::now(), down)));
    }

    pub(crate) fn disconnect_watchers(&self) {
        self.lock().daemon.watch_generation += 1;
        self.happened.send_replace(());
    }
}

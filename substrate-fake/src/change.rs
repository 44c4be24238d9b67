//! One change of the state: all or nothing, with the events that it causes.

use std::sync::Arc;
use std::time::Duration;

use substrate_core::{Event, EventKind, EventOrigin, InstanceName, LogSource, Result};
use tokio::time::Instant;

use crate::clock::Moment;
use crate::guest::Programs;
use crate::state::State;

/// The state in the hands of one change. Who changes checks first and changes then: an error means that
/// nothing was changed.
pub(crate) struct Change<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) programs: &'a Programs,
    /// Now, on tokio's clock.
    pub(crate) now: Instant,
    elapsed: Duration,
    substrate: &'a Arc<str>,
    events: Vec<(u64, Event)>,
}

impl<'a> Change<'a> {
    pub(crate) fn new(
        state: &'a mut State,
        programs: &'a Programs,
        substrate: &'a Arc<str>,
        now: Instant,
        elapsed: Duration,
    ) -> Self {
        Self { state, programs, now, elapsed, substrate, events: Vec::new() }
    }

    /// A time of its own for what happens next.
    pub(crate) fn tick(&mut self) -> Moment {
        self.state.tick(self.elapsed)
    }

    /// An event about an instance.
    pub(crate) fn happened(&mut self, kind: EventKind, instance: &InstanceName, detail: Option<String>) {
        let mut event = self.event(kind).with_instance(instance.clone());
        event.detail = detail;
        self.keep(event);
    }

    /// An event about something else, which the detail names.
    pub(crate) fn happened_to(&mut self, kind: EventKind, what: impl Into<String>) {
        let event = self.event(kind).with_detail(what);
        self.keep(event);
    }

    fn event(&mut self, kind: EventKind) -> Event {
        let time = self.tick().system_time();
        Event::new(time, Arc::clone(self.substrate), kind, EventOrigin::Observed)
    }

    fn keep(&mut self, event: Event) {
        self.state.last_event = self.state.last_event.saturating_add(1);
        self.events.push((self.state.last_event, event));
    }

    pub(crate) fn write_log(&mut self, name: &InstanceName, source: LogSource, text: &str) -> Result<()> {
        for line in text.split('\n') {
            let time = self.tick();
            self.state.instance_mut(name)?.write_log(time, source, line);
        }
        Ok(())
    }

    pub(crate) fn into_events(self) -> Vec<(u64, Event)> {
        self.events
    }
}

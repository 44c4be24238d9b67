//! What happened, for those who watch: one bounded history that every watcher reads at its own pace.

use std::collections::VecDeque;

use substrate_core::{Event, WatchCursor, WatchItem};

/// The last events, each with its number, which is the cursor.
///
/// Watchers have no buffers of their own: they hold a position in this one. A watcher that is slower than
/// the history is long is told so by a gap, and the memory is bounded however many there are.
#[derive(Debug)]
pub(crate) struct EventHistory {
    entries: VecDeque<Entry>,
    /// The position of the first entry. Positions count entries, a doubled event has two.
    first: u64,
    /// The highest number among those that are no longer here.
    evicted: u64,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    happening: Happening,
}

#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Event(Event),
    Gap(String),
}

/// What is at a watcher's position.
pub(crate) enum Look {
    /// An item, and the position after it.
    Item(WatchItem, u64),
    /// Items that are no longer there; go on at this position.
    Behind(u64),
    /// Nothing yet.
    Nothing,
}

impl EventHistory {
    /// A history that begins after the events of an earlier process.
    pub(crate) fn new(capacity: usize, last_number: u64) -> Self {
        Self { entries: VecDeque::new(), first: 0, evicted: last_number, capacity: capacity.max(1) }
    }

    pub(crate) fn push(&mut self, number: u64, happening: Happening) {
        while self.entries.len() >= self.capacity {
            if let Some(entry) = self.entries.pop_front() {
                self.first += 1;
                self.evicted = self.evicted.max(entry.number);
            }
        }
        self.entries.push_back(Entry { number, happening });
    }

    /// The position of what happens next.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The position of the first event after `number`, and whether events in between are missing.
    pub(crate) fn after(&self, number: u64, last_number: u64) -> (u64, bool) {
        let skipped = self.entries.partition_point(|entry| entry.number <= number) as u64;
        // A cursor from the future belongs to another history: nothing is known about it.
        (self.first + skipped, number < self.evicted || number > last_number)
    }

    pub(crate) fn look(&self, position: u64, cursors: bool) -> Look {
        if position < self.first {
            return Look::Behind(self.first);
        }
        let index = usize::try_from(position - self.first).unwrap_or(usize::MAX);
        let Some(entry) = self.entries.get(index) else { return Look::Nothing };
        let item = match &entry.happening {
            Happening::Event(event) => WatchItem::Event {
                event: event.clone(),
                cursor: cursors.then(|| WatchCursor(entry.number.to_string())),
            },
            Happening::Gap(reason) => WatchItem::Gap { reason: reason.clone() },
        };
        Look::Item(item, position + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(history: &mut EventHistory, number: u64) {
        history.push(number, Happening::Gap(number.to_string()));
    }

    #[test]
    fn a_position_that_was_overtaken_is_behind() {
        let mut history = EventHistory::new(2, 0);
        for number in 1..=3 {
            gap(&mut history, number);
        }
        assert!(matches!(history.look(0, true), Look::Behind(1)));
        assert!(matches!(history.look(1, true), Look::Item(_, 2)));
        assert!(matches!(history.look(3, true), Look::Nothing));
    }

    #[test]
    fn a_cursor_whose_successors_are_gone_tells_of_a_gap() {
        let mut history = EventHistory::new(2, 0);
        for number in 1..=4 {
            gap(&mut history, number);
        }
        assert_eq!(history.after(1, 4), (2, true));
        assert_eq!(history.after(2, 4), (2, false));
        assert_eq!(history.after(3, 4), (3, false));
        assert_eq!(history.after(9, 4), (4, true));
    }

    #[test]
    fn the_events_of_an_earlier_process_are_a_gap_unless_none_is_missing() {
        let history = EventHistory::new(2, 7);
        assert_eq!(history.after(6, 7), (0, true));
        assert_eq!(history.after(7, 7), (0, false));
    }
}

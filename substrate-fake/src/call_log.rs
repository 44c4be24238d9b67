//! Which calls came, for assertions.

use std::collections::VecDeque;
use std::time::Duration;

use substrate_core::{ErrorKind, InstanceName, NetworkName, Operation, Outcome, VolumeName};

/// One call that reached the fake. Two runs with the same seed and the same calls have equal records.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallRecord {
    /// Its number, from 1, also counting calls that have fallen out of the log.
    pub number: u64,
    /// What was called.
    pub operation: Operation,
    /// When, on tokio's clock since the fake was made.
    pub started: Duration,
    /// How it ended.
    pub outcome: CallOutcome,
    target: Target,
}

impl CallRecord {
    /// The name of what it was about, as the caller wrote it: of an instance, a network, a volume, an image.
    /// Empty when it was about nothing in particular.
    #[must_use]
    pub fn target(&self) -> &str {
        self.target.as_str()
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallOutcome {
    /// It has not ended yet.
    Pending,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed {
        /// With this kind of error.
        kind: ErrorKind,
        /// And this knowledge about its effect.
        outcome: Outcome,
    },
    /// The caller dropped it before it ended.
    Dropped,
}

/// What a call is about: kept as the name that came, which costs a reference count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Nothing,
    Instance(InstanceName),
    Network(NetworkName),
    Volume(VolumeName),
    Image(String),
}

impl Target {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Nothing => "",
            Self::Instance(name) => name.as_str(),
            Self::Network(name) => name.as_str(),
            Self::Volume(name) => name.as_str(),
            Self::Image(reference) => reference,
        }
    }
}

impl From<&InstanceName> for Target {
    fn from(name: &InstanceName) -> Self {
        Self::Instance(name.clone())
    }
}

impl From<&NetworkName> for Target {
    fn from(name: &NetworkName) -> Self {
        Self::Network(name.clone())
    }
}

impl From<&VolumeName> for Target {
    fn from(name: &VolumeName) -> Self {
        Self::Volume(name.clone())
    }
}

/// The last calls.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    records: VecDeque<CallRecord>,
    last_number: u64,
}

impl CallLog {
    /// How many are kept.
    pub(crate) const CAPACITY: usize = 16_384;

    pub(crate) fn begin(&mut self, operation: Operation, target: Target, started: Duration) -> u64 {
        if self.records.len() >= Self::CAPACITY {
            self.records.pop_front();
        }
        self.last_number += 1;
        let number = self.last_number;
        self.records.push_back(CallRecord {
            number,
            operation,
            started,
            outcome: CallOutcome::Pending,
            target,
        });
        number
    }

    pub(crate) fn end(&mut self, number: u64, outcome: CallOutcome) {
        // The records are consecutive, whatever was cleared or fell out at the front.
        let Some(first) = self.records.front().map(|record| record.number) else { return };
        let position = number.checked_sub(first).and_then(|position| usize::try_from(position).ok());
        if let Some(record) = position.and_then(|position| self.records.get_mut(position)) {
            record.outcome = outcome;
        }
    }

    pub(crate) fn records(&self) -> Vec<CallRecord> {
        self.records.iter().cloned().collect()
    }

    /// How many there were in all.
    pub(crate) fn total(&self) -> u64 {
        self.last_number
    }

    pub(crate) fn clear(&mut self) {
        self.records.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(log: &mut CallLog) -> u64 {
        log.begin(Operation::GetInstance, Target::Nothing, Duration::ZERO)
    }

    #[test]
    fn the_log_is_bounded_and_goes_on_counting() {
        let mut log = CallLog::default();
        let first = begin(&mut log);
        for _ in 0..CallLog::CAPACITY {
            begin(&mut log);
        }
        assert_eq!(log.records().len(), CallLog::CAPACITY);
        assert_eq!(log.records()[0].number, 2);
        // Its record has fallen out.
        log.end(first, CallOutcome::Succeeded);
        assert!(log.records().iter().all(|record| record.outcome == CallOutcome::Pending));
    }

    #[test]
    fn a_call_that_ends_after_a_clear_ends_no_other() {
        let mut log = CallLog::default();
        let early = begin(&mut log);
        log.clear();
        let late = begin(&mut log);
        log.end(early, CallOutcome::Succeeded);
        assert_eq!(log.records()[0].outcome, CallOutcome::Pending);
        log.end(late, CallOutcome::Succeeded);
        assert_eq!(log.records()[0].outcome, CallOutcome::Succeeded);
    }
}

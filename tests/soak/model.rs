//! What must be true of an instance, as far as its only caller can tell.

use std::collections::BTreeSet;

use substrates::{Error, ErrorKind, InstanceState, Outcome};

/// What an instance is between two calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Presence {
    Absent,
    Stopped,
    Running,
    Paused,
}

impl Presence {
    pub(crate) const ALL: [Self; 4] = [Self::Absent, Self::Stopped, Self::Running, Self::Paused];

    /// None while it is on its way.
    pub(crate) fn of(state: InstanceState) -> Option<Self> {
        match state {
            // A deletion whose server died half-way leaves something that is there and cannot run.
            InstanceState::Stopped | InstanceState::Failed => Some(Self::Stopped),
            InstanceState::Running => Some(Self::Running),
            InstanceState::Paused => Some(Self::Paused),
            _ => None,
        }
    }
}

/// What changes an instance: a call, or its server's death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Create,
    Start,
    Stop,
    Restart,
    Pause,
    Resume,
    Delete,
    PowerLoss,
}

impl Change {
    /// Those that are calls.
    pub(crate) const CALLS: [Self; 7] =
        [Self::Create, Self::Start, Self::Stop, Self::Restart, Self::Pause, Self::Resume, Self::Delete];

    /// What it is after a success, if it was so before; none where the contract allows no success.
    fn after(self, before: Presence) -> Option<Presence> {
        use Presence::{Absent, Paused, Running, Stopped};
        match (self, before) {
            (Self::Create, Absent) => Some(Stopped),
            // Also of what was not there: when an answer is lost, the one who asks again and hears that nothing is
            // there takes the first try for done.
            (Self::Delete, _) => Some(Absent),
            (Self::Create, _) | (_, Absent) => None,
            (Self::Stop | Self::PowerLoss, _) => Some(Stopped),
            (Self::Start | Self::Restart, _) | (Self::Resume, Running | Paused) => Some(Running),
            (Self::Pause, Running | Paused) => Some(Paused),
            (Self::Resume | Self::Pause, Stopped) => None,
        }
    }

    /// On the way there.
    fn passes(self, before: Presence) -> Option<Presence> {
        // A forced deletion cuts first, a restart stops first.
        let stops = matches!(self, Self::Delete | Self::Restart) && before != Presence::Absent;
        stops.then_some(Presence::Stopped)
    }
}

/// What an instance can be, and which calls may still be under way because nobody knows what became of them.
#[derive(Debug, Clone)]
pub(crate) struct Belief {
    possible: BTreeSet<Presence>,
    late: Vec<Change>,
    /// Since it was seen last.
    history: Vec<String>,
}

impl Belief {
    pub(crate) fn absent() -> Self {
        Self::exactly(Presence::Absent)
    }

    fn exactly(presence: Presence) -> Self {
        Self {
            possible: BTreeSet::from([presence]),
            late: Vec::new(),
            history: vec![format!("it is {presence:?}")],
        }
    }

    /// Nothing can change it but the next call.
    pub(crate) fn is_certain(&self) -> bool {
        self.late.is_empty()
    }

    pub(crate) fn may_be(&self, presence: Presence) -> bool {
        self.possible.contains(&presence)
    }

    /// Its server died, or dies about now: what ran may not run any more.
    pub(crate) fn may_lose_power(&mut self) {
        if !self.late.contains(&Change::PowerLoss) {
            self.history.push("its server dies".to_owned());
            self.late.push(Change::PowerLoss);
            self.widen();
        }
    }

    /// A call succeeded.
    pub(crate) fn did(&mut self, change: Change) -> Result<(), String> {
        self.history.push(format!("{change:?} succeeded"));
        let after: BTreeSet<Presence> = self.possible.iter().filter_map(|one| change.after(*one)).collect();
        if after.is_empty() {
            return Err(self.problem("it cannot have succeeded"));
        }
        self.possible = after;
        self.widen();
        Ok(())
    }

    /// A call failed.
    pub(crate) fn did_not(&mut self, change: Change, error: &Error) -> Result<(), String> {
        self.history.push(format!("{change:?}: {error}"));
        if error.outcome() == Outcome::Unknown {
            self.late.push(change);
            self.widen();
            return Ok(());
        }
        let told: &[Presence] = match error.kind() {
            ErrorKind::NotFound => &[Presence::Absent],
            ErrorKind::AlreadyExists => &[Presence::Stopped, Presence::Running, Presence::Paused],
            // Not now, or not so.
            ErrorKind::Conflict
            | ErrorKind::Busy
            | ErrorKind::RateLimited
            | ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Cancelled => &Presence::ALL,
            _ => return Err(self.problem("no such error is to be expected")),
        };
        let possible: BTreeSet<Presence> =
            self.possible.iter().filter(|one| told.contains(one)).copied().collect();
        if possible.is_empty() {
            return Err(self.problem("it cannot have failed so"));
        }
        self.possible = possible;
        self.widen();
        Ok(())
    }

    /// It was seen when nothing was under way.
    pub(crate) fn is_now(&mut self, presence: Presence) -> Result<(), String> {
        if !self.may_be(presence) {
            return Err(self.problem(&format!("it cannot be {presence:?}")));
        }
        *self = Self::exactly(presence);
        Ok(())
    }

    fn problem(&self, what: &str) -> String {
        format!("{what}, for it was {:?} at most: {}", self.possible, self.history.join("; "))
    }

    /// What may still come of calls whose outcome is unknown.
    fn widen(&mut self) {
        loop {
            let before = self.possible.len();
            for change in &self.late {
                let come: Vec<Presence> = self
                    .possible
                    .iter()
                    .flat_map(|one| [change.after(*one), change.passes(*one)])
                    .flatten()
                    .collect();
                self.possible.extend(come);
            }
            if self.possible.len() == before {
                return;
            }
        }
    }
}

#[test]
fn a_success_that_cannot_be_is_noticed() {
    let mut belief = Belief::absent();
    assert!(belief.clone().did(Change::Start).is_err());
    belief.did(Change::Create).unwrap();
    assert!(belief.clone().is_now(Presence::Running).is_err());
    belief.did(Change::Start).unwrap();
    assert!(belief.clone().did(Change::Create).is_err());
    belief.is_now(Presence::Running).unwrap();
}

#[test]
fn an_unknown_outcome_leaves_open_what_it_may_have_done_and_still_do() {
    let unknown = Error::timeout("no answer").with_outcome(Outcome::Unknown);
    let mut belief = Belief::absent();
    belief.did(Change::Create).unwrap();
    belief.did_not(Change::Delete, &unknown).unwrap();
    assert!(belief.may_be(Presence::Absent) && belief.may_be(Presence::Stopped));
    // The deletion may come after the start.
    belief.did(Change::Start).unwrap();
    assert!(belief.may_be(Presence::Absent) && belief.may_be(Presence::Running));
    belief.is_now(Presence::Absent).unwrap();
    assert!(belief.is_certain());
}

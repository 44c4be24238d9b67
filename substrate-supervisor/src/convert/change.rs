//! What must have happened between two looks.

use std::collections::BTreeMap;

use substrate_core::{EventKind, Instance, InstanceState};

/// What of an instance tells that something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glimpse {
    id: String,
    state: InstanceState,
    started: Option<std::time::SystemTime>,
    detail: String,
}

impl Glimpse {
    pub(crate) fn of(instance: &Instance) -> Self {
        Self {
            id: instance.id.clone(),
            state: instance.state,
            started: instance.started_at,
            detail: instance.provider_state.clone(),
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.state, InstanceState::Running | InstanceState::Stopping)
    }
}

/// All instances at one moment, by name.
pub(crate) type Picture = BTreeMap<String, Glimpse>;

/// One thing that happened: to whom, what, and supervisord's word for the state after it.
pub(crate) type Change = (String, EventKind, Option<String>);

/// The shortest story that leads from one picture to the next, with what cannot be left out of it: who is gone and
/// ran has also stopped.
pub(crate) fn changes(before: &Picture, after: &Picture) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut tell = |name: &str, kind: EventKind, detail: Option<&str>| {
        changes.push((name.to_owned(), kind, detail.map(str::to_owned)));
    };
    for (name, old) in before {
        let new = after.get(name).filter(|new| new.id == old.id);
        if new.is_none() {
            if old.is_up() {
                tell(name, EventKind::Stopped, None);
            }
            tell(name, EventKind::Deleted, None);
        }
    }
    for (name, new) in after {
        let old = before.get(name).filter(|old| old.id == new.id);
        let detail = Some(new.detail.as_str());
        let was_up = old.is_some_and(Glimpse::is_up);
        if old.is_none() {
            tell(name, EventKind::Created, None);
        }
        // A start that is new, unless it is known from a look at the very start.
        let started_anew = new.started.is_some() && old.is_none_or(|old| old.started != new.started);
        if started_anew {
            if was_up {
                tell(name, EventKind::Stopped, None);
            }
            tell(name, EventKind::Started, detail.filter(|_| new.is_up()));
        } else if new.is_up() && !was_up {
            tell(name, EventKind::Started, detail);
        }
        if !new.is_up() && (was_up || started_anew) && new.state != InstanceState::Failed {
            tell(name, EventKind::Stopped, detail);
        }
        let had_failed = old.is_some_and(|old| old.state == InstanceState::Failed);
        if new.state == InstanceState::Failed && (!had_failed || started_anew) {
            tell(name, EventKind::Failed, detail);
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use substrate_core::EventKind::{Created, Deleted, Failed, Started, Stopped};

    use super::*;

    fn picture(entries: &[(&str, &str, InstanceState, u64)]) -> Picture {
        let glimpse = |id: &str, state, started| Glimpse {
            id: id.to_owned(),
            state,
            started: (started > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(started)),
            detail: "WORD".to_owned(),
        };
        entries
            .iter()
            .map(|(name, id, state, started)| ((*name).to_owned(), glimpse(id, *state, *started)))
            .collect()
    }

    fn kinds(
        before: &[(&str, &str, InstanceState, u64)],
        after: &[(&str, &str, InstanceState, u64)],
    ) -> Vec<EventKind> {
        changes(&picture(before), &picture(after)).into_iter().map(|(_, kind, _)| kind).collect()
    }

    #[test]
    fn every_way_from_one_picture_to_the_next_is_told() {
        const DOWN: InstanceState = InstanceState::Stopped;
        const UP: InstanceState = InstanceState::Running;
        const GAVE_UP: InstanceState = InstanceState::Failed;
        let (down, up) = ([("a", "1", DOWN, 0)], [("a", "1", UP, 7)]);
        let again = [("a", "1", UP, 9)];
        let ended = [("a", "1", DOWN, 7)];
        for (before, after, expected) in [
            (&[][..], &down[..], &[Created][..]),
            (&[], &up, &[Created, Started]),
            (&[], &ended, &[Created, Started, Stopped]),
            (&down, &down, &[]),
            (&down, &up, &[Started]),
            (&down, &ended, &[Started, Stopped]),
            (&up, &ended, &[Stopped]),
            (&up, &again, &[Stopped, Started]),
            (&ended, &again, &[Started]),
            (&up, &[("a", "1", DOWN, 9)], &[Stopped, Started, Stopped]),
            (&up, &[("a", "1", GAVE_UP, 9)], &[Stopped, Started, Failed]),
            (&down, &[("a", "1", GAVE_UP, 7)], &[Started, Failed]),
            (&[("a", "1", GAVE_UP, 7)], &[("a", "1", GAVE_UP, 7)], &[]),
            (&up, &[], &[Stopped, Deleted]),
            (&down, &[], &[Deleted]),
            (&up, &[("a", "2", DOWN, 0)], &[Stopped, Deleted, Created]),
        ] {
            assert_eq!(kinds(before, after), expected, "{before:?} -> {after:?}");
        }
    }
}

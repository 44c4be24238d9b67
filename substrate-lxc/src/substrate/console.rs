//! What instances wrote to their consoles, as far as this handle knows.
//!
//! While an instance runs, the server hands each piece of its console out once, to whoever asks first. So what was
//! handed to us is kept here, bounded, for the next reader and for those who follow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;

/// How much of one console is kept: the end of it.
const KEPT: usize = 1 << 20;
/// How many consoles are kept.
const CONSOLES: usize = 1024;
/// By how much of its end a console is found again in the whole that a stopped instance has.
const SEAM: usize = 4096;

/// The consoles by instance id.
#[derive(Debug, Default)]
pub(super) struct Consoles(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Console>>>>);

impl Consoles {
    /// One console; whoever holds it is the only one to ask the server for more of it.
    pub(super) fn of(&self, id: &str) -> Arc<tokio::sync::Mutex<Console>> {
        let mut consoles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !consoles.contains_key(id) && consoles.len() >= CONSOLES {
            // Those that nobody reads at the moment are the ones to forget; any of them will do.
            let idle = consoles.iter().find(|(_, console)| Arc::strong_count(console) == 1);
            if let Some(id) = idle.map(|(id, _)| id.clone()) {
                consoles.remove(&id);
            }
        }
        consoles.entry(id.to_owned()).or_default().clone()
    }

    /// Forgets an instance that was deleted.
    pub(super) fn forget(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// The end of what one instance wrote.
#[derive(Debug, Default)]
pub(super) struct Console {
    kept: BytesMut,
    /// How many bytes came before those that are kept.
    before: u64,
}

impl Console {
    /// Takes a piece that the server handed out.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.kept.extend_from_slice(piece);
        if let Some(surplus) = self.kept.len().checked_sub(KEPT).filter(|surplus| *surplus > 0) {
            let _ = self.kept.split_to(surplus);
            self.before += surplus as u64;
        }
    }

    /// Everything that is kept.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// The position behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.before + self.kept.len() as u64
    }

    /// What was written from a position on, as far as it is kept.
    pub(super) fn since(&self, position: u64) -> &[u8] {
        let skipped = usize::try_from(position.saturating_sub(self.before)).unwrap_or(usize::MAX);
        self.kept.get(skipped..).unwrap_or_default()
    }

    /// Takes what a stopped instance's console has beyond what is kept: it has everything, or only what nobody was
    /// handed before.
    pub(super) fn complete(&mut self, rest: &[u8]) {
        if self.kept.ends_with(rest) {
            return;
        }
        let seam = self.seam();
        let new = if seam.is_empty() {
            rest
        } else {
            match rest.windows(seam.len()).rposition(|window| window == seam) {
                Some(position) => rest.get(position + seam.len()..).unwrap_or_default(),
                None => rest,
            }
        };
        let new = new.to_vec();
        self.push(&new);
    }

    /// All that is known of a stopped instance's console: what it has itself, if that goes as far as what is kept.
    pub(super) fn whole<'a>(&'a self, rest: &'a [u8]) -> &'a [u8] {
        if rest.len() > self.kept.len() && rest.ends_with(self.seam()) { rest } else { &self.kept }
    }

    fn seam(&self) -> &[u8] {
        self.kept.get(self.kept.len().saturating_sub(SEAM)..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_kept_for_every_reader() {
        let mut console = Console::default();
        console.push(b"one\n");
        let position = console.end();
        console.push(b"two\n");
        assert_eq!(console.since(position), b"two\n");
        assert_eq!(console.kept(), b"one\ntwo\n");
    }

    #[test]
    fn the_end_is_kept_and_no_more() {
        let mut console = Console::default();
        console.push(&vec![b'x'; KEPT]);
        console.push(b"end");
        assert_eq!(console.kept().len(), KEPT);
        assert!(console.kept().ends_with(b"xend"));
        assert_eq!(console.since(console.end() - 3), b"end");
        assert_eq!(console.since(0).len(), KEPT);
        assert_eq!(console.since(u64::MAX), b"");
    }

    #[test]
    fn a_stopped_instance_adds_what_is_new() {
        let mut console = Console::default();
        console.push(b"one\ntwo\n");
        let everything = b"zero\none\ntwo\nthree\n";
        console.complete(everything);
        assert_eq!(console.kept(), b"one\ntwo\nthree\n");
        console.complete(everything);
        assert_eq!(console.kept(), b"one\ntwo\nthree\n", "a second look adds nothing");
        assert_eq!(console.whole(everything), everything);
    }

    #[test]
    fn a_stopped_instance_that_only_has_the_rest_adds_that() {
        let mut console = Console::default();
        console.push(b"one\ntwo\n");
        for _ in 0..2 {
            console.complete(b"bye\n");
            assert_eq!(console.whole(b"bye\n"), b"one\ntwo\nbye\n");
        }
        let mut fresh = Console::default();
        fresh.complete(b"bye\n");
        assert_eq!(fresh.whole(b"bye\n"), b"bye\n");
    }

    #[test]
    fn consoles_are_bounded_and_those_in_use_stay() {
        let consoles = Consoles::default();
        let used = consoles.of("used");
        for number in 0..2 * CONSOLES {
            consoles.of(&number.to_string());
        }
        assert!(consoles.0.lock().unwrap().len() <= CONSOLES);
        assert!(Arc::ptr_eq(&used, &consoles.of("used")));
    }
}

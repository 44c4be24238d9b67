//! Changing a guest: one order, followed to its end, through moves and locks.

use substrate_core::{Error, Result};

use super::ProxmoxSubstrate;
use super::locate::guest_path;
use super::waiting::wait_at_most;
use crate::client::{Form, Upid};
use crate::convert::guest::Place;
use crate::error;

/// What kind of call it is.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Post,
    Put,
    Delete,
}

/// A call about a guest that changes something.
pub(super) struct Order {
    attempt: String,
    verb: Verb,
    parts: Vec<String>,
    form: Form,
}

impl Order {
    fn new(attempt: impl Into<String>, verb: Verb, parts: &[&str], form: Form) -> Self {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        Self { attempt: attempt.into(), verb, parts, form }
    }

    pub(super) fn post(attempt: impl Into<String>, parts: &[&str], form: Form) -> Self {
        Self::new(attempt, Verb::Post, parts, form)
    }

    pub(super) fn put(attempt: impl Into<String>, parts: &[&str], form: Form) -> Self {
        Self::new(attempt, Verb::Put, parts, form)
    }

    pub(super) fn delete(attempt: impl Into<String>, parts: &[&str], form: Form) -> Self {
        Self::new(attempt, Verb::Delete, parts, form)
    }
}

impl ProxmoxSubstrate {
    /// Gives an order and waits for its end. A lock that another operation holds is waited for: the API gives up
    /// after one to ten seconds, and then nothing has happened. A lock is never taken away.
    pub(super) async fn order(&self, place: &mut Place, order: &Order) -> Result<()> {
        let mut wait = wait_at_most(self.config.lock_timeout);
        loop {
            self.memory.touch(place.vmid);
            let result = self.wherever(place, |place| self.give(place, order)).await;
            self.memory.touch(place.vmid);
            match result {
                Err(error) if error::is_locked(&error) => {
                    if error::is_locked_for_long(&error) || !wait.pause().await {
                        return Err(busy(error));
                    }
                }
                result => return result,
            }
        }
    }

    async fn give(&self, place: Place, order: &Order) -> Result<()> {
        let parts: Vec<&str> = order.parts.iter().map(String::as_str).collect();
        let target = guest_path(&place, &parts);
        let form = order.form.clone();
        let data = match order.verb {
            Verb::Post => self.client.post(&order.attempt, &target, form).await?,
            Verb::Put => self.client.put(&order.attempt, &target, form).await?,
            Verb::Delete => self.client.delete(&order.attempt, &target, form).await?,
        };
        if data.is_null() {
            return Ok(());
        }
        let upid = Upid::parse(&order.attempt, &data)?;
        self.client.follow(&order.attempt, &upid).await
    }
}

pub(super) fn busy(error: Error) -> Error {
    error.with_hint(
        "another operation holds the guest's lock; wait for it, and if there is none, a failed one left it: \
         a human has to look, then `qm unlock` or `pct unlock`",
    )
}

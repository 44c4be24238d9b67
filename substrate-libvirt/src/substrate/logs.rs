//! What a machine wrote on its console.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use substrate_core::provider::Wait;
use substrate_core::{Error, InstanceName, LogLine, LogOptions, LogStream, Operation, Result};

use super::LibvirtSubstrate;
use super::lookup::{facts, find, is_active, missing, state_of};
use super::storage;
use crate::client::Client;
use crate::convert::lines::Lines;
use crate::error::Attempt;
use crate::name;

/// Where a machine's log is.
#[derive(Debug, Clone)]
struct Log {
    client: Arc<Client>,
    uuid: String,
    pool: String,
}

/// What one look at the log gave.
struct Reading {
    lines: Vec<LogLine>,
    offset: u64,
    pending: Lines,
    /// Whether more may come.
    active: bool,
}

impl LibvirtSubstrate {
    pub(super) async fn logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        self.require(Operation::GetLogs)?;
        options.require_features(&self.descriptor.get().capabilities)?;
        let (wanted, settings) = (name.clone(), Arc::clone(&self.config));
        let (uuid, pool) = self
            .client
            .look(move |connection| {
                let facts = facts(&find(connection, wanted.as_str())?)?;
                if facts.console_log().is_none() {
                    return Err(Error::unsupported("the machine's console is not written to a file")
                        .with_hint("machines made by this provider have a log; add <log> to the domain's serial port"));
                }
                Ok((facts.uuid, facts.note.pool.unwrap_or_else(|| settings.pool.clone())))
            })
            .await?;
        let log = Log { client: Arc::clone(&self.client), uuid, pool };
        if options.lines == Some(0) && !options.follow {
            return Ok(stream::empty().boxed());
        }
        let mut reading = log.read(0, Lines::default()).await?;
        if let Some(count) = options.lines {
            let surplus = reading.lines.len().saturating_sub(count);
            // A line that has not ended counts as the last one.
            reading.lines.drain(..surplus);
        }
        if !options.follow {
            let mut lines = std::mem::take(&mut reading.lines);
            lines.extend(reading.pending.rest());
            if let Some(count) = options.lines {
                lines.drain(..lines.len().saturating_sub(count));
            }
            return Ok(stream::iter(lines.into_iter().map(Ok)).boxed());
        }
        let follower = Follower {
            ready: reading.lines.into(),
            offset: reading.offset,
            pending: reading.pending,
            active: reading.active,
            log,
        };
        Ok(stream::unfold(Some(follower), Follower::step).boxed())
    }
}

impl Log {
    /// Reads what was written behind an offset. The state is looked at first: what is written afterwards comes with
    /// the next look.
    async fn read(&self, offset: u64, mut pending: Lines) -> Result<Reading> {
        let (uuid, pool_name) = (self.uuid.clone(), self.pool.clone());
        self.client
            .look(move |connection| {
                let active = match find(connection, &uuid).and_then(|domain| state_of(&domain)) {
                    Ok(state) => is_active(state),
                    Err(error) if error.is_not_found() => false,
                    Err(error) => return Err(error),
                };
                let pool = storage::pool(connection, &pool_name)?;
                let Some(volume) = storage::volume(&pool, &name::log_of(&uuid))? else {
                    return Err(missing(&uuid));
                };
                let length = volume.info().attempt("measure the log")?.capacity;
                // It was begun anew when it had grown too long.
                let start = if length < offset { 0 } else { offset };
                let (mut lines, mut position) = (Vec::new(), start);
                if length > start {
                    storage::read_from(connection, &volume, start, |piece| {
                        position += piece.len() as u64;
                        lines.extend(pending.push(piece));
                        Ok(())
                    })?;
                }
                Ok(Reading { lines, offset: position, pending, active })
            })
            .await
    }
}

/// Reads a log as it grows.
struct Follower {
    log: Log,
    ready: VecDeque<LogLine>,
    offset: u64,
    pending: Lines,
    active: bool,
}

impl Follower {
    async fn step(state: Option<Self>) -> Option<(Result<LogLine>, Option<Self>)> {
        let mut follower = state?;
        let mut wait = Wait::without_end();
        loop {
            if let Some(line) = follower.ready.pop_front() {
                return Some((Ok(line), Some(follower)));
            }
            if !follower.active {
                return follower.pending.rest().map(|line| (Ok(line), Some(follower)));
            }
            wait.pause().await;
            let pending = std::mem::take(&mut follower.pending);
            match follower.log.read(follower.offset, pending).await {
                Ok(reading) => {
                    follower.ready.extend(reading.lines);
                    (follower.offset, follower.pending, follower.active) =
                        (reading.offset, reading.pending, reading.active);
                }
                // The machine went, and its log with it.
                Err(error) if error.is_not_found() => return None,
                Err(error) => return Some((Err(error), None)),
            }
        }
    }
}

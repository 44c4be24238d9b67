//! What an instance wrote: its console.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use substrate_core::{Error, InstanceName, InstanceState, LogLine, LogOptions, LogStream, Result};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::LxcSubstrate;
use super::console::Console;
use super::lifecycle::target;
use crate::client::Client;
use crate::convert::console::lines;
use crate::convert::instance::Document;

/// How often a follower asks: the servers tell nobody that there is more.
const PAUSE: Duration = Duration::from_millis(100);
const ATTEMPT: &str = "read the console";

impl LxcSubstrate {
    pub(super) async fn logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        options.require_features(&self.descriptor.get().capabilities)?;
        let document = self.find(name.as_str()).await?;
        let reader = Reader {
            client: self.client.clone(),
            console: self.consoles.of(document.id()),
            name: document.name.clone(),
            id: document.id().to_owned(),
        };
        let last = |mut lines: Vec<LogLine>| {
            let surplus = lines.len().saturating_sub(options.lines.unwrap_or(usize::MAX));
            lines.drain(..surplus);
            lines
        };
        if !runs(&document) {
            let mut console = reader.console.lock().await;
            let rest = reader.ask().await?;
            console.complete(&rest);
            let told = lines(console.whole(&rest), true).0;
            return Ok(stream::iter(last(told).into_iter().map(Ok)).boxed());
        }
        let reading = reader.read(None).await?;
        let (told, taken) = lines(&reading.bytes, !options.follow);
        let told = last(told);
        if !options.follow {
            return Ok(stream::iter(told.into_iter().map(Ok)).boxed());
        }
        let follower = Follower {
            position: reading.position + taken as u64,
            waiting: told.into(),
            ended: reading.ended,
            reader,
        };
        Ok(stream::unfold(Some(follower), Follower::step).boxed())
    }
}

fn runs(document: &Document) -> bool {
    !matches!(document.state(), InstanceState::Stopped | InstanceState::Failed)
}

/// One instance's console on the server, and what we were handed of it.
struct Reader {
    client: Arc<Client>,
    console: Arc<Mutex<Console>>,
    name: String,
    id: String,
}

/// A piece of a console.
struct Reading {
    bytes: Bytes,
    /// Where the piece begins.
    position: u64,
    /// Nothing more will come.
    ended: bool,
}

impl Reader {
    /// What the server hands out: of a running instance what is new, of a stopped one everything.
    async fn ask(&self) -> Result<Bytes> {
        match self.client.get_raw(ATTEMPT, &target(&self.name).segment("console")).await {
            Ok((_, bytes)) => Ok(bytes),
            // How LXD 5.0 says that there is nothing new, and Incus that the instance has just ended.
            Err(error)
                if error.message().contains("no such file or directory")
                    || error.message().contains("connection refused") =>
            {
                Ok(Bytes::new())
            }
            Err(error) => Err(error),
        }
    }

    /// What was written since a position; everything that is known without one.
    async fn read(&self, since: Option<u64>) -> Result<Reading> {
        let mut console = self.console.lock().await;
        let piece = self.ask().await?;
        // Asked after the piece: it is a piece, and not the whole of a stopped instance, if it still runs now.
        let still_runs = self.still_runs().await?;
        if still_runs {
            console.push(&piece);
        } else {
            let whole = self
                .ask()
                .await
                .or_else(|error| if error.is_not_found() { Ok(piece) } else { Err(error) })?;
            console.complete(&whole);
        }
        let bytes = match since {
            Some(position) => console.since(position),
            None => console.kept(),
        };
        Ok(Reading {
            position: console.end() - bytes.len() as u64,
            bytes: Bytes::copy_from_slice(bytes),
            ended: !still_runs,
        })
    }

    async fn still_runs(&self) -> Result<bool> {
        match self.client.get::<Document>(ATTEMPT, &target(&self.name)).await {
            Ok(document) => Ok(document.id() == self.id && runs(&document)),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A log that goes on until the instance stops or is gone.
struct Follower {
    reader: Reader,
    position: u64,
    waiting: VecDeque<LogLine>,
    ended: bool,
}

impl Follower {
    async fn step(state: Option<Self>) -> Option<(Result<LogLine>, Option<Self>)> {
        let mut follower = state?;
        loop {
            if let Some(line) = follower.waiting.pop_front() {
                return Some((Ok(line), Some(follower)));
            }
            if follower.ended {
                return None;
            }
            match follower.more().await {
                Ok(()) => {}
                // Deleted in between: that is an end.
                Err(error) if error.is_not_found() => return None,
                Err(error) => return Some((Err::<LogLine, Error>(error), None)),
            }
            if follower.waiting.is_empty() && !follower.ended {
                sleep(PAUSE).await;
            }
        }
    }

    async fn more(&mut self) -> Result<()> {
        let reading = self.reader.read(Some(self.position)).await?;
        let (lines, taken) = lines(&reading.bytes, reading.ended);
        self.position = reading.position + taken as u64;
        self.waiting.extend(lines);
        self.ended = reading.ended;
        Ok(())
    }
}

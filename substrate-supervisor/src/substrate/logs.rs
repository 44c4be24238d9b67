//! Logs: the last lines, and those to come, of both streams.
//!
//! supervisord writes each stream into a file, without times, and moves a full file aside. Where it runs on this
//! host the files are read as they are. Else it is asked, and then a log that is not UTF-8 cannot be had: it
//! answers with text only, and fails on a piece that begins or ends within a character.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use substrate_core::{Error, InstanceName, LogLine, LogOptions, LogSource, LogStream, Result};

use super::{Shared, SupervisorSubstrate};
use crate::client::Call;
use crate::convert::lines::LineAssembler;
use crate::name::Address;

#[path = "log_source.rs"]
mod source;

use source::{Channel, LogFile};

/// Between two looks of a follower.
const PAUSE: Duration = Duration::from_millis(200);
/// How much of a log's end is read for its last lines, at first. Eight times as much when it was not enough.
const FIRST_WINDOW: u64 = 64 << 10;

impl SupervisorSubstrate {
    pub(super) async fn logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        options.require_features(&self.shared.descriptor.get().capabilities)?;
        let found = self.shared.find(name).await?;
        let Some(process) = &found.process else {
            // It was never loaded, so it never wrote.
            return Ok(stream::empty().boxed());
        };
        let is_here = self.shared.is_on_this_host().await?;
        let mut tails = Vec::new();
        for (channel, path) in
            [(Channel::Stdout, &process.stdout_log), (Channel::Stderr, &process.stderr_log)]
        {
            if let Some(path) = path {
                let path = is_here.then(|| path.into());
                let file = LogFile::new(self.shared.clone(), found.address.namespec(), channel, path);
                let mut tail = Tail { file, assembler: LineAssembler::default(), end: None };
                tail.begin(options).await?;
                tails.push(tail);
            }
        }
        if tails.is_empty() {
            return Err(Error::unsupported("its output goes to no file (`NONE`, or the system's log)")
                .with_hint("set `stdout_logfile` in its section"));
        }
        let reading = Reading {
            shared: self.shared.clone(),
            address: found.address,
            tails: tails.into(),
            follow: options.follow,
            ending: false,
        };
        Ok(stream::unfold(Some(reading), Reading::step).boxed())
    }
}

/// One stream's log.
struct Tail {
    file: LogFile,
    assembler: LineAssembler,
    /// Where to end, when nothing is followed: a program that writes faster than it is read has no end.
    end: Option<u64>,
}

impl Tail {
    /// Goes to where the reading shall begin.
    async fn begin(&mut self, options: &LogOptions) -> Result<()> {
        let size = self.file.size().await?;
        self.end = (!options.follow).then_some(size);
        let Some(lines) = options.lines else { return Ok(()) };
        if lines == 0 {
            // Not in the middle of a line, of which only the rest would be told.
            return self.file.seek_line_start(size).await;
        }
        let mut window = FIRST_WINDOW;
        loop {
            let start = size.saturating_sub(window);
            self.assembler = LineAssembler::default();
            self.file.seek(start);
            while self.file.offset() < size {
                let piece = self.file.read(Some(size)).await?;
                if piece.is_empty() {
                    break;
                }
                self.assembler.push(&piece);
            }
            if !options.follow {
                self.assembler.finish();
            }
            // The first line of a window is the end of one.
            if start == 0 || self.assembler.len() > lines {
                self.assembler.keep_last(lines);
                return Ok(());
            }
            window = window.saturating_mul(8);
        }
    }

    /// The next line that is there.
    async fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            if let Some(message) = self.assembler.next() {
                return Ok(Some(LogLine { time: None, source: self.file.channel().source(), message }));
            }
            let piece = self.file.read(self.end).await?;
            if piece.is_empty() {
                return Ok(None);
            }
            self.assembler.push(&piece);
        }
    }
}

/// A log stream under way.
struct Reading {
    shared: Arc<Shared>,
    address: Address,
    tails: VecDeque<Tail>,
    follow: bool,
    /// The process has stopped: what is there now is the rest.
    ending: bool,
}

impl Reading {
    async fn step(state: Option<Self>) -> Option<(Result<LogLine>, Option<Self>)> {
        let mut reading = state?;
        match reading.next().await {
            Ok(Some(line)) => Some((Ok(line), Some(reading))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }

    async fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            for tail in &mut self.tails {
                if let Some(line) = tail.next().await? {
                    return Ok(Some(line));
                }
            }
            if !self.follow || self.ending {
                // What has no line end will get none any more.
                while let Some(tail) = self.tails.front_mut() {
                    tail.assembler.finish();
                    if let Some(line) = tail.next().await? {
                        return Ok(Some(line));
                    }
                    self.tails.pop_front();
                }
                return Ok(None);
            }
            // Looked at before the last reading, so that nothing of what was written until then is missed.
            let found = self.shared.look(&self.address).await?;
            self.ending = found.and_then(|found| found.process).is_none_or(|process| process.state.is_down());
            if !self.ending {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Channel {
    fn source(self) -> LogSource {
        match self {
            Self::Stdout => LogSource::Stdout,
            Self::Stderr => LogSource::Stderr,
        }
    }

    fn read_call(self, namespec: &str) -> Call {
        Call::new(match self {
            Self::Stdout => "supervisor.readProcessStdoutLog",
            Self::Stderr => "supervisor.readProcessStderrLog",
        })
        .text(namespec)
    }

    fn tail_call(self, namespec: &str) -> Call {
        Call::new(match self {
            Self::Stdout => "supervisor.tailProcessStdoutLog",
            Self::Stderr => "supervisor.tailProcessStderrLog",
        })
        .text(namespec)
    }
}

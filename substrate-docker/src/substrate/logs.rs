//! What a container wrote.

use std::collections::{HashSet, VecDeque};
use std::time::SystemTime;

use futures_util::{StreamExt, stream};
use http_body_util::BodyStream;
use hyper::body::Incoming;
use substrate_core::{Error, InstanceName, LogLine, LogOptions, LogSource, LogStream, Result};

use super::DockerSubstrate;
use crate::client::{Client, Driver, Target};
use crate::convert::lines::{Assembled, LineAssembler};
use crate::convert::time::to_query;
use crate::error;

/// How many entries more than lines are asked for, so that the first line wanted is whole.
const SPARE_ENTRIES: usize = 8;
/// When that was not enough, by how much more to ask the next time.
const GROWTH: usize = 8;

impl DockerSubstrate {
    pub(super) async fn logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        options.require_features(&self.descriptor.get().capabilities)?;
        let container = self.inspect(name).await?;
        let log = Log { client: &self.client, id: &container.id, terminal: container.config.tty };
        match (options.lines, options.follow) {
            (Some(0), false) => Ok(stream::empty().boxed()),
            (None | Some(0), follow) => {
                let reading = log.open(options.lines, options.since, follow).await?;
                Ok(reading.into_stream())
            }
            (Some(count), false) => {
                let lines = log.last(count, options.since).await?.into_iter();
                Ok(stream::iter(lines.map(|assembled| Ok(assembled.line))).boxed())
            }
            (Some(count), true) => log.last_and_on(count, options.since).await,
        }
    }
}

/// One container's log.
struct Log<'a> {
    client: &'a Client,
    id: &'a str,
    terminal: bool,
}

impl Log<'_> {
    async fn open(&self, tail: Option<usize>, since: Option<SystemTime>, follow: bool) -> Result<Reading> {
        let mut target = Target::new("/containers")
            .segment(self.id)
            .segment("logs")
            .with("stdout", "1")
            .with("stderr", "1")
            .with("timestamps", "1")
            .with("tail", &tail.map_or_else(|| "all".to_owned(), |count| count.to_string()));
        if let Some(since) = since {
            target = target.with("since", &to_query(since));
        }
        if follow {
            target = target.with("follow", "1");
        }
        let (body, driver) = self.client.stream("read the log", &target).await.map_err(|error| {
            if error.message().contains("does not support reading") {
                return Error::unsupported(error.message())
                    .with_hint("create the container with the log driver json-file, local or journald");
            }
            error
        })?;
        Ok(Reading { body, _driver: driver, assembler: LineAssembler::new(self.terminal), ended: false })
    }

    /// The last `count` lines. The daemon counts entries, of which a long line has several, so more is asked
    /// for until the first line wanted is surely whole. Only `count` lines are kept in memory.
    async fn last(&self, count: usize, since: Option<SystemTime>) -> Result<VecDeque<Assembled>> {
        let mut asked = count.saturating_add(SPARE_ENTRIES);
        loop {
            let mut reading = self.open(Some(asked), since, false).await?;
            let mut kept: VecDeque<Assembled> = VecDeque::new();
            while let Some(line) = reading.next().await {
                if kept.len() == count {
                    kept.pop_front();
                }
                kept.push_back(line?);
            }
            // An entry in the middle of a line can only stand near the beginning of the reading.
            let doubtful = |line: &Assembled| line.first_of_source && line.entries_before < SPARE_ENTRIES;
            let is_whole_log = reading.assembler.entries() < asked;
            if is_whole_log || (kept.len() == count && !kept.iter().any(doubtful)) {
                return Ok(kept);
            }
            asked = asked.saturating_mul(GROWTH);
        }
    }

    /// The last `count` lines, and everything that is written from then on.
    async fn last_and_on(&self, count: usize, since: Option<SystemTime>) -> Result<LogStream> {
        let kept = self.last(count, since).await?;
        let (lines, mut junction) = Junction::after(kept);
        // Without a time to go on from, nothing was written yet: what comes is everything.
        let on = self.open(None, junction.resume.or(since), true).await?.into_stream();
        let new = on
            .filter(move |item| std::future::ready(item.as_ref().map_or(true, |line| junction.is_new(line))));
        Ok(stream::iter(lines.into_iter().map(Ok)).chain(new).boxed())
    }
}

/// Where the end of a log, read once, and its continuation meet. The second reading begins at the last line
/// of the first: the daemon has no other position than a time, and several lines can have the same.
struct Junction {
    resume: Option<SystemTime>,
    oldest_told: Option<SystemTime>,
    told: HashSet<(Option<SystemTime>, LogSource, String)>,
}

impl Junction {
    fn after(kept: VecDeque<Assembled>) -> (Vec<LogLine>, Self) {
        // A last line without an end is still being written: it is not told yet, but read again, whole.
        let unfinished = kept.iter().filter(|line| !line.complete).filter_map(|line| line.line.time).min();
        let resume = unfinished.or_else(|| kept.iter().filter_map(|line| line.line.time).max());
        let lines: Vec<LogLine> = kept
            .into_iter()
            .filter(|line| line.complete || line.line.time.is_none())
            .map(|assembled| assembled.line)
            .collect();
        let told = lines
            .iter()
            .filter(|line| line.time >= resume)
            .map(|line| (line.time, line.source, line.message.clone()))
            .collect();
        let oldest_told = lines.first().and_then(|line| line.time);
        (lines, Self { resume, oldest_told, told })
    }

    fn is_new(&mut self, line: &LogLine) -> bool {
        // Before the first line told: it was left out on purpose, unless it is the one that was unfinished.
        if line.time < self.oldest_told && line.time != self.resume {
            return false;
        }
        self.told.is_empty() || !self.told.remove(&(line.time, line.source, line.message.clone()))
    }
}

/// A log stream under way.
struct Reading {
    body: BodyStream<Incoming>,
    _driver: Driver,
    assembler: LineAssembler,
    ended: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Assembled>> {
        loop {
            if let Some(line) = self.assembler.next() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            let pushed = match self.body.next().await {
                Some(Ok(frame)) => frame.into_data().map_or(Ok(()), |data| self.assembler.push(&data)),
                Some(Err(error)) => Err(error::broken("read the log", &error)),
                None => {
                    self.assembler.finish();
                    self.ended = true;
                    Ok(())
                }
            };
            if let Err(error) = pushed {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    fn into_stream(self) -> LogStream {
        let lines = stream::unfold(self, async |mut reading| {
            let line = reading.next().await?;
            Some((line.map(|assembled| assembled.line), reading))
        });
        lines.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(seconds: u64, message: &str, complete: bool) -> Assembled {
        let time = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let line = LogLine { time, source: LogSource::Stdout, message: message.to_owned() };
        Assembled { line, entries_before: 0, first_of_source: false, complete }
    }

    #[test]
    fn a_line_is_told_once_where_the_end_and_its_continuation_meet() {
        let kept = VecDeque::from([line(1, "a", true), line(2, "b", true), line(2, "c", true)]);
        let (lines, mut junction) = Junction::after(kept);
        assert_eq!(lines.len(), 3);
        assert_eq!(junction.resume, line(2, "", true).line.time);
        assert!(!junction.is_new(&line(2, "b", true).line));
        assert!(!junction.is_new(&line(2, "c", true).line));
        assert!(junction.is_new(&line(2, "c", true).line), "the same words once more are another line");
        assert!(junction.is_new(&line(3, "d", true).line));
    }

    #[test]
    fn an_unfinished_line_is_told_when_it_is_whole() {
        let (lines, mut junction) =
            Junction::after(VecDeque::from([line(5, "b", true), line(4, "half", false)]));
        assert_eq!(lines.len(), 1);
        assert!(junction.is_new(&line(4, "half and half", true).line));
        assert!(!junction.is_new(&line(5, "b", true).line));
    }
}

//! Log lines out of log entries.
//!
//! The daemon cuts lines into entries of 16 KiB, each with a time in front, only the last with a line end.
//! With a terminal there are no frames, so the times of the later entries stand in the middle of the line.

use std::collections::VecDeque;
use std::time::SystemTime;

use bytes::BytesMut;
use substrate_core::{Error, LogLine, LogSource, Result};

use super::frame::{Demultiplexer, Source};
use super::time;

/// Where the daemon cuts a line.
const ENTRY_SIZE: usize = 16 * 1024;
/// A longer line is handed on in pieces: memory stays bounded whatever an instance writes.
const LINE_LIMIT: usize = 64 << 20;
/// The longest time in front of an entry: `2026-11-21T04:13:03.201834498+01:00 `.
const TIME_LIMIT: usize = 36;

/// A line, and how far it can be trusted to be whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assembled {
    pub(crate) line: LogLine,
    /// How many entries of the log came before it in this reading.
    pub(crate) entries_before: usize,
    /// Whether it is the first line of its source in this reading: a reading that begins in the middle of
    /// the log may begin in the middle of a line.
    pub(crate) first_of_source: bool,
    /// Whether it has a line end.
    pub(crate) complete: bool,
}

/// One line in the making.
#[derive(Debug, Default)]
struct Unfinished {
    text: BytesMut,
    time: Option<SystemTime>,
    begun: bool,
    lines: usize,
    entries_before: usize,
}

/// Assembles lines from the bytes of a log stream.
#[derive(Debug)]
pub(crate) struct LineAssembler {
    terminal: bool,
    frames: Demultiplexer,
    entry: BytesMut,
    entries: usize,
    stdout: Unfinished,
    stderr: Unfinished,
    ready: VecDeque<Assembled>,
}

impl LineAssembler {
    /// An assembler for the log of an instance with or without a terminal.
    pub(crate) fn new(terminal: bool) -> Self {
        Self {
            terminal,
            frames: Demultiplexer::default(),
            entry: BytesMut::new(),
            entries: 0,
            stdout: Unfinished::default(),
            stderr: Unfinished::default(),
            ready: VecDeque::new(),
        }
    }

    /// How many entries were read.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Takes bytes of the stream.
    ///
    /// # Errors
    /// `Protocol` when they are no frames.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<()> {
        if self.terminal {
            return self.push_terminal(data);
        }
        self.frames.buffer().extend_from_slice(data);
        while let Some(piece) = self.frames.next()? {
            self.entry.extend_from_slice(&piece.data);
            if self.entry.len() > LINE_LIMIT {
                return Err(Error::protocol("the log has an entry of more than 64 MiB"));
            }
            if piece.last {
                let entry = self.entry.split();
                self.take_entry(piece.source, &entry);
            }
        }
        Ok(())
    }

    fn take_entry(&mut self, source: Source, entry: &[u8]) {
        let (time, text) = split_time(entry);
        let unfinished = match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        if !unfinished.begun {
            unfinished.begun = true;
            unfinished.time = time;
            unfinished.entries_before = self.entries;
        }
        self.entries += 1;
        unfinished.text.extend_from_slice(text);
        if unfinished.text.last() == Some(&b'\n') || unfinished.text.len() > LINE_LIMIT {
            self.ready.push_back(unfinished.finish(log_source(source)));
        }
    }

    fn push_terminal(&mut self, data: &[u8]) -> Result<()> {
        let mut rest = data;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            self.entry.extend_from_slice(line);
            rest = after;
            let line = self.entry.split();
            self.take_terminal_line(&line);
        }
        self.entry.extend_from_slice(rest);
        if self.entry.len() > LINE_LIMIT {
            let line = self.entry.split();
            self.take_terminal_line(&line);
        }
        Ok(())
    }

    fn take_terminal_line(&mut self, line: &[u8]) {
        let (time, mut rest) = split_time(line);
        self.stdout.begun = true;
        self.stdout.time = time;
        self.stdout.entries_before = self.entries;
        self.entries += 1;
        // An entry in the middle of a line is exactly as long as the daemon makes them.
        while let Some((entry, after)) = rest.split_at_checked(ENTRY_SIZE) {
            self.stdout.text.extend_from_slice(entry);
            let (time, text) = split_time(after);
            rest = if time.is_some() { text } else { after };
            self.entries += usize::from(time.is_some());
        }
        self.stdout.text.extend_from_slice(rest);
        self.ready.push_back(self.stdout.finish(LogSource::Stdout));
    }

    /// The next whole line.
    pub(crate) fn next(&mut self) -> Option<Assembled> {
        self.ready.pop_front()
    }

    /// At the end of the stream: what has no line end is a line all the same.
    pub(crate) fn finish(&mut self) {
        if self.terminal && !self.entry.is_empty() {
            let line = self.entry.split();
            self.take_terminal_line(&line);
        }
        for (source, unfinished) in
            [(LogSource::Stdout, &mut self.stdout), (LogSource::Stderr, &mut self.stderr)]
        {
            if unfinished.begun && !unfinished.text.is_empty() {
                self.ready.push_back(unfinished.finish(source));
            }
        }
    }
}

impl Unfinished {
    fn finish(&mut self, source: LogSource) -> Assembled {
        let mut text = self.text.split();
        let complete = text.last() == Some(&b'\n');
        if complete {
            text.truncate(text.len() - 1);
        }
        if text.last() == Some(&b'\r') {
            text.truncate(text.len() - 1);
        }
        let first_of_source = self.lines == 0;
        self.lines += 1;
        self.begun = false;
        Assembled {
            line: LogLine {
                time: self.time.take(),
                source,
                message: String::from_utf8_lossy(&text).into_owned(),
            },
            entries_before: self.entries_before,
            first_of_source,
            complete,
        }
    }
}

fn log_source(source: Source) -> LogSource {
    match source {
        Source::Stdout => LogSource::Stdout,
        Source::Stderr => LogSource::Stderr,
    }
}

/// The time in front of an entry, and the rest.
fn split_time(entry: &[u8]) -> (Option<SystemTime>, &[u8]) {
    let head = entry.get(..TIME_LIMIT).unwrap_or(entry);
    let Some(space) = head.iter().position(|byte| *byte == b' ') else { return (None, entry) };
    let (stamp, rest) = entry.split_at(space);
    match std::str::from_utf8(stamp).ok().and_then(time::parse) {
        Some(time) => (Some(time), rest.get(1..).unwrap_or_default()),
        None => (None, entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &str = "2026-11-21T04:13:03.201834498Z ";

    fn frame(kind: u8, text: &str) -> Vec<u8> {
        let payload = format!("{STAMP}{text}");
        let mut frame = vec![kind, 0, 0, 0];
        frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend(payload.as_bytes());
        frame
    }

    fn lines(terminal: bool, stream: &[u8], step: usize) -> Vec<Assembled> {
        let mut assembler = LineAssembler::new(terminal);
        for read in stream.chunks(step) {
            assembler.push(read).unwrap();
        }
        assembler.finish();
        std::iter::from_fn(|| assembler.next()).collect()
    }

    fn messages(lines: &[Assembled]) -> Vec<&str> {
        lines.iter().map(|assembled| assembled.line.message.as_str()).collect()
    }

    #[test]
    fn sources_and_times_are_kept_apart_from_the_text() {
        let stream = [frame(2, "err\n"), frame(1, "hello\n")].concat();
        for step in [1, 7, stream.len()] {
            let lines = lines(false, &stream, step);
            assert_eq!(messages(&lines), ["err", "hello"]);
            assert_eq!(lines[0].line.source, LogSource::Stderr);
            assert_eq!(lines[0].line.time, time::parse(STAMP.trim()));
        }
    }

    #[test]
    fn the_entries_of_a_long_line_are_joined_whatever_lies_between_them() {
        let long = "x".repeat(ENTRY_SIZE);
        let stream = [frame(1, &long), frame(2, "between\n"), frame(1, &long), frame(1, "end\n")].concat();
        let lines = lines(false, &stream, 1000);
        assert_eq!(lines[0].line.message, "between");
        assert_eq!(lines[1].line.message, format!("{long}{long}end"));
        assert_eq!(lines[1].entries_before, 0);
    }

    #[test]
    fn a_terminal_has_no_frames_and_its_long_lines_have_times_inside() {
        let long = "y".repeat(ENTRY_SIZE);
        let stream = format!("{STAMP}$ prompt\r\n{STAMP}{long}{STAMP}{long}{STAMP}end\r\n{STAMP}no end");
        for step in [1000, stream.len()] {
            let lines = lines(true, stream.as_bytes(), step);
            assert_eq!(messages(&lines), ["$ prompt", &format!("{long}{long}end"), "no end"]);
            assert!(!lines[2].complete);
        }
    }

    #[test]
    fn text_that_looks_like_no_time_is_left_alone() {
        let lines = lines(true, b"plain text without a time\n", 5);
        assert_eq!(messages(&lines), ["plain text without a time"]);
        assert_eq!(lines[0].line.time, None);
    }
}

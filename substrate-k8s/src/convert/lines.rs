//! Log lines out of a log's bytes, each with its time in front.
//!
//! Runtimes cut a long line into pieces of 16 KiB, and the node puts a time in front of each: those of the later pieces
//! stand in the middle of the line.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use substrate_core::{LogLine, LogSource};

use super::time;

/// Where runtimes cut a line.
const PIECE: usize = 16 * 1024;
/// The longest time in front of a piece.
const LONGEST_TIME: usize = 40;

/// Assembles lines.
#[derive(Debug, Default)]
pub(crate) struct LineAssembler {
    unread: BytesMut,
    /// How far the unread bytes hold no line end.
    seen: usize,
}

impl LineAssembler {
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.unread.extend_from_slice(data);
    }

    /// The next whole line.
    pub(crate) fn next(&mut self) -> Option<LogLine> {
        let rest = self.unread.get(self.seen..)?;
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            self.seen = self.unread.len();
            return None;
        };
        let mut line = self.unread.split_to(self.seen + end + 1);
        self.seen = 0;
        line.truncate(line.len().saturating_sub(1));
        Some(line_of(&line.freeze()))
    }

    /// What is left at the end: a line without an end.
    pub(crate) fn finish(&mut self) -> Option<LogLine> {
        let rest = std::mem::take(&mut self.unread);
        self.seen = 0;
        (!rest.is_empty()).then(|| line_of(&rest.freeze()))
    }
}

fn line_of(bytes: &Bytes) -> LogLine {
    let (time, mut rest) = split_time(bytes);
    let mut text = Vec::with_capacity(rest.len());
    while let Some((piece, more)) = rest.split_at_checked(PIECE) {
        match split_time(more) {
            (Some(_), next) => {
                text.extend_from_slice(piece);
                rest = next;
            }
            (None, _) => break,
        }
    }
    text.extend_from_slice(rest);
    LogLine { time, source: LogSource::Stdout, message: String::from_utf8_lossy(&text).into_owned() }
}

/// A time at the beginning, and what follows it.
fn split_time(bytes: &[u8]) -> (Option<SystemTime>, &[u8]) {
    let head = bytes.get(..bytes.len().min(LONGEST_TIME)).unwrap_or_default();
    let Some(end) = head.iter().position(|byte| *byte == b' ') else {
        return (None, bytes);
    };
    let time = head.get(..end).and_then(|time| std::str::from_utf8(time).ok()).and_then(parse);
    match time {
        Some(time) => (Some(time), bytes.get(end + 1..).unwrap_or_default()),
        None => (None, bytes),
    }
}

/// Nodes write the offset of their own zone where it is not zero.
fn parse(text: &str) -> Option<SystemTime> {
    if text.ends_with('Z') {
        return time::parse(text);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let offset_length = std::time::Duration::from_secs(seconds);
    let local = time::parse(&format!("{local}Z"))?;
    match offset.as_bytes().first()? {
        b'+' => local.checked_sub(offset_length),
        b'-' => local.checked_add(offset_length),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(data: &[u8]) -> Vec<LogLine> {
        let mut assembler = LineAssembler::default();
        let mut found = Vec::new();
        for piece in data.chunks(7) {
            assembler.push(piece);
            found.extend(std::iter::from_fn(|| assembler.next()));
        }
        found.extend(assembler.finish());
        found
    }

    #[test]
    fn lines_have_their_time_and_keep_what_only_looks_like_one() {
        let found = lines(b"2026-11-21T10:00:00.5Z one\n2026-11-21T10:00:01Z \n2026-11-21T10:00:02Z 2020-01-01T00:00:00Z not a time\n");
        let words: Vec<&str> = found.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(words, ["one", "", "2020-01-01T00:00:00Z not a time"]);
        assert!(found[0].time < found[1].time);
    }

    #[test]
    fn a_long_line_is_one_line_without_the_times_of_its_pieces() {
        let long = "x".repeat(PIECE);
        let data =
            format!("2026-11-21T10:00:00Z {long}2026-11-21T10:00:00.1Z {long}2026-11-21T10:00:00.2Z end\n");
        let found = lines(data.as_bytes());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, format!("{long}{long}end"));
        let plain = format!("2026-11-21T10:00:00Z {long}more\n");
        assert_eq!(lines(plain.as_bytes())[0].message, format!("{long}more"));
    }

    #[test]
    fn times_of_other_zones_and_lines_without_end_or_time_are_read() {
        let found = lines("2026-11-21T11:00:00.000000001+01:00 größe\nno time".as_bytes());
        assert_eq!(found[0].time, parse("2026-11-21T10:00:00.000000001Z"));
        assert_eq!((found[0].message.as_str(), found[1].message.as_str()), ("größe", "no time"));
        assert_eq!(found[1].time, None);
    }
}

//! What an instance wrote to its console, as lines.

use substrate_core::{LogLine, LogSource};

/// The lines in these bytes, and how many bytes they take: without `all`, what follows the last line end is
/// still being written.
pub(crate) fn lines(bytes: &[u8], all: bool) -> (Vec<LogLine>, usize) {
    let end = match bytes.iter().rposition(|byte| *byte == b'\n') {
        _ if all => bytes.len(),
        Some(position) => position + 1,
        None => 0,
    };
    let whole = bytes.get(..end).unwrap_or_default();
    let mut pieces: Vec<&[u8]> = whole.split(|byte| *byte == b'\n').collect();
    // What follows the last line end is no line.
    if pieces.last().is_some_and(|last| last.is_empty()) {
        pieces.pop();
    }
    (pieces.into_iter().map(line).collect(), end)
}

fn line(bytes: &[u8]) -> LogLine {
    // A terminal puts a carriage return before each line end.
    let text = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    LogLine { time: None, source: LogSource::Console, message: String::from_utf8_lossy(text).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8], all: bool) -> (Vec<String>, usize) {
        let (lines, end) = lines(bytes, all);
        (lines.into_iter().map(|line| line.message).collect(), end)
    }

    #[test]
    fn a_terminal_s_line_ends_are_no_part_of_a_line() {
        assert_eq!(texts(b"one\r\n\r\n  two \r\n", false).0, ["one", "", "  two "]);
        assert_eq!(texts(b"a\nb\xff\n", false).0, ["a", "b\u{fffd}"]);
        assert_eq!(texts(b"", true), (vec![], 0));
    }

    #[test]
    fn an_unfinished_line_waits_for_its_end() {
        assert_eq!(texts(b"one\r\ntw", false), (vec!["one".to_owned()], 5));
        assert_eq!(texts(b"one\r\ntw", true).0, ["one", "tw"]);
        assert_eq!(texts(b"on", false), (vec![], 0));
    }
}

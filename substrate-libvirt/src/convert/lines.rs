//! From the bytes of a console to lines.

use substrate_core::{LogLine, LogSource};

/// The longest line that is kept whole: a guest may never end one.
const LONGEST: usize = 1 << 20;

/// Collects bytes and gives whole lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes bytes and gives the lines that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for byte in bytes {
            match *byte {
                b'\n' => lines.push(self.finish()),
                other => {
                    if self.pending.len() >= LONGEST {
                        lines.push(self.finish());
                    }
                    self.pending.push(other);
                }
            }
        }
        lines
    }

    /// What was written since the last line end, if anything: at the end of a log that is a line too.
    pub(crate) fn rest(&mut self) -> Option<LogLine> {
        (!self.pending.is_empty()).then(|| self.finish())
    }

    fn finish(&mut self) -> LogLine {
        let mut bytes = std::mem::take(&mut self.pending);
        // A terminal ends its lines with two characters.
        while bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let message = String::from_utf8_lossy(&bytes).into_owned();
        LogLine { time: None, source: LogSource::Console, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all: Vec<String> =
            pieces.iter().flat_map(|piece| lines.push(piece)).map(|line| line.message).collect();
        all.extend(lines.rest().map(|line| line.message));
        all
    }

    #[test]
    fn lines_can_be_cut_anywhere() {
        assert_eq!(messages(&[b"on", b"e\r", b"\ntwo\n\nth", b"ree"]), ["one", "two", "", "three"]);
        assert_eq!(messages(&[b"one\n"]), ["one"]);
        assert_eq!(messages(&[]), [] as [&str; 0]);
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(messages(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_not_kept_for_ever() {
        let all = messages(&[&vec![b'x'; LONGEST * 2 + 1]]);
        assert_eq!(all.len(), 3);
    }
}

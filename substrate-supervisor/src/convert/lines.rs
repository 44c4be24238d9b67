//! From pieces of a log to lines.

use std::collections::VecDeque;

/// Puts lines together from pieces that end anywhere.
#[derive(Debug, Default)]
pub(crate) struct LineAssembler {
    unfinished: Vec<u8>,
    lines: VecDeque<String>,
}

impl LineAssembler {
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            self.unfinished.extend_from_slice(line);
            self.finish_line();
            rest = behind.get(1..).unwrap_or_default();
        }
        self.unfinished.extend_from_slice(rest);
    }

    /// Takes what has no line end yet for a line: nothing more will come.
    pub(crate) fn finish(&mut self) {
        if !self.unfinished.is_empty() {
            self.finish_line();
        }
    }

    fn finish_line(&mut self) {
        let line = std::mem::take(&mut self.unfinished);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        self.lines.push_back(String::from_utf8_lossy(line).into_owned());
    }

    pub(crate) fn next(&mut self) -> Option<String> {
        self.lines.pop_front()
    }

    pub(crate) fn keep_last(&mut self, count: usize) {
        let excess = self.lines.len().saturating_sub(count);
        self.lines.drain(..excess);
    }

    /// How many whole lines there are.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_can_be_cut_anywhere() {
        let text = "one\n\n  größe  \r\nlast";
        for step in [1, 3, text.len()] {
            let mut assembler = LineAssembler::default();
            text.as_bytes().chunks(step).for_each(|piece| assembler.push(piece));
            let mut lines: Vec<String> = std::iter::from_fn(|| assembler.next()).collect();
            assert_eq!(lines, ["one", "", "  größe  "], "an unfinished line is none yet");
            assembler.finish();
            lines.extend(assembler.next());
            assert_eq!(lines.last().map(String::as_str), Some("last"));
        }
    }

    #[test]
    fn the_last_lines_are_kept_and_none_of_none() {
        let mut assembler = LineAssembler::default();
        assembler.push(b"a\nb\nc\n");
        assembler.keep_last(2);
        assert_eq!(assembler.next().as_deref(), Some("b"));
        assembler.keep_last(0);
        assert_eq!(assembler.len(), 0);
    }
}

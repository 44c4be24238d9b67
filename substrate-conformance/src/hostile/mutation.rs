//! One way to damage a document, whatever language it is in: found by its signs, never parsed.

use std::ops::Range;

use super::words::{LEVELS, NUMBERS, VALUES, words};

/// How often an element comes again.
const MANY: usize = 10_000;
/// How large a document grows at most, in bytes: enough for what grows with a square to show.
pub(super) const LARGEST: usize = 128 * 1024;
/// Levels around an element: few, more than a reader should follow, and more than any stack holds.
const DEPTHS: [usize; 4] = [4, 127, 1_000, 20_000];

/// The ways. What does most harm to time comes last: failures shrink towards the first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    Truncate,
    Delete,
    FlipBit,
    Insert,
    SwapNumber,
    SwapWord,
    SwapValue,
    SwapElements,
    Duplicate,
    Nest,
    Repeat,
}

/// Each as often as it stands here: what makes large documents is rare.
pub(super) const WAYS: &[Way] = &[
    Way::Truncate,
    Way::Truncate,
    Way::Delete,
    Way::Delete,
    Way::FlipBit,
    Way::FlipBit,
    Way::Insert,
    Way::Insert,
    Way::SwapNumber,
    Way::SwapNumber,
    Way::SwapNumber,
    Way::SwapNumber,
    Way::SwapWord,
    Way::SwapWord,
    Way::SwapWord,
    Way::SwapWord,
    Way::SwapValue,
    Way::SwapValue,
    Way::SwapValue,
    Way::SwapValue,
    Way::SwapElements,
    Way::SwapElements,
    Way::Duplicate,
    Way::Duplicate,
    Way::Nest,
    Way::Repeat,
];

/// One damage: how, where (a share of the document), and with what.
#[derive(Debug, Clone)]
pub(super) struct Mutation {
    pub(super) way: Way,
    pub(super) place: u16,
    pub(super) choice: u16,
}

impl Mutation {
    /// The document, damaged. It stays as it is where it holds nothing that this could be done to.
    pub(super) fn applied(&self, document: &[u8]) -> Vec<u8> {
        let damaged = match self.way {
            Way::Truncate => replaced(document, self.position(document.len())..document.len(), b""),
            Way::Delete => {
                let start = self.position(document.len());
                let end = document.len().min(start + 1 + usize::from(self.choice) % 64);
                replaced(document, start..end, b"")
            }
            Way::FlipBit => {
                let mut flipped = document.to_vec();
                if let Some(byte) = flipped.get_mut(self.position(document.len())) {
                    *byte ^= 1 << (self.choice % 8);
                }
                flipped
            }
            Way::Insert => {
                const BYTES: &[&[u8]] = &[
                    b"\0", b"\xff", b"\xc3", b"\"", b"'", b"<", b">", b"{", b"]", b"\n", b"\r\n", b",", b":",
                    b"\\", b"&",
                ];
                let start = self.position(document.len());
                replaced(document, start..start, self.one_of(BYTES).copied().unwrap_or_default())
            }
            Way::SwapNumber => self.at_one_of(document, &numbers(document), |_| {
                self.one_of(NUMBERS).map(|text| text.as_bytes().to_vec())
            }),
            Way::SwapWord => self
                .at_one_of(document, &texts(document), |_| Some(self.one_of(&words())?.as_bytes().to_vec())),
            Way::SwapValue => self.at_one_of(document, &values(document), |_| {
                self.one_of(VALUES).map(|text| text.as_bytes().to_vec())
            }),
            Way::SwapElements => {
                let all = elements(document);
                let other = all.get(usize::from(self.choice) % all.len().max(1)).cloned().unwrap_or_default();
                self.at_one_of(document, &all, |_| document.get(other.clone()).map(<[u8]>::to_vec))
            }
            Way::Duplicate => {
                self.at_one_of(document, &elements(document), |element| Some(again(element, 2)))
            }
            Way::Repeat => {
                self.at_one_of(document, &elements(document), |element| Some(again(element, MANY)))
            }
            Way::Nest => self.at_one_of(document, &values(document), |value| {
                let (open, close) = self.one_of(LEVELS)?;
                let depth = DEPTHS.get(usize::from(self.choice / 16) % DEPTHS.len())?;
                let depth = (*depth).min(LARGEST / (open.len() + close.len()).max(1));
                Some([open.repeat(depth).as_bytes(), value, close.repeat(depth).as_bytes()].concat())
            }),
        };
        if damaged.len() > 2 * LARGEST { document.to_vec() } else { damaged }
    }

    /// A position among so many.
    fn position(&self, length: usize) -> usize {
        usize::from(self.place) * length / (usize::from(u16::MAX) + 1)
    }

    fn one_of<'a, T>(&self, all: &'a [T]) -> Option<&'a T> {
        all.get(usize::from(self.choice) % all.len().max(1))
    }

    fn at_one_of(
        &self,
        document: &[u8],
        places: &[Range<usize>],
        new: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Vec<u8> {
        let Some(range) = places.get(self.position(places.len())) else { return document.to_vec() };
        match document.get(range.clone()).and_then(new) {
            Some(new) => replaced(document, range.clone(), &new),
            None => document.to_vec(),
        }
    }
}

fn replaced(document: &[u8], range: Range<usize>, new: &[u8]) -> Vec<u8> {
    let (before, after) = (document.get(..range.start), document.get(range.end..));
    [before.unwrap_or_default(), new, after.unwrap_or_default()].concat()
}

/// An element and its like after it, as many as fit.
fn again(element: &[u8], times: usize) -> Vec<u8> {
    // Of a list in JSON; elsewhere one follows the other.
    let separator: &[u8] =
        if element.starts_with(b"{") || element.starts_with(b"[") || element.starts_with(b"\"") {
            b","
        } else {
            b""
        };
    let times = times.min(LARGEST / (element.len() + separator.len()).max(1)).max(1);
    vec![element; times].join(separator)
}

/// Runs of bytes that are all so.
fn runs(document: &[u8], is_part: impl Fn(u8) -> bool) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = None;
    for (index, byte) in document.iter().enumerate() {
        match (start, is_part(*byte)) {
            (None, true) => start = Some(index),
            (Some(from), false) => {
                runs.push(from..index);
                start = None;
            }
            _ => {}
        }
    }
    runs.extend(start.map(|from| from..document.len()));
    runs
}

fn numbers(document: &[u8]) -> Vec<Range<usize>> {
    runs(document, |byte| byte.is_ascii_digit() || byte == b'.')
        .into_iter()
        .filter(|run| document.get(run.clone()).is_some_and(|run| run.iter().any(u8::is_ascii_digit)))
        .collect()
}

/// Texts: between quotes, between signs of markup, and plain words.
fn texts(document: &[u8]) -> Vec<Range<usize>> {
    runs(document, |byte| {
        !matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'{' | b'}' | b'[' | b']' | b',' | b'=' | b':' | b'\n')
    })
    .into_iter()
    .filter(|run| document.get(run.clone()).is_some_and(|run| !run.iter().all(u8::is_ascii_whitespace)))
    .collect()
}

/// Values of JSON: texts with their quotes, numbers, words, and whole lists and objects.
fn values(document: &[u8]) -> Vec<Range<usize>> {
    let mut values: Vec<Range<usize>> = quoted(document);
    values.extend(runs(document, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+')));
    values.extend(elements(document));
    values.sort_by_key(|value| (value.start, value.end));
    values
}

fn quoted(document: &[u8]) -> Vec<Range<usize>> {
    let mut quoted = Vec::new();
    let mut start = None;
    let mut escaped = false;
    for (index, byte) in document.iter().enumerate() {
        match (byte, start) {
            (b'"', None) => start = Some(index),
            (b'"', Some(from)) if !escaped => {
                quoted.push(from..index + 1);
                start = None;
            }
            _ => {}
        }
        escaped = *byte == b'\\' && !escaped;
    }
    quoted
}

/// Elements: whole lists, objects and pairs of tags, and lines.
fn elements(document: &[u8]) -> Vec<Range<usize>> {
    let mut elements: Vec<Range<usize>> = Vec::new();
    let mut open = Vec::new();
    let mut line = 0;
    for (index, byte) in document.iter().enumerate() {
        match byte {
            b'{' | b'[' => open.push(index),
            b'}' | b']' => elements.extend(open.pop().map(|start| start..index + 1)),
            b'\n' => {
                elements.push(line..index + 1);
                line = index + 1;
            }
            _ => {}
        }
    }
    let mut open = Vec::new();
    for tag in tags(document) {
        match document.get(tag.clone()) {
            Some([b'<', b'/', ..]) => elements.extend(open.pop().map(|start| start..tag.end)),
            Some([b'<', b'?' | b'!', ..]) => {}
            Some([.., b'/', b'>']) => elements.push(tag),
            _ => open.push(tag.start),
        }
    }
    elements.sort_by_key(|element| (element.start, element.end));
    elements
}

fn tags(document: &[u8]) -> Vec<Range<usize>> {
    let mut tags = Vec::new();
    let mut start = None;
    for (index, byte) in document.iter().enumerate() {
        match (byte, start) {
            (b'<', _) => start = Some(index),
            (b'>', Some(from)) => {
                tags.push(from..index + 1);
                start = None;
            }
            _ => {}
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(way: Way, place: u16, choice: u16, document: &str) -> String {
        let mutation = Mutation { way, place, choice };
        String::from_utf8_lossy(&mutation.applied(document.as_bytes())).into_owned()
    }

    #[test]
    fn each_way_does_what_it_is_called() {
        let json = r#"{"a":[{"b":12}],"c":"text"}"#;
        assert_eq!(damaged(Way::Truncate, u16::MAX / 2, 0, json), r#"{"a":[{"b":12"#);
        assert_eq!(damaged(Way::SwapNumber, 0, 1, json), r#"{"a":[{"b":-1}],"c":"text"}"#);
        assert_eq!(damaged(Way::SwapWord, u16::MAX, 2, json), r#"{"a":[{"b":12}],"c":"../x"}"#);
        assert_eq!(damaged(Way::SwapValue, u16::MAX, 0, r#"{"c":"text"}"#), r#"{"c":"null"}"#);
        assert_eq!(damaged(Way::Duplicate, u16::MAX, 0, json), r#"{"a":[{"b":12},{"b":12}],"c":"text"}"#);
        assert_eq!(damaged(Way::Duplicate, u16::MAX, 0, "<a><b>1</b></a>"), "<a><b>1</b><b>1</b></a>");
        assert_eq!(damaged(Way::Nest, 0, 2, "x"), "<a><a><a><a>x</a></a></a></a>");
        let many = damaged(Way::Repeat, u16::MAX, 0, "<a><b/></a>");
        assert_eq!(many.matches("<b/>").count(), MANY);
    }

    #[test]
    fn nothing_is_too_small_or_grows_without_end() {
        for document in ["", "x", "\"", "{", "]", "<", "\n"] {
            for way in WAYS {
                for place in [0, u16::MAX] {
                    let mutation = Mutation { way: *way, place, choice: place };
                    let mut document = document.as_bytes().to_vec();
                    for _ in 0..4 {
                        document = mutation.applied(&document);
                    }
                    assert!(document.len() <= 2 * LARGEST);
                }
            }
        }
    }
}

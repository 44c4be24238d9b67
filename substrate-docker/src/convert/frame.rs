//! The framing of streams without a terminal: an 8-byte head (source, three zeroes, length), then the payload.
//!
//! Whether a stream is framed is known from the inspection, never guessed from its bytes. A frame can span
//! reads and a read can hold several frames; payload is handed on as it comes, so memory does not depend on
//! the length that a head claims.

use bytes::{Buf, Bytes, BytesMut};
use substrate_core::{Error, Result};

/// Where a piece of payload came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

/// A piece of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) source: Source,
    pub(crate) data: Bytes,
    /// Whether this is the end of its frame.
    pub(crate) last: bool,
}

/// Takes frames apart.
#[derive(Debug, Default)]
pub(crate) struct Demultiplexer {
    buffer: BytesMut,
    current: Option<(Source, usize)>,
}

impl Demultiplexer {
    /// Where the next bytes of the stream go.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next piece, if there is one.
    ///
    /// # Errors
    /// `Protocol` when the bytes are no frames.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            let (source, left) = match self.current {
                Some(current) => current,
                None => {
                    let Some(head) = self.buffer.first_chunk::<8>().copied() else { return Ok(None) };
                    let source = match head[0] {
                        // 0 is standard input, echoed as output.
                        0 | 1 => Source::Stdout,
                        2 => Source::Stderr,
                        // 3 is an error of the daemon itself, written into the stream.
                        3 => Source::Stderr,
                        other => {
                            return Err(Error::protocol(format!(
                                "the stream has a frame of unknown kind {other}"
                            )));
                        }
                    };
                    let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
                    self.buffer.advance(8);
                    (source, length)
                }
            };
            if left == 0 {
                self.current = None;
                continue;
            }
            if self.buffer.is_empty() {
                self.current = Some((source, left));
                return Ok(None);
            }
            let data = self.buffer.split_to(left.min(self.buffer.len())).freeze();
            let left = left - data.len();
            self.current = (left > 0).then_some((source, left));
            return Ok(Some(Piece { source, data, last: left == 0 }));
        }
    }

    /// Whether the stream may end here: not inside a frame.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.current.is_none() && self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, 0, 0];
        frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn decode(reads: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
        let mut frames = Demultiplexer::default();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        for read in reads {
            frames.buffer().extend_from_slice(read);
            while let Some(piece) = frames.next().unwrap() {
                match piece.source {
                    Source::Stdout => stdout.extend_from_slice(&piece.data),
                    Source::Stderr => stderr.extend_from_slice(&piece.data),
                }
            }
        }
        assert!(frames.is_at_boundary());
        (stdout, stderr)
    }

    #[test]
    fn a_read_can_hold_several_frames_and_a_frame_can_span_reads() {
        let stream = [frame(1, b"out"), frame(2, b"\x01\x00err"), frame(1, b""), frame(1, b"put")].concat();
        let whole = (b"output".to_vec(), b"\x01\x00err".to_vec());
        assert_eq!(decode(&[&stream]), whole);
        let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(decode(&bytewise), whole);
    }

    #[test]
    fn a_huge_claim_costs_no_memory() {
        let mut frames = Demultiplexer::default();
        frames.buffer().extend_from_slice(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x']);
        let piece = frames.next().unwrap().unwrap();
        assert_eq!((&*piece.data, piece.last), (&b"x"[..], false));
        assert!(frames.buffer.capacity() < 1024);
        assert!(!frames.is_at_boundary());
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_not_output() {
        let mut frames = Demultiplexer::default();
        frames.buffer().extend_from_slice(b"$ prompt");
        assert!(frames.next().unwrap_err().is_protocol());
    }
}

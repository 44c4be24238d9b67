//! A log file: read as it is, or through supervisord.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use dxr::Value;
use substrate_core::{Error, Outcome, Result};

use super::super::Shared;
use crate::convert::value::{array, integer_of};
use crate::error::{FaultCode, unreadable};
use crate::folder::blocking;

const ATTEMPT: &str = "read the log";
/// How much is read at once.
const PIECE: u64 = 256 << 10;
/// A character has at most four bytes: so many can be missing at either end of a piece.
const CHARACTER: u64 = 4;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Stdout,
    Stderr,
}

/// One log, and how far it was read.
pub(super) struct LogFile {
    shared: Arc<Shared>,
    namespec: String,
    channel: Channel,
    /// The file, where it can be read as it is.
    path: Option<PathBuf>,
    offset: u64,
    /// Which file it was read from: a full one is moved aside, and another takes its name.
    inode: Option<u64>,
}

impl LogFile {
    pub(super) fn new(
        shared: Arc<Shared>,
        namespec: String,
        channel: Channel,
        path: Option<PathBuf>,
    ) -> Self {
        Self { shared, namespec, channel, path, offset: 0, inode: None }
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// How long it is now. One that is not there is empty: nothing was written yet.
    pub(super) async fn size(&mut self) -> Result<u64> {
        if let Some(path) = self.path.clone() {
            let answer = blocking(move || Ok(fs::metadata(&path))).await?;
            match answer {
                Ok(metadata) => {
                    self.inode = Some(metadata.ino());
                    return Ok(metadata.len());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.path = None,
                Err(error) => return Err(failed(error)),
            }
        }
        self.told_size().await
    }

    async fn told_size(&self) -> Result<u64> {
        let call = self.channel.tail_call(&self.namespec).integer(0).integer(0);
        let answer = array(self.shared.client.call(ATTEMPT, call).await.map_err(too_long)?);
        let size = answer.and_then(|values| values.get(1).and_then(integer_of));
        size.and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| unreadable(ATTEMPT, "it tells no length"))
    }

    /// Goes to the beginning of the line that the byte before `end` is in, if it has no end yet.
    pub(super) async fn seek_line_start(&mut self, end: u64) -> Result<()> {
        self.offset = end.saturating_sub(PIECE);
        let piece = self.read(Some(end)).await?;
        let rest = piece.iter().rev().take_while(|byte| **byte != b'\n').count();
        self.offset = end.saturating_sub(rest as u64);
        Ok(())
    }

    /// What comes next, up to `end`; nothing when there is no more now.
    pub(super) async fn read(&mut self, end: Option<u64>) -> Result<Vec<u8>> {
        if let Some(path) = self.path.clone() {
            let (offset, inode) = (self.offset, self.inode);
            let answer = blocking(move || Ok(read_piece(&path, offset, inode, end))).await?;
            match answer {
                Ok((piece, offset, inode)) => {
                    (self.offset, self.inode) = (offset, inode);
                    return Ok(piece);
                }
                // supervisord may read it, and we may ask supervisord.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.path = None,
                Err(error) => return Err(failed(error)),
            }
        }
        self.read_told(end).await
    }

    async fn read_told(&mut self, end: Option<u64>) -> Result<Vec<u8>> {
        let size = self.told_size().await?;
        if size < self.offset {
            // It was moved aside or cleared. What its end was cannot be had any more.
            self.offset = 0;
        }
        let length = end.unwrap_or(size).min(size).saturating_sub(self.offset).min(PIECE);
        if length == 0 {
            return Ok(Vec::new());
        }
        for skipped in 0..CHARACTER {
            for missing in 0..CHARACTER {
                let Some(wanted) = length.checked_sub(skipped + missing).filter(|wanted| *wanted > 0) else {
                    continue;
                };
                let (Ok(start), Ok(count)) = (i32::try_from(self.offset + skipped), i32::try_from(wanted))
                else {
                    return Err(too_long(Error::unsupported("its log is longer")));
                };
                let call = self.channel.read_call(&self.namespec).integer(start).integer(count);
                // In a batch an exception of supervisord's is an answer, and not the end of the connection.
                let [answer] = self.shared.client.batch(ATTEMPT, [call]).await?;
                match answer {
                    Ok(Value::String(text)) => {
                        // Not by the length of the text: XML has one form of line end, and the file may have two.
                        self.offset += skipped + wanted;
                        return Ok(text.into_bytes());
                    }
                    Ok(_) => return Err(unreadable(ATTEMPT, "it is no text")),
                    Err(fault) if fault.code == FaultCode::NoFile => return Ok(Vec::new()),
                    // A piece that is no whole number of characters.
                    Err(fault) if fault.code == FaultCode::Failed && fault.text.contains("Error") => {}
                    Err(fault) => return Err(fault.into_error(ATTEMPT)),
                }
            }
        }
        Err(Error::unsupported("its log is not UTF-8, and supervisord can send nothing else")
            .with_outcome(Outcome::Rejected)
            .with_hint("read the file on supervisord's host"))
    }
}

/// Reads on, in the file that was read before: when it was moved aside, to its end first, and then in its successor.
fn read_piece(
    path: &PathBuf,
    offset: u64,
    inode: Option<u64>,
    end: Option<u64>,
) -> io::Result<(Vec<u8>, u64, Option<u64>)> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), offset, inode)),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    let mut start = offset;
    if inode.is_some_and(|inode| inode != metadata.ino()) {
        let mut aside = path.clone().into_os_string();
        aside.push(".1");
        if let Ok(old) = File::open(&aside)
            && old.metadata()?.ino() == inode.unwrap_or_default()
        {
            let rest = piece_of(old, offset, end)?;
            if !rest.is_empty() {
                let read = offset + rest.len() as u64;
                return Ok((rest, read, inode));
            }
        }
        start = 0;
    } else if metadata.len() < offset {
        // Cleared.
        start = 0;
    }
    let inode = Some(metadata.ino());
    file.seek(SeekFrom::Start(start))?;
    let piece = piece_of(file, start, end)?;
    let read = start + piece.len() as u64;
    Ok((piece, read, inode))
}

fn piece_of(mut file: File, offset: u64, end: Option<u64>) -> io::Result<Vec<u8>> {
    let length = end.map_or(PIECE, |end| end.saturating_sub(offset)).min(PIECE);
    let mut piece = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(length).read_to_end(&mut piece)?;
    Ok(piece)
}

fn failed(error: io::Error) -> Error {
    Error::internal(format!("cannot {ATTEMPT}: {error}")).with_source(error)
}

/// A number that does not fit into XML-RPC is an exception in supervisord, and nothing more is told.
fn too_long(error: Error) -> Error {
    if error.is_internal() || error.is_unsupported() {
        return Error::unsupported("its log cannot be read: either it is longer than 2 GiB, which XML-RPC cannot say, or supervisord failed")
            .with_outcome(Outcome::Rejected)
            .with_hint("set `stdout_logfile_maxbytes` and `stderr_logfile_maxbytes`, or read the file itself")
            .with_source(error);
    }
    error
}

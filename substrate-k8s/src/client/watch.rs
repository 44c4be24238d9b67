//! A watch of one list: its changes one by one, and the two forms of "that version is gone".

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use substrate_core::{BoxStream, Error, Result};

use super::{Client, Failure, Target};
use crate::convert::meta::Versioned;
use crate::error;

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Change<T> {
    /// It came to be, or is in the list that is watched from.
    Added(T),
    Modified(T),
    /// With its last state.
    Deleted(T),
    /// Nothing happened up to this version.
    Bookmark(String),
    /// The version that was watched from is gone: list again.
    Expired,
    /// The server ended the watch, as it does from time to time: watch on from the last version.
    Ended,
}

/// An open watch.
pub(crate) struct Watch {
    body: BoxStream<Result<Bytes>>,
    unread: BytesMut,
    /// How much of it was looked through for the end of a line.
    searched: usize,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

const ATTEMPT: &str = "watch";
/// The largest change that is read: what a cluster stores is a tenth of it at most.
const LONGEST_CHANGE: usize = 16 << 20;
/// Servers end a watch after half an hour to an hour; asking for less finds a silent connection sooner.
const LONGEST: &str = "290";

impl Client {
    /// Opens a watch of what changes after `version`; `None` when that version is gone.
    pub(crate) async fn watch(&self, target: &Target, version: &str) -> Result<Option<Watch>> {
        let target = target
            .clone()
            .with("watch", "true")
            .with("allowWatchBookmarks", "true")
            .with("resourceVersion", version)
            .with("timeoutSeconds", LONGEST);
        let limit = self.request_timeout();
        let opened =
            tokio::time::timeout(limit, self.send(ATTEMPT, http::Method::GET, &target, None, "")).await;
        let body = match opened {
            Err(_) => return Err(error::timeout(ATTEMPT, &self.server(), limit)),
            Ok(Err(Failure::Expired(_))) => return Ok(None),
            Ok(Err(failure)) => return Err(failure.into()),
            Ok(Ok(body)) => body,
        };
        let server = self.server();
        let body = http_body_util::BodyExt::into_data_stream(body)
            .map(move |piece| piece.map_err(|cause| error::from_request(ATTEMPT, &server, cause)))
            .boxed();
        Ok(Some(Watch { body, unread: BytesMut::new(), searched: 0 }))
    }
}

impl Watch {
    /// The next change. Cancel safe.
    ///
    /// # Errors
    /// `Protocol` for a line that cannot be read or has no end; what the server says in place of a change.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Change<T>> {
        loop {
            // What was looked at before holds no end.
            let rest = self.unread.get(self.searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.split_to(self.searched + end + 1);
                self.searched = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return change(&line);
            }
            self.searched = self.unread.len();
            if self.searched > LONGEST_CHANGE {
                return Err(Error::protocol(format!(
                    "cannot watch: a change has more than {LONGEST_CHANGE} bytes"
                )));
            }
            match self.body.next().await {
                Some(Ok(piece)) => self.unread.extend_from_slice(&piece),
                // A connection that broke in mid-watch loses nothing: what comes next is asked for by version. Whether
                // the server is still there shows then.
                Some(Err(_)) | None => return Ok(Change::Ended),
            }
        }
    }
}

pub(crate) fn change<T: DeserializeOwned>(line: &[u8]) -> Result<Change<T>> {
    let unreadable =
        |cause: serde_json::Error| Error::protocol(format!("cannot watch: a change cannot be read: {cause}"));
    let Line { kind, object } = serde_json::from_slice(line).map_err(unreadable)?;
    let thing = || serde_json::from_str::<T>(object.get()).map_err(unreadable);
    match kind {
        "ADDED" => Ok(Change::Added(thing()?)),
        "MODIFIED" => Ok(Change::Modified(thing()?)),
        "DELETED" => Ok(Change::Deleted(thing()?)),
        "BOOKMARK" => {
            let bookmark: Versioned = serde_json::from_str(object.get()).map_err(unreadable)?;
            Ok(Change::Bookmark(bookmark.metadata.resource_version))
        }
        "ERROR" => {
            let status: Status = serde_json::from_str(object.get()).map_err(unreadable)?;
            if error::is_expired(&status) {
                return Ok(Change::Expired);
            }
            Err(error::from_status(ATTEMPT, &status, None))
        }
        // One that a newer server knows: what it is about comes again with the next change.
        _ => Ok(Change::Bookmark(String::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_the_stream_is_an_expired_version_or_an_error() {
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(matches!(change::<Versioned>(gone).unwrap(), Change::Expired));
        let other = br#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}"#;
        assert!(change::<Versioned>(other).unwrap_err().message().contains("etcd"));
    }

    fn watch(pieces: Vec<Bytes>) -> Watch {
        let body = futures_util::stream::iter(pieces.into_iter().map(Ok)).boxed();
        Watch { body, unread: BytesMut::new(), searched: 0 }
    }

    #[tokio::test]
    async fn changes_can_be_cut_anywhere_and_one_without_end_is_refused() {
        let lines = "{\"type\":\"NEW\",\"object\":{}}\n\n{\"type\":\"NEW\",\"object\":{}}\n";
        let mut cut = watch(lines.bytes().map(|byte| Bytes::copy_from_slice(&[byte])).collect::<Vec<_>>());
        for _ in 0..2 {
            assert!(matches!(cut.next::<Versioned>().await.unwrap(), Change::Bookmark(_)));
        }
        assert!(matches!(cut.next::<Versioned>().await.unwrap(), Change::Ended));
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let mut endless = watch(vec![piece; 20]);
        assert!(endless.next::<Versioned>().await.unwrap_err().message().contains("bytes"));
        assert!(endless.unread.len() <= LONGEST_CHANGE + (1 << 20));
    }

    #[test]
    fn a_bookmark_gives_its_version_and_an_unknown_type_nothing() {
        let mark = br#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"7"}}}"#;
        assert!(matches!(change::<Versioned>(mark).unwrap(), Change::Bookmark(version) if version == "7"));
        let new = br#"{"type":"NEW","object":{}}"#;
        assert!(matches!(change::<Versioned>(new).unwrap(), Change::Bookmark(version) if version.is_empty()));
    }
}

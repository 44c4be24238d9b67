//! Images that are files on the machine where this program runs.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::error::{Error, ErrorKind, Outcome, Result};

/// What such a reference begins with.
const SCHEME: &str = "file:";
/// How much is read at once: images are gigabytes, and are never in memory as a whole.
const PIECE: usize = 256 << 10;

/// An image that is a file on the machine where this program runs, in the technology's own format; an image is
/// asked for like this as `file:/absolute/path` ([`Feature::ImageFiles`](crate::Feature::ImageFiles)).
///
/// ```
/// use substrate_core::ImageFile;
/// let file = ImageFile::in_reference("file:/srv/images/debian-12.tar.xz")?.expect("it names a file");
/// assert_eq!(file.path().to_str(), Some("/srv/images/debian-12.tar.xz"));
/// assert!(ImageFile::in_reference("debian/12")?.is_none());
/// assert!(ImageFile::in_reference("file:debian.tar.xz").is_err());
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageFile(PathBuf);

impl ImageFile {
    /// A file by its path, for providers whose images are of several files.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file that a reference names; `None` when it names an image in another way. The path is taken as it
    /// stands: nothing in it is decoded or resolved.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the path is not absolute: what it would be relative to is different for
    /// whoever writes it and whoever runs it.
    pub fn in_reference(reference: &str) -> Result<Option<Self>> {
        let Some(path) = reference.strip_prefix(SCHEME) else { return Ok(None) };
        if !path.starts_with('/') || path.chars().any(char::is_control) {
            return Err(Error::invalid_input(format!(
                "the image `{}` names no file by its absolute path",
                reference.escape_debug()
            ))
            .with_hint("write file:/absolute/path"));
        }
        Ok(Some(Self::new(path)))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, [`ErrorKind::PermissionDenied`] when it may not be read,
    /// [`ErrorKind::InvalidInput`] when it is no file; all name the path.
    pub async fn open(&self) -> Result<OpenImageFile> {
        let failed = |failure: io::Error| unusable(&self.0, failure);
        // Looked at first: opening a pipe waits for whoever writes into it.
        if !tokio::fs::metadata(&self.0).await.map_err(failed)?.is_file() {
            return Err(Error::invalid_input(format!("the image {} is not a file", self.0.display()))
                .with_outcome(Outcome::NotSent));
        }
        let file = File::open(&self.0).await.map_err(failed)?;
        let size = file.metadata().await.map_err(failed)?.len();
        Ok(OpenImageFile { file, size })
    }

    /// The error of reading it, in words that name it.
    #[must_use]
    pub fn unreadable(&self, failure: io::Error) -> Error {
        unusable(&self.0, failure)
    }
}

/// An open [`ImageFile`]: its size, and its content piece by piece.
#[derive(Debug)]
pub struct OpenImageFile {
    file: File,
    size: u64,
}

impl OpenImageFile {
    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file itself, read from the beginning.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }

    /// Its content, exactly as many bytes as [`size`](Self::size) says.
    ///
    /// # Errors
    /// An item is an error when reading fails, or when the file has become shorter; it is the last one.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold((self.file, self.size), |(mut file, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let capacity = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let mut piece = BytesMut::with_capacity(capacity);
            if (&mut file).take(capacity as u64).read_buf(&mut piece).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter"));
            }
            let left = left.saturating_sub(piece.len() as u64);
            Ok(Some((piece.freeze(), (file, left))))
        })
    }
}

/// Whether an upload moves. How long one takes depends on its size and on the way; that nothing moves for long means
/// that nobody takes it any more.
#[derive(Debug, Clone, Default)]
pub struct UploadProgress(Arc<AtomicU64>);

impl UploadProgress {
    /// Nothing has moved yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same stream; each piece that is taken from it is a move.
    pub fn counted<S>(&self, stream: S) -> impl Stream<Item = S::Item> + Send + use<S>
    where
        S: Stream + Send,
        S::Item: Send,
    {
        let moves = Arc::clone(&self.0);
        stream.inspect(move |_| {
            moves.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// What `future` comes to; `None` when nothing has moved for `silence`. It is dropped then.
    pub async fn while_moving<T>(&self, silence: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        loop {
            let before = self.0.load(Ordering::Relaxed);
            match timeout(silence, &mut future).await {
                Ok(result) => return Some(result),
                Err(_) if self.0.load(Ordering::Relaxed) != before => {}
                Err(_) => return None,
            }
        }
    }
}

fn unusable(path: &Path, failure: io::Error) -> Error {
    let path = path.display();
    let error = match failure.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::not_found(format!("there is no image file {path} on the machine where this program runs"))
        }
        io::ErrorKind::PermissionDenied => {
            Error::permission_denied(format!("the image file {path} may not be read by this program"))
        }
        _ => Error::new(ErrorKind::Internal, format!("the image file {path} cannot be read: {failure}")),
    };
    // The substrate was asked for nothing yet.
    error.with_outcome(Outcome::NotSent).with_source(failure)
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[test]
    fn only_absolute_paths_are_files_and_are_taken_as_they_stand() {
        for (reference, path) in [("file:/a/b.tar", "/a/b.tar"), ("file:/a/../b %2f", "/a/../b %2f")] {
            assert_eq!(ImageFile::in_reference(reference).unwrap().unwrap().path(), Path::new(path));
        }
        for other in ["", "nginx", "images:debian/12", "/a/b.tar", "files:/a"] {
            assert_eq!(ImageFile::in_reference(other).unwrap(), None, "{other}");
        }
        for wrong in ["file:", "file:a", "file:./a", "file:/a\n"] {
            let error = ImageFile::in_reference(wrong).unwrap_err();
            assert!(error.is_invalid_input() && error.message().contains("absolute"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_opened_names_the_path() {
        let missing = ImageFile::new("/nonexistent/image.tar").open().await.unwrap_err();
        assert!(missing.is_not_found() && missing.message().contains("/nonexistent/image.tar"), "{missing}");
        assert_eq!(missing.outcome(), Outcome::NotSent);
        assert!(ImageFile::new("/").open().await.unwrap_err().is_invalid_input());
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_take_long_while_it_moves() {
        let progress = UploadProgress::new();
        let slow = stream::iter(0..5).then(|piece| async move {
            tokio::time::sleep(Duration::from_secs(8)).await;
            piece
        });
        let silence = Duration::from_secs(10);
        let all = progress.counted(slow).collect::<Vec<_>>();
        assert_eq!(progress.while_moving(silence, all).await, Some(vec![0, 1, 2, 3, 4]));
        assert_eq!(progress.while_moving(silence, std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn the_stream_is_the_file() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/image_file.rs");
        let open = ImageFile::new(&path).open().await.unwrap();
        let size = open.size();
        let pieces: Vec<Bytes> = open.into_stream().try_collect().await.unwrap();
        let content = pieces.concat();
        assert_eq!((content.len() as u64, content), (size, std::fs::read(path).unwrap()));
    }
}

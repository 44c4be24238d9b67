//! The state file: what survives a killed process.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use substrate_core::{Error, Result};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;

use crate::inner::Inner;
use crate::state::State;

const FORMAT: &str = "substrate-fake";
const VERSION: u32 = 1;

/// The file in which a fake keeps its state, shared with other processes.
///
/// Each change is read–modify–write under an exclusive lock on a file beside it (on the file itself it would
/// be lost at the rename). Reads take no lock: a rename replaces the whole file at once.
pub(crate) struct StateFile {
    paths: Arc<Paths>,
    /// What the file held when this process last looked. Also keeps this process's own changes in a row, so
    /// that no more than one thread waits for the file's lock.
    seen: Arc<Mutex<Option<Vec<u8>>>>,
}

struct Paths {
    state: PathBuf,
    new: PathBuf,
    lock: PathBuf,
}

/// The right to change the file; given back when the change is written, or dropped.
pub(crate) struct Held {
    paths: Arc<Paths>,
    seen: OwnedMutexGuard<Option<Vec<u8>>>,
    lock: File,
}

#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Document<S> {
    format: String,
    version: u32,
    state: S,
}

impl StateFile {
    /// Opens the file, or makes it with the state that `initial` gives. Blocks.
    ///
    /// # Errors
    /// `InvalidInput` for a file that is no whole state file of this version; `PermissionDenied`,
    /// `Exhausted` or `Internal` when it cannot be read or written.
    pub(crate) fn open(path: &Path, initial: impl FnOnce() -> State) -> Result<(Self, State)> {
        let beside = |ending: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(ending);
            path.with_file_name(name)
        };
        let paths = Paths { state: path.to_owned(), new: beside(".new"), lock: beside(".lock") };
        let _lock = paths.lock()?;
        let (bytes, state) = match paths.read()? {
            Some(bytes) => {
                let state = paths.parse(&bytes)?;
                (bytes, state)
            }
            None => {
                let state = initial();
                let bytes = document(&state)?;
                paths.write(&bytes)?;
                (bytes, state)
            }
        };
        Ok((Self { paths: Arc::new(paths), seen: Arc::new(Mutex::new(Some(bytes))) }, state))
    }

    /// Takes the lock and makes sure that `inner` has what is in the file.
    pub(crate) async fn lock(&self, inner: &Inner) -> Result<Held> {
        let mut seen = Arc::clone(&self.seen).lock_owned().await;
        let paths = Arc::clone(&self.paths);
        let (lock, bytes) = blocking(move || {
            let lock = paths.lock()?;
            Ok((lock, paths.read()?))
        })
        .await?;
        self.catch_up(inner, &mut seen, bytes)?;
        Ok(Held { paths: Arc::clone(&self.paths), seen, lock })
    }

    /// Makes sure that `inner` has what is in the file.
    pub(crate) async fn refresh(&self, inner: &Inner) -> Result<()> {
        let mut seen = self.seen.lock().await;
        let paths = Arc::clone(&self.paths);
        let bytes = blocking(move || paths.read()).await?;
        self.catch_up(inner, &mut seen, bytes)
    }

    fn catch_up(&self, inner: &Inner, seen: &mut Option<Vec<u8>>, bytes: Option<Vec<u8>>) -> Result<()> {
        match bytes {
            Some(bytes) if seen.as_ref() != Some(&bytes) => {
                inner.adopt(self.paths.parse(&bytes)?);
                *seen = Some(bytes);
                Ok(())
            }
            Some(_) => Ok(()),
            None => Err(Error::internal(format!("the state file {} is gone", self.paths.state.display()))),
        }
    }
}

impl Held {
    /// Writes the state; begins at once, and goes on when the answer is dropped.
    pub(crate) fn write(self, state: &State) -> impl Future<Output = Result<()>> + use<> {
        let Self { paths, mut seen, lock } = self;
        // Until it is known to be written, nothing is known about the file.
        *seen = None;
        let writing = document(state).map(|bytes| {
            blocking(move || {
                let written = paths.write(&bytes);
                if written.is_ok() {
                    *seen = Some(bytes);
                }
                drop(lock);
                written
            })
        });
        async move { writing?.await }
    }
}

/// Runs on a thread that may wait. Started when it is called, not when it is awaited.
fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> impl Future<Output = Result<T>> {
    let handle: JoinHandle<Result<T>> = tokio::task::spawn_blocking(work);
    async move {
        handle.await.unwrap_or_else(|error| {
            Err(Error::internal("the thread that works on the state file died").with_source(error))
        })
    }
}

fn document(state: &State) -> Result<Vec<u8>> {
    serde_json::to_vec(&Document { format: FORMAT.to_owned(), version: VERSION, state })
        .map_err(|error| Error::internal(format!("the state cannot be written: {error}")).with_source(error))
}

impl Paths {
    fn lock(&self) -> Result<File> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = options.open(&self.lock).map_err(|error| failed("lock", &self.lock, error))?;
        file.lock().map_err(|error| failed("lock", &self.lock, error))?;
        Ok(file)
    }

    fn read(&self) -> Result<Option<Vec<u8>>> {
        match std::fs::read(&self.state) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == IoKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &self.state, error)),
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<State> {
        let refuse = |why: String| {
            Error::invalid_input(format!("{} is no state file of a fake: {why}", self.state.display()))
                .with_hint("name another file, or remove this one if it is one and was damaged")
        };
        let header: Header = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        if header.format != FORMAT {
            return Err(refuse(format!("its format is `{}`", header.format.escape_debug())));
        }
        if header.version != VERSION {
            return Err(refuse(format!("its version is {}, this library reads {VERSION}", header.version)));
        }
        let document: Document<State> =
            serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        Ok(document.state)
    }

    /// Whole or not at all: written beside, flushed to the disk, put in place in one step.
    fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true);
        // The environment of an instance often holds secrets.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let write = || {
            let mut file = options.open(&self.new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&self.new, &self.state)?;
            // The rename itself lies in the folder.
            #[cfg(unix)]
            if let Some(folder) = self.state.parent() {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        write().map_err(|error| failed("write", &self.state, error))
    }
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot {what} the state file {}: {error}", path.display());
    let failure = match error.kind() {
        IoKind::PermissionDenied | IoKind::ReadOnlyFilesystem => Error::permission_denied(message),
        IoKind::StorageFull | IoKind::QuotaExceeded => Error::exhausted(message),
        IoKind::NotFound | IoKind::NotADirectory | IoKind::IsADirectory => {
            Error::invalid_input(message).with_hint("its folder must exist")
        }
        _ => Error::internal(message),
    };
    failure.with_source(error)
}

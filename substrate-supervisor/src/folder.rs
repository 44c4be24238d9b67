//! The folder that supervisord includes: the only way to make a program.
//!
//! A file comes to be in one step, whole and only if there is none (a hard link of a finished one). It goes in one
//! step too, and only if it is the one that was meant. Its name begins with `substrate-`: files of others are
//! never touched.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use substrate_core::{Error, ErrorKind, Result};

use crate::convert::record::{Record, new_key};
use crate::name::is_creatable;

const PREFIX: &str = "substrate-";

/// The folder, and what its files are called.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: Arc<Path>,
    extension: Arc<str>,
}

impl Folder {
    pub(crate) fn new(path: &Path, extension: &str) -> Self {
        Self { path: path.into(), extension: extension.into() }
    }

    /// For people.
    pub(crate) fn pattern(&self) -> String {
        format!("{}/*.{}", self.path.display(), self.extension)
    }

    /// The file of a program. Only ever of a name that was checked.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{PREFIX}{name}.{}", self.extension))
    }

    /// Whether files can be made here.
    pub(crate) async fn check(&self) -> Result<()> {
        let folder = self.clone();
        blocking(move || {
            let probe = folder.hidden("probe");
            fs::write(&probe, "")
                .and_then(|()| fs::remove_file(&probe))
                .map_err(|error| folder.failed("write to", error))
        })
        .await
    }

    /// The records of these names, as far as there are any.
    pub(crate) async fn read(&self, names: Vec<String>) -> Result<BTreeMap<String, Record>> {
        let folder = self.clone();
        blocking(move || {
            let mut records = BTreeMap::new();
            for name in names.into_iter().filter(|name| is_creatable(name)) {
                if let Some(record) = folder.read_file(&folder.file(&name), &name)? {
                    records.insert(name, record);
                }
            }
            Ok(records)
        })
        .await
    }

    /// Every record.
    pub(crate) async fn read_all(&self) -> Result<BTreeMap<String, Record>> {
        let folder = self.clone();
        blocking(move || {
            let mut records = BTreeMap::new();
            let entries = fs::read_dir(&folder.path).map_err(|error| folder.failed("list", error))?;
            for entry in entries {
                let entry = entry.map_err(|error| folder.failed("list", error))?;
                let file = entry.file_name();
                let name = file.to_str().and_then(|file| folder.name_of(file));
                let Some(name) = name else { continue };
                if let Some(record) = folder.read_file(&entry.path(), name)? {
                    records.insert(name.to_owned(), record);
                }
            }
            Ok(records)
        })
        .await
    }

    /// Makes a program's file; false when there is one.
    pub(crate) async fn add(&self, name: &str, text: String) -> Result<bool> {
        let (folder, file) = (self.clone(), self.file(name));
        blocking(move || {
            let hidden = folder.hidden("new");
            let written = write_whole(&hidden, &text).and_then(|()| fs::hard_link(&hidden, &file));
            let _ = fs::remove_file(&hidden);
            match written {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(folder.failed("write to", error)),
            }
        })
        .await
    }

    /// Removes a program's file if it is that of this creation; false when it is not there any more.
    pub(crate) async fn remove(&self, name: &str, key: &str) -> Result<bool> {
        let (folder, file, name, key) = (self.clone(), self.file(name), name.to_owned(), key.to_owned());
        blocking(move || {
            // Taken away first and looked at then: between a look and a removal another could be made.
            let hidden = folder.hidden("old");
            match fs::rename(&file, &hidden) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(folder.failed("remove from", error)),
            }
            let is_meant =
                folder.read_file(&hidden, &name).is_ok_and(|record| record.is_some_and(|it| it.key == key));
            let put_back = if is_meant { Ok(()) } else { fs::hard_link(&hidden, &file) };
            fs::remove_file(&hidden).and(put_back).map_err(|error| folder.failed("remove from", error))?;
            Ok(is_meant)
        })
        .await
    }

    fn name_of<'a>(&self, file: &'a str) -> Option<&'a str> {
        let name = file.strip_prefix(PREFIX)?.strip_suffix(&*self.extension)?.strip_suffix('.')?;
        is_creatable(name).then_some(name)
    }

    /// A name that no pattern of supervisord's fits and nobody else has.
    fn hidden(&self, word: &str) -> PathBuf {
        self.path.join(format!(".{PREFIX}{word}-{}", new_key()))
    }

    fn read_file(&self, path: &Path, name: &str) -> Result<Option<Record>> {
        let read = fs::read(path).and_then(|bytes| Ok((bytes, fs::metadata(path)?.modified().ok())));
        let (bytes, modified) = match read {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read from", error)),
        };
        let record = Record::read(&path.display().to_string(), &String::from_utf8_lossy(&bytes))?;
        Ok(record
            .filter(|record| record.name == name)
            .map(|record| Record { created_at: modified, ..record }))
    }

    fn failed(&self, attempt: &str, error: io::Error) -> Error {
        let (kind, hint) = match error.kind() {
            io::ErrorKind::PermissionDenied => (
                ErrorKind::PermissionDenied,
                "this program must be allowed to read and write the folder that supervisord includes",
            ),
            io::ErrorKind::NotFound => {
                (ErrorKind::InvalidInput, "is `include_folder` right, and supervisord on this host?")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (ErrorKind::Exhausted, "make room on the disk")
            }
            _ => (ErrorKind::Internal, "is the file system in order?"),
        };
        Error::new(kind, format!("cannot {attempt} the folder {}: {error}", self.path.display()))
            .with_hint(hint)
            .with_source(error)
    }
}

/// Environments hold secrets: nobody else may read them.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes log files with their full predecessors; what is not there is no error.
pub(crate) async fn remove_logs(files: Vec<String>) -> Result<()> {
    blocking(move || {
        for file in files {
            let path = Path::new(&file);
            let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
            else {
                continue;
            };
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let other = entry.file_name();
                let rest = other.to_str().and_then(|other| other.strip_prefix(name));
                let is_log = rest.is_some_and(|rest| {
                    rest.is_empty()
                        || rest.strip_prefix('.').is_some_and(|number| number.parse::<u32>().is_ok())
                });
                if is_log {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        Ok(())
    })
    .await
}

/// Runs what waits for a disk where it holds up nobody. Goes on to its end when the caller is dropped.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::cancelled("the runtime is shutting down").with_source(error))?
}

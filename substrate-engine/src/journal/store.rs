//! Where journals are kept, and reading them back.
//!
//! A deployment has a folder of its own. `log/` holds numbered entries, each with any number of records, one a line; an
//! entry is only ever created, never changed, and only if its number is free. `state/` holds what the log adds up to
//! at some entries, so that reading need not begin at the first one; it can be deleted without loss.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use substrate_core::{Error, Outcome, Result};

use super::record::Record;
use super::state::JournalState;

/// How many entries are fetched at once.
const FETCHED_AT_ONCE: usize = 16;

/// A place for the journals of any number of deployments.
///
/// ```
/// use substrate_engine::JournalStore;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = JournalStore::memory();
/// assert!(store.deployments().await?.is_empty());
/// # Ok::<(), substrate_core::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct JournalStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    shown: Arc<str>,
    /// Whether it is certain that an object is created only if it is absent.
    is_exclusive: bool,
}

impl JournalStore {
    /// The store that a text names: `s3://BUCKET/PREFIX` (with the feature `s3`), or the path of a folder.
    ///
    /// What is said to S3 beside the bucket is taken from the environment: `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, and `AWS_ALLOW_HTTP=true` for a server without TLS.
    /// It must honour `If-None-Match: *` on a PUT, as S3 itself does since 2024; one that does not is refused when a
    /// deployment's journal is opened for writing.
    ///
    /// # Errors
    /// [`InvalidInput`](substrate_core::ErrorKind::InvalidInput): the folder cannot be made, a scheme that is not known,
    /// or settings in the environment that do not go together.
    pub fn open(location: &str) -> Result<Self> {
        match location.split_once("://") {
            None => Self::local(location),
            Some(("s3", place)) => Self::s3(place),
            Some((scheme, _)) => Err(Error::invalid_input(format!(
                "journals cannot be kept in `{scheme}://`: give the path of a folder, or `s3://BUCKET/PREFIX`"
            ))),
        }
    }

    #[cfg(feature = "s3")]
    fn s3(place: &str) -> Result<Self> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let shown = Arc::from(format!("s3://{place}"));
        let store = super::s3::bucket(bucket)?;
        Ok(Self { store, prefix: Path::from(prefix), shown, is_exclusive: false })
    }

    #[cfg(not(feature = "s3"))]
    fn s3(place: &str) -> Result<Self> {
        Err(Error::invalid_input(format!(
            "journals cannot be kept in `s3://{place}`: this program was built without the feature `s3` of \
             substrate-engine"
        )))
    }

    /// A folder of this machine, made if it is missing. What was written is on the disk (`fsync`) before a call that
    /// it announces is made.
    ///
    /// # Errors
    /// [`InvalidInput`](substrate_core::ErrorKind::InvalidInput): the folder cannot be made.
    pub fn local(folder: impl AsRef<FilePath>) -> Result<Self> {
        let folder = folder.as_ref();
        let cannot = |error: &dyn fmt::Display| {
            Error::invalid_input(format!("cannot keep journals in `{}`: {error}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| cannot(&error))?;
        let shown = Arc::from(folder.display().to_string());
        let store = Arc::new(store.with_fsync(true));
        Ok(Self { store, prefix: Path::default(), shown, is_exclusive: true })
    }

    /// The memory of this process: for tests, and for what needs to survive no crash.
    #[must_use]
    pub fn memory() -> Self {
        let shown = Arc::from("memory");
        Self { store: Arc::new(InMemory::new()), prefix: Path::default(), shown, is_exclusive: true }
    }

    /// Any object store that can create an object only if it is absent, below a prefix of it. One that cannot is
    /// refused when a deployment's journal is opened for writing.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        let shown = Arc::from(format!("{store}/{prefix}"));
        Self { store, prefix: Path::from(prefix), shown, is_exclusive: false }
    }

    /// The names of the deployments that have a journal here, in alphabetical order.
    ///
    /// # Errors
    /// [`Unavailable`](substrate_core::ErrorKind::Unavailable): the store does not answer.
    pub async fn deployments(&self) -> Result<Vec<String>> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let listed =
            self.store.list_with_delimiter(prefix).await.map_err(|error| self.failed("list", &error))?;
        let names = listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        Ok(names)
    }

    /// What the journal of a deployment adds up to; empty when there is none. Nothing is locked.
    ///
    /// # Errors
    /// [`Unavailable`](substrate_core::ErrorKind::Unavailable) when the store does not answer,
    /// [`Protocol`](substrate_core::ErrorKind::Protocol) for a journal that is damaged or of a newer format.
    pub async fn state(&self, deployment: &str) -> Result<JournalState> {
        Ok(self.load(deployment, None).await?.state)
    }

    /// What it added up to just before a run, counted from 1.
    ///
    /// # Errors
    /// [`NotFound`](substrate_core::ErrorKind::NotFound) when there was no such run, and those of
    /// [`state`](Self::state).
    pub async fn state_before(&self, deployment: &str, run: u64) -> Result<JournalState> {
        let loaded = self.load(deployment, Some(run)).await?;
        if loaded.stopped {
            return Ok(loaded.state);
        }
        let last = loaded.state.last_run();
        Err(Error::not_found(format!("the deployment `{deployment}` has no run {run}: its last is {last}")))
    }

    /// The state and the number of the entry that comes next.
    pub(super) async fn load(&self, deployment: &str, before: Option<u64>) -> Result<Loaded> {
        let (mut state, mut next) = self.checkpoint(deployment, before).await?;
        let log = self.folder(deployment, "log");
        let numbers = self.numbers(&log).await?;
        let numbers: Vec<u64> = numbers.into_iter().filter(|number| *number >= next).collect();
        let mut entries = stream::iter(numbers)
            .map(|number| {
                let path = entry_path(&log, number);
                async move { Ok::<_, Error>((number, self.get(&path).await?)) }
            })
            .buffered(FETCHED_AT_ONCE);
        while let Some((number, content)) = entries.try_next().await? {
            let damaged = |why: &dyn fmt::Display| {
                Error::protocol(format!("entry {number} of the journal of `{deployment}` in {self}: {why}"))
            };
            if number != next {
                return Err(damaged(&format!("entry {next} before it is missing")));
            }
            for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let record: Record = serde_json::from_slice(line).map_err(|error| damaged(&error))?;
                if let (Record::Began { run, .. }, Some(before)) = (&record, before)
                    && *run == before
                {
                    return Ok(Loaded { state, next, stopped: true });
                }
                state.apply(&record).map_err(|error| damaged(&error))?;
            }
            next = number + 1;
        }
        Ok(Loaded { state, next, stopped: false })
    }

    /// The newest state that was put down, of those before a run.
    async fn checkpoint(&self, deployment: &str, before: Option<u64>) -> Result<(JournalState, u64)> {
        let folder = self.folder(deployment, "state");
        for number in self.numbers(&folder).await?.into_iter().rev() {
            // One that cannot be read is passed over: the log says the same.
            let Ok(content) = self.get(&entry_path(&folder, number)).await else { continue };
            let Ok(state) = serde_json::from_slice::<JournalState>(&content) else { continue };
            if before.is_none_or(|run| state.last_run() < run) {
                return Ok((state, number + 1));
            }
        }
        Ok((JournalState::default(), 0))
    }

    /// Whether an entry with this number or a later one was written.
    pub(super) async fn has_entry(&self, deployment: &str, number: u64) -> Result<bool> {
        let path = entry_path(&self.folder(deployment, "log"), number);
        match self.store.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("look at", &error)),
        }
    }

    /// Creates an entry if its number is free; false when it is taken by something else.
    ///
    /// A try whose answer was lost is recognised by its content, so that it is never taken for somebody else's.
    pub(super) async fn create_entry(&self, deployment: &str, number: u64, content: Bytes) -> Result<bool> {
        let path = entry_path(&self.folder(deployment, "log"), number);
        let options = PutOptions::from(PutMode::Create);
        match self.store.put_opts(&path, PutPayload::from_bytes(content.clone()), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(self.get(&path).await? == content)
            }
            Err(error) => Err(self.failed("write", &error)),
        }
    }

    /// Writes an entry that is there once more: a store that takes it does not keep two engines apart.
    ///
    /// # Errors
    /// `InvalidInput` when it is taken.
    pub(super) async fn check_exclusive(&self, deployment: &str, number: u64, content: Bytes) -> Result<()> {
        if self.is_exclusive {
            return Ok(());
        }
        let path = entry_path(&self.folder(deployment, "log"), number);
        let again = self.store.put_opts(&path, PutPayload::from_bytes(content), PutMode::Create.into()).await;
        match again {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(())
            }
            Ok(_) => Err(Error::invalid_input(format!(
                "journals cannot be kept in {self}: it overwrites an object that was to be created only if absent \
                 (`If-None-Match: *`), so two engines could both write"
            ))),
            Err(error) => Err(self.failed("write", &error)),
        }
    }

    pub(super) async fn put_checkpoint(
        &self,
        deployment: &str,
        number: u64,
        state: &JournalState,
    ) -> Result<()> {
        let path = entry_path(&self.folder(deployment, "state"), number);
        let content = serde_json::to_vec(state)
            .map_err(|error| Error::internal(format!("a state cannot be written as JSON: {error}")))?;
        self.store.put(&path, content.into()).await.map_err(|error| self.failed("write", &error))?;
        Ok(())
    }

    async fn get(&self, path: &Path) -> Result<Bytes> {
        let read = async { self.store.get(path).await?.bytes().await };
        read.await.map_err(|error| self.failed("read", &error))
    }

    /// The numbers of the entries in a folder, in ascending order.
    async fn numbers(&self, folder: &Path) -> Result<Vec<u64>> {
        let listed = self.store.list(Some(folder)).map_ok(|entry| number_of(&entry.location));
        let numbers: Vec<Option<u64>> =
            listed.try_collect().await.map_err(|error| self.failed("list", &error))?;
        let mut numbers: Vec<u64> = numbers.into_iter().flatten().collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn folder(&self, deployment: &str, kind: &str) -> Path {
        self.prefix.clone().join(deployment).join(kind)
    }

    fn failed(&self, what: &str, error: &object_store::Error) -> Error {
        Error::unavailable(format!("cannot {what} the journal in {self}: {error}"))
            .with_outcome(Outcome::Unknown)
    }
}

impl fmt::Display for JournalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for JournalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalStore({})", self.shown)
    }
}

/// A journal that was read.
pub(super) struct Loaded {
    pub(super) state: JournalState,
    /// The number of the entry that comes next.
    pub(super) next: u64,
    /// Whether reading ended at the run that was asked for.
    stopped: bool,
}

// Numbers of one length, so that their order as text is their order.
fn entry_path(folder: &Path, number: u64) -> Path {
    folder.clone().join(format!("{number:020}.jsonl"))
}

fn number_of(path: &Path) -> Option<u64> {
    let number: u64 = path.filename()?.strip_suffix(".jsonl")?.parse().ok()?;
    // Entries are counted from zero: a file with a number that none can follow is no entry.
    (number < u64::MAX / 2).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_none_can_follow_is_no_entry() {
        let folder = Path::from("shop/log");
        assert_eq!(number_of(&entry_path(&folder, 7)), Some(7));
        assert_eq!(number_of(&entry_path(&folder, u64::MAX)), None);
    }
}

//! Writing a journal: one owner at a time, many records in one entry.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use substrate_core::{Error, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::owner::Owner;
use super::record::Record;
use super::state::{FORMAT, JournalState};
use super::store::{JournalStore, Loaded};

/// How long an owner may be silent before another may take its place.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(15);
/// Records that one entry takes at most.
const LARGEST_GROUP: usize = 512;
/// After so many entries the state is put down, so that reading stays quick.
const ENTRIES_PER_CHECKPOINT: u64 = 64;
/// How often an entry is tried to be written, and how long is waited after the first try.
const TRIES: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The journal of one deployment, for its owner.
///
/// Dropped without [`release`](Self::release), it counts as abandoned: another engine takes over once the lease is
/// over, or at once where it can see that the process has ended.
pub struct Journal {
    deployment: Arc<str>,
    state: Arc<Mutex<JournalState>>,
    requests: mpsc::Sender<Request>,
    task: AbortHandle,
}

struct Request {
    record: Record,
    done: oneshot::Sender<Result<()>>,
}

impl Journal {
    /// Becomes the owner of a deployment's journal, which is founded if there is none.
    ///
    /// An owner that did not release it and has not certainly ended is watched for the time of its lease: by its own
    /// entries, since clocks of two machines do not agree.
    ///
    /// # Errors
    /// [`Conflict`](substrate_core::ErrorKind::Conflict) naming the owner, if there is a living one; those of
    /// [`JournalStore::state`], and [`InvalidInput`](substrate_core::ErrorKind::InvalidInput) for a store that lets
    /// two write one entry.
    pub async fn acquire(store: &JournalStore, deployment: &str, lease: Duration) -> Result<Self> {
        let Loaded { mut state, next, .. } = store.load(deployment, None).await?;
        if let Some(owner) = state.owner.clone().filter(|owner| !owner.has_ended()) {
            watch(store, deployment, next, lease, &owner).await?;
        }
        let mut first = Vec::with_capacity(2);
        if state.identity.is_empty() {
            first.push(Record::Founded { format: FORMAT, identity: format!("{deployment}.{}", identity()) });
        }
        first.push(Record::Acquired { owner: Owner::this_process() });
        for record in &first {
            state.apply(record).map_err(|error| Error::internal(error.to_string()))?;
        }
        let entry = lines(&first)?;
        if !store.create_entry(deployment, next, entry.clone()).await? {
            let owner = store.state(deployment).await?.owner;
            return Err(taken(deployment, owner.as_ref()));
        }
        store.check_exclusive(deployment, next, entry).await?;
        let (requests, receiver) = mpsc::channel(LARGEST_GROUP);
        let deployment: Arc<str> = Arc::from(deployment);
        let state = Arc::new(Mutex::new(state));
        let writer = Writer {
            store: store.clone(),
            deployment: deployment.clone(),
            state: state.clone(),
            next: next + 1,
            checkpoint: next,
            renewal: lease / 3,
        };
        let task = tokio::spawn(writer.run(receiver)).abort_handle();
        Ok(Self { deployment, state, requests, task })
    }

    /// Adds a record. When it returns, the record is durable; many callers at once share one entry.
    ///
    /// Dropped while it waits, the record may be written or not.
    ///
    /// # Errors
    /// [`Conflict`](substrate_core::ErrorKind::Conflict) when another engine has taken over: nothing must be done any
    /// more. [`Unavailable`](substrate_core::ErrorKind::Unavailable) when the store does not answer,
    /// [`Internal`](substrate_core::ErrorKind::Internal) for a record that cannot follow.
    pub async fn append(&self, record: Record) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let ended = || Error::unavailable(format!("the journal of `{}` is closed", self.deployment));
        self.requests.send(Request { record, done }).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Gives the deployment free for others.
    ///
    /// # Errors
    /// Those of [`append`](Self::append).
    pub async fn release(self) -> Result<()> {
        self.append(Record::Released).await
    }

    /// Which deployment it is of.
    #[must_use]
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// Looks at what it adds up to.
    pub fn with_state<T>(&self, look: impl FnOnce(&JournalState) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("deployment", &self.deployment).finish_non_exhaustive()
    }
}

/// Returns once the owner was silent for its whole lease.
async fn watch(
    store: &JournalStore,
    deployment: &str,
    next: u64,
    lease: Duration,
    owner: &Owner,
) -> Result<()> {
    let end = Instant::now() + lease;
    while Instant::now() < end {
        if store.has_entry(deployment, next).await? {
            // Its last word may have been that it is done.
            let owner = store.state(deployment).await?.owner;
            return Err(taken(deployment, owner.as_ref()));
        }
        if owner.has_ended() {
            return Ok(());
        }
        sleep(lease / 30).await;
    }
    Ok(())
}

fn taken(deployment: &str, owner: Option<&Owner>) -> Error {
    let by = owner.map_or_else(|| "another engine".to_owned(), ToString::to_string);
    Error::conflict(format!("the deployment `{deployment}` is being changed by {by}"))
        .with_hint("wait until it is done, or end it: what it leaves is made up for by the next run")
}

/// The task behind a [`Journal`].
struct Writer {
    store: JournalStore,
    deployment: Arc<str>,
    state: Arc<Mutex<JournalState>>,
    next: u64,
    /// The last entry at which the state was put down.
    checkpoint: u64,
    renewal: Duration,
}

impl Writer {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(LARGEST_GROUP);
        loop {
            match timeout(self.renewal, requests.recv_many(&mut group, LARGEST_GROUP)).await {
                Ok(0) => return,
                Ok(_) => {}
                // Silence for a third of the lease: a sign of life. Nobody waits for it.
                Err(_) => group.push(Request { record: Record::Renewed, done: oneshot::channel().0 }),
            }
            let end = self.write(&mut group).await;
            if end {
                return;
            }
        }
    }

    /// Writes a group as one entry and answers; true when nothing can be written any more.
    async fn write(&mut self, group: &mut Vec<Request>) -> bool {
        let mut accepted = Vec::with_capacity(group.len());
        let mut waiting = Vec::with_capacity(group.len());
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            for Request { record, done } in group.drain(..) {
                match state.apply(&record) {
                    Ok(()) => {
                        accepted.push(record);
                        waiting.push(done);
                    }
                    Err(error) => drop(done.send(Err(Error::internal(format!(
                        "the journal of `{}`: {error}",
                        self.deployment
                    ))))),
                }
            }
        }
        if accepted.is_empty() {
            return false;
        }
        let result = match lines(&accepted) {
            Ok(content) => self.create(content).await,
            Err(error) => Err(error),
        };
        let released = matches!(accepted.last(), Some(Record::Released));
        if result.is_ok() && (released || self.next - self.checkpoint > ENTRIES_PER_CHECKPOINT) {
            self.put_checkpoint().await;
        }
        for done in waiting {
            // Whoever does not wait any more does not want to know.
            let _ = done.send(result.clone());
        }
        result.is_err() || released
    }

    async fn create(&mut self, content: Bytes) -> Result<()> {
        let mut delay = FIRST_DELAY;
        for attempt in 1.. {
            match self.store.create_entry(&self.deployment, self.next, content.clone()).await {
                Ok(true) => break,
                Ok(false) => {
                    let owner = self.store.state(&self.deployment).await.ok().and_then(|state| state.owner);
                    return Err(taken(&self.deployment, owner.as_ref()));
                }
                Err(error) if attempt == TRIES => return Err(error),
                Err(_) => {
                    sleep(delay).await;
                    delay *= 2;
                }
            }
        }
        self.next += 1;
        Ok(())
    }

    /// Only saves time later: that it failed is no reason to stop.
    async fn put_checkpoint(&mut self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = self.next - 1;
        if self.store.put_checkpoint(&self.deployment, last, &state).await.is_ok() {
            self.checkpoint = last;
        }
    }
}

fn lines(records: &[Record]) -> Result<Bytes> {
    let mut content = BytesMut::new().writer();
    for record in records {
        serde_json::to_writer(&mut content, record)
            .map_err(|error| Error::internal(format!("a record cannot be written as JSON: {error}")))?;
        content.get_mut().put_u8(b'\n');
    }
    Ok(content.into_inner().freeze())
}

/// What makes a deployment's marks unlike those of another of the same name.
fn identity() -> String {
    let mut text = super::random_text();
    text.truncate(12);
    text
}

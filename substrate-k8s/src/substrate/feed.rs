//! One list that is watched: a state machine of listing, watching, and watching on.
//!
//! A version that is gone is told in two forms, as the answer to the watch and inside it; either way it has to be listed
//! again. And a watch that ends again and again with nothing said is one of a version that the server does not admit to have
//! lost: that is listed again, too, instead of being opened for ever.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use substrate_core::{Error, Result};
use tokio::time::{Instant, sleep_until};

use crate::client::{Change, Client, Target, Watch};

/// How often a watch may end in silence, at once, before it counts as one of a lost version.
const SILENT_ENDS: u32 = 5;
/// A watch that lasted for so long has not ended at once.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How long a server may be away until the watch ends with an error.
const OUTAGE: Duration = Duration::from_secs(90);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a feed delivers.
#[derive(Debug)]
pub(super) enum Fed<T> {
    Is(T),
    Gone(T),
    /// Nothing happened up to the version that is now remembered.
    Moved,
    /// The watch stands: what has happened comes at once.
    Opened,
    /// What happened is lost: list again.
    Lost(&'static str),
}

/// A watched list.
pub(super) struct Feed {
    client: Arc<Client>,
    target: Target,
    version: String,
    watch: Option<Watch>,
    opened: Instant,
    silent_ends: u32,
    pause: Duration,
    /// When it may be tried again.
    next_try: Instant,
    /// Since when the server is away.
    away: Option<Instant>,
    said: bool,
}

impl Feed {
    pub(super) fn new(client: Arc<Client>, target: Target, version: String) -> Self {
        let now = Instant::now();
        Self {
            client,
            target,
            version,
            watch: None,
            opened: now,
            silent_ends: 0,
            pause: Duration::ZERO,
            next_try: now,
            away: None,
            said: false,
        }
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Since when the watch stands, if it does.
    pub(super) fn open_since(&self) -> Option<Instant> {
        self.watch.as_ref().map(|_| self.opened)
    }

    /// The next change, with its version remembered. Cancel safe.
    ///
    /// # Errors
    /// When the server is away for too long; what it says against the watch.
    pub(super) async fn next<T: DeserializeOwned>(&mut self, version_of: fn(&T) -> &str) -> Result<Fed<T>> {
        loop {
            let Some(watch) = &mut self.watch else {
                match self.open().await? {
                    Some(lost) => return Ok(Fed::Lost(lost)),
                    None if self.watch.is_some() => return Ok(Fed::Opened),
                    None => continue,
                }
            };
            let change = watch.next::<T>().await.inspect_err(|_| self.watch = None)?;
            match change {
                Change::Added(thing) | Change::Modified(thing) => {
                    self.heard(version_of(&thing).to_owned());
                    return Ok(Fed::Is(thing));
                }
                Change::Deleted(thing) => {
                    self.heard(version_of(&thing).to_owned());
                    return Ok(Fed::Gone(thing));
                }
                Change::Bookmark(version) => {
                    self.heard(version);
                    return Ok(Fed::Moved);
                }
                Change::Expired => {
                    self.watch = None;
                    return Ok(Fed::Lost("the server no longer has the version that was watched from"));
                }
                Change::Ended => {
                    self.watch = None;
                    if let Some(lost) = self.ended() {
                        return Ok(Fed::Lost(lost));
                    }
                }
            }
        }
    }

    fn heard(&mut self, version: String) {
        if !version.is_empty() {
            self.version = version;
        }
        self.said = true;
        self.silent_ends = 0;
        self.pause = Duration::ZERO;
    }

    fn ended(&mut self) -> Option<&'static str> {
        if self.said || self.opened.elapsed() >= AT_ONCE {
            self.silent_ends = 0;
            return None;
        }
        self.silent_ends += 1;
        self.back_off();
        (self.silent_ends >= SILENT_ENDS)
            .then_some("the server ends the watch again and again and says nothing")
    }

    fn back_off(&mut self) {
        self.pause = (self.pause * 2).clamp(Duration::from_millis(50), LONGEST_PAUSE);
        self.next_try = Instant::now() + self.pause;
    }

    /// Opens the watch; why not, when the version is gone.
    async fn open(&mut self) -> Result<Option<&'static str>> {
        sleep_until(self.next_try).await;
        match self.client.watch(&self.target, &self.version).await {
            Ok(Some(watch)) => {
                self.watch = Some(watch);
                (self.opened, self.said, self.away) = (Instant::now(), false, None);
                Ok(None)
            }
            Ok(None) => {
                self.away = None;
                Ok(Some("the server no longer has the version to watch from"))
            }
            Err(error) if is_passing(&error) => {
                let since = *self.away.get_or_insert_with(Instant::now);
                if since.elapsed() >= OUTAGE {
                    return Err(error);
                }
                self.back_off();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A server that starts refuses what it will allow in a moment: rights are among the last that it knows.
fn is_passing(error: &Error) -> bool {
    error.is_unavailable()
        || error.is_timeout()
        || error.is_rate_limited()
        || error.is_internal()
        || error.is_permission_denied()
}

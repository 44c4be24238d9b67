//! Stopping.
//!
//! A stop has ended when the server has cleaned up behind the guest: its hooks come when the guest is gone already, on a
//! busy machine a second later. Until then both servers are easily misled, and mislead. All stops of one instance that
//! overlap share a lock, and whichever hook comes next ends it, also the late one of an earlier stop whose caller has gone.
//! While there is such a lock the instance shows as running, though it is not; so a forced stop can fail with `status is
//! "Running"`, and an instance that was stopped and started again can be cleaned up while it runs. Hence a stop is believed
//! only when the instance shows as stopped, the server's own note of its power says so too and nothing is under way on it.

use std::time::Duration;

use substrate_core::provider::Wait;
use substrate_core::{Error, InstanceName, InstanceState, Outcome, Result, StopMode};
use tokio::time::Instant;

use super::LxcSubstrate;
use super::lifecycle::missing;
use super::power::POWER_LIMIT;
use crate::convert::instance::Document;

/// How long the server may take beyond a grace period.
const STOP_MARGIN: Duration = Duration::from_secs(60);
/// For how long a forced stop that the server refuses or fails is tried again.
const CUT_LIMIT: Duration = Duration::from_secs(30);
/// How long the server may take to clean up behind a stop that this handle has sent.
const CLEANING_LIMIT: Duration = Duration::from_secs(15);
/// And behind any other: of that it is not known whether it was just now, or whether the note is wrong for good, as
/// after a crash of the host.
const UNSEEN_CLEANING_LIMIT: Duration = Duration::from_secs(1);
/// A guest that was started this recently may not hear yet that it shall stop: the request is lost on it.
const NOT_YET_HEARING: Duration = Duration::from_secs(10);
/// Then it is asked again after so long.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

impl LxcSubstrate {
    pub(super) async fn stop(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let (_held, document) = self.held(name).await?;
        self.meter.forget(document.id());
        self.power_off(&document.name, document.state(), mode).await
    }

    pub(super) async fn power_off(&self, name: &str, state: InstanceState, mode: StopMode) -> Result<()> {
        if state == InstanceState::Stopped && self.is_off(name).await? {
            return Ok(());
        }
        match mode {
            StopMode::Force => self.cut(name).await,
            StopMode::Graceful(grace) => self.ask(name, state, grace).await,
            StopMode::GracefulThenForce(grace) => match self.ask(name, state, grace).await {
                Err(error) if error.is_timeout() && error.outcome() == Outcome::Rejected => {
                    self.cut(name).await
                }
                result => result,
            },
        }
    }

    // ---- asking -----------------------------------------------------------------------------------

    /// Asks the guest to end, and once more when it has only just begun.
    async fn ask(&self, name: &str, state: InstanceState, grace: Duration) -> Result<()> {
        if state == InstanceState::Paused {
            // What is frozen hears nothing.
            self.change_state(name, "unfreeze", None, POWER_LIMIT).await?;
        }
        let is_new = self.starts.since(name).is_some_and(|since| since < NOT_YET_HEARING);
        if is_new && grace > ASK_AGAIN_AFTER {
            match self.ask_once(name, ASK_AGAIN_AFTER).await {
                Err(error) if error.is_timeout() && error.outcome() == Outcome::Rejected => {}
                result => return result,
            }
            return self.ask_once(name, grace.saturating_sub(ASK_AGAIN_AFTER)).await;
        }
        self.ask_once(name, grace).await
    }

    async fn ask_once(&self, name: &str, grace: Duration) -> Result<()> {
        let mut wait = Wait::at_most(grace);
        let deadline = Instant::now() + grace;
        loop {
            self.stops.note(name);
            let left = deadline.saturating_duration_since(Instant::now());
            let said = match self.change_state(name, "stop", Some(left), left + STOP_MARGIN).await {
                Ok(_) => "the server ended the stop".to_owned(),
                // The server says only that it failed.
                Err(error) if is_passing(&error) => error.message().to_owned(),
                Err(error) => return Err(error),
            };
            if self.is_off(name).await? {
                return Ok(());
            }
            // Before its time is over a stop fails because of another one: it is asked again.
            if Instant::now() >= deadline || !wait.pause().await {
                return Err(Error::timeout(format!("it did not stop within {grace:?}: {said}"))
                    .with_outcome(Outcome::Rejected)
                    .with_hint("nothing was killed; give it longer, or stop it by force"));
            }
        }
    }

    // ---- cutting ----------------------------------------------------------------------------------

    /// Cuts the power. When this returns the instance is stopped and stays so: no earlier stop, start or anything else
    /// is under way on it.
    pub(super) async fn cut(&self, name: &str) -> Result<()> {
        let mut wait = Wait::at_most(CUT_LIMIT);
        let mut is_off = self.is_off(name).await?;
        while !is_off {
            self.stops.note(name);
            let result = self.change_state(name, "stop", None, POWER_LIMIT).await;
            is_off = match &result {
                Err(error) if !is_passing(error) => return result.map(drop),
                _ => self.is_off(name).await?,
            };
            if !is_off && !wait.pause().await {
                return Err(result.err().unwrap_or_else(|| {
                    Error::conflict("it was stopped again and again, and runs all the same")
                        .with_hint("does somebody else start it?")
                }));
            }
        }
        Ok(())
    }

    /// Whether it is stopped for good: what is under way on one that shows as stopped is waited for.
    async fn is_off(&self, name: &str) -> Result<bool> {
        loop {
            let Some(document) = self.look(name).await? else {
                // One that is deleted when it stops.
                return if self.stops.since(name).is_some() { Ok(true) } else { Err(missing(name)) };
            };
            if self.cleaned_up(&document).await? != InstanceState::Stopped {
                return Ok(false);
            }
            if !self.others_end(name, STOP_MARGIN).await? {
                return Ok(true);
            }
        }
    }

    /// Waits until the server has cleaned up behind a stop of an instance, if it is at that: its state then.
    pub(super) async fn cleaned_up(&self, document: &Document) -> Result<InstanceState> {
        let name = document.name.as_str();
        if !document.is_being_cleaned_up() {
            return Ok(document.state());
        }
        let is_ours = self.stops.since(name).is_some();
        let mut wait = Wait::at_most(if is_ours { CLEANING_LIMIT } else { UNSEEN_CLEANING_LIMIT });
        let mut state = document.state();
        while wait.pause().await {
            let document = self.look(name).await?.ok_or_else(|| missing(name))?;
            state = document.state();
            if !document.is_being_cleaned_up() {
                break;
            }
        }
        if state == InstanceState::Stopped {
            self.stops.forget(name);
        }
        Ok(state)
    }
}

/// Whether a stop failed in a way that says nothing about the next try: it met another one.
fn is_passing(error: &Error) -> bool {
    error.is_conflict() || error.is_busy() || error.is_internal()
}

//! Starting, restarting, freezing.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use substrate_core::provider::Wait;
use substrate_core::{Error, InstanceName, InstanceState, Outcome, Result, StopMode};
use tokio::time::Instant;

use super::LxcSubstrate;
use super::lifecycle::{missing, target};
use crate::client::Ended;

/// How long a start or a forced stop may take.
pub(super) const POWER_LIMIT: Duration = Duration::from_secs(120);
/// How long an instance whose start failed may show as running.
const SETTLING_LIMIT: Duration = Duration::from_secs(10);
/// For how long it must show as stopped to be believed.
const STEADY: Duration = Duration::from_secs(1);
/// How the container library says that the main command does not exist or cannot be executed.
const NO_PROGRAM: &str = "Failed to exec \"";

pub(super) fn not_running(state: InstanceState) -> Error {
    Error::conflict(format!("it is {state}, not running"))
}

impl LxcSubstrate {
    /// Asks for a state and waits until it is there, or was refused.
    pub(super) async fn change_state(
        &self,
        name: &str,
        action: &str,
        grace: Option<Duration>,
        limit: Duration,
    ) -> Result<Ended> {
        let attempt = format!("{action} the instance");
        // Whole seconds, and not zero: that is for ever.
        let seconds = grace.map_or(-1, |grace| {
            let whole = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
            i64::try_from(whole.max(1)).unwrap_or(i64::MAX)
        });
        let body = &json!({"action": action, "force": grace.is_none(), "timeout": seconds});
        let (attempt, target) = (attempt.as_str(), &target(name).segment("state"));
        self.when_free(|| self.client.change(attempt, Method::PUT, target, Some(body), limit)).await
    }

    pub(super) async fn state_of(&self, name: &str) -> Result<InstanceState> {
        self.look(name).await?.map(|document| document.state()).ok_or_else(|| missing(name))
    }

    // ---- starting ---------------------------------------------------------------------------------

    pub(super) async fn start(&self, name: &InstanceName) -> Result<()> {
        let (_held, document) = self.held(name).await?;
        // A start in the middle of a stop's cleaning up would be taken for stopped by it.
        match self.cleaned_up(&document).await? {
            InstanceState::Running => Ok(()),
            InstanceState::Paused => Err(Error::conflict("it is paused, not stopped").with_hint("resume it")),
            _ => {
                self.meter.forget(document.id());
                self.power_on(&document.name).await
            }
        }
    }

    pub(super) async fn power_on(&self, name: &str) -> Result<()> {
        match self.change_state(name, "start", None, POWER_LIMIT).await {
            Ok(Ended::Done) => {
                self.starts.note(name);
                Ok(())
            }
            Ok(Ended::Gone) => match self.state_of(name).await? {
                InstanceState::Running => Ok(()),
                state => Err(Error::internal(format!("the server ended the start, but it is {state}"))),
            },
            Err(error) if error.is_conflict() && error.message().contains("already running") => Ok(()),
            Err(error) if error.is_internal() => Err(self.why_not_started(name, error).await),
            Err(error) => Err(error),
        }
    }

    /// A start that failed: the server only says that it did, the instance's own log says why.
    async fn why_not_started(&self, name: &str, error: Error) -> Error {
        self.settle(name).await;
        let log = target(name).segment("logs").segment("lxc.log");
        let Ok((_, log)) = self.client.get_raw("read the instance's log", &log).await else { return error };
        let log = String::from_utf8_lossy(&log);
        match log.rsplit_once(NO_PROGRAM).and_then(|(_, rest)| rest.split_once('"')) {
            Some((program, _)) => Error::invalid_input(format!(
                "it could not be started: its main command `{}` does not exist or cannot be executed",
                program.escape_debug()
            ))
            .with_outcome(Outcome::Rejected),
            // It is stopped again, as it was.
            None => {
                error.with_outcome(Outcome::Rejected).with_hint("the server's log of the instance says more")
            }
        }
    }

    /// Waits until an instance whose start failed is stopped for good: Incus shows it stopped, then running for
    /// half a second, then stopped.
    async fn settle(&self, name: &str) {
        let mut wait = Wait::at_most(SETTLING_LIMIT);
        let mut stopped: Option<Instant> = None;
        while stopped.is_none_or(|since| since.elapsed() < STEADY) && wait.pause().await {
            stopped = match self.state_of(name).await {
                Ok(InstanceState::Stopped) => stopped.or_else(|| Some(Instant::now())),
                _ => None,
            };
        }
    }

    pub(super) async fn restart(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let (_held, document) = self.held(name).await?;
        let name = document.name.as_str();
        self.meter.forget(document.id());
        self.power_off(name, document.state(), mode).await?;
        self.power_on(name).await.map_err(|error| error.with_hint("the restart had already stopped it"))
    }

    // ---- freezing ---------------------------------------------------------------------------------

    pub(super) async fn pause(&self, name: &InstanceName) -> Result<()> {
        let (_held, document) = self.held(name).await?;
        match document.state() {
            InstanceState::Paused => Ok(()),
            InstanceState::Running => self.freeze(&document.name, "freeze", InstanceState::Paused).await,
            state => Err(not_running(state)),
        }
    }

    pub(super) async fn resume(&self, name: &InstanceName) -> Result<()> {
        let (_held, document) = self.held(name).await?;
        match document.state() {
            InstanceState::Running => Ok(()),
            InstanceState::Paused => self.freeze(&document.name, "unfreeze", InstanceState::Running).await,
            state => Err(not_running(state)),
        }
    }

    pub(super) async fn freeze(&self, name: &str, action: &str, wanted: InstanceState) -> Result<()> {
        match self.change_state(name, action, None, POWER_LIMIT).await {
            Ok(Ended::Done) => Ok(()),
            Ok(Ended::Gone) => match self.state_of(name).await? {
                state if state == wanted => Ok(()),
                state => Err(Error::internal(format!("the server ended the {action}, but it is {state}"))),
            },
            Err(error) if error.is_conflict() && error.message().contains("already") => Ok(()),
            Err(error) => Err(error),
        }
    }
}

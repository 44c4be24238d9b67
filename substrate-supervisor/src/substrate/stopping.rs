//! Stopping: asked, cut, or first the one and then the other. Never a silent kill.
//!
//! supervisord's own stop always ends in a kill, `stopwaitsecs` after its signal, and there is no way back from it.
//! So a graceful stop sends the signal by itself. supervisord then sees a program that ended, and would start it
//! again if its `autorestart` says so: only a program of ours that has none can be stopped gracefully, since
//! supervisord tells nobody what the others have.

use std::time::Duration;

use futures_util::future::try_join_all;
use substrate_core::provider::Wait;
use substrate_core::{Error, InstanceName, Outcome, Result, StopMode};

use super::looking::Found;
use super::{Shared, SupervisorSubstrate};
use crate::client::{Answer, Call};
use crate::convert::process::{Process, ProcessState};
use crate::error::FaultCode;
use crate::name::missing;
use crate::options::{Autorestart, StopSignal};

const ATTEMPT: &str = "stop the process";
/// How long a process may take to be gone after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(60);

impl SupervisorSubstrate {
    pub(super) async fn stop(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let found = self.shared.find_each(name).await?;
        try_join_all(found.into_iter().map(|found| self.shared.stop_found(found, mode))).await.map(drop)
    }
}

impl Shared {
    pub(super) async fn stop_found(&self, found: Found, mode: StopMode) -> Result<()> {
        // What is not loaded does not run.
        let Some(process) = &found.process else { return Ok(()) };
        if process.state.is_down() {
            return Ok(());
        }
        let signal = own_signal(&found);
        match (mode, signal) {
            (StopMode::Force, _) => self.kill(&found).await,
            (StopMode::Graceful(grace), Some(signal)) => {
                if self.ask_to_end(&found, signal, grace).await? {
                    return Ok(());
                }
                Err(Error::timeout(format!("it did not stop within {grace:?} after SIG{}", signal.word()))
                    .with_outcome(Outcome::Rejected)
                    .with_hint("it still runs, nothing was killed; use a stop that forces"))
            }
            (StopMode::Graceful(_), None) => Err(cannot_be_graceful(&found)),
            (StopMode::GracefulThenForce(grace), Some(signal)) => {
                if self.ask_to_end(&found, signal, grace).await? {
                    return Ok(());
                }
                self.kill(&found).await
            }
            (StopMode::GracefulThenForce(grace), None) => {
                let call = Call::new("supervisor.stopProcess").text(found.address.namespec()).boolean(false);
                let answer = self.client.ask(ATTEMPT, call).await?;
                settled(answer, &found, FaultCode::NotRunning)?;
                if self.is_down_within(&found, grace).await? { Ok(()) } else { self.kill(&found).await }
            }
        }
    }

    /// Sends the signal and waits. True when it has ended.
    async fn ask_to_end(&self, found: &Found, signal: StopSignal, grace: Duration) -> Result<bool> {
        let namespec = found.address.namespec();
        let mut wait = Wait::at_most(grace);
        let mut asked = None;
        let mut seen = found.process.clone();
        loop {
            let Some(now) = seen.filter(|now| !now.state.is_down()) else { return Ok(true) };
            let this_one = (now.started, now.pid);
            let call = if now.state == ProcessState::Backoff {
                // Nobody is there to be asked. It ended before its `startsecs`, maybe of our signal, and supervisord
                // takes that for a failure to be mended.
                Some(Call::new("supervisor.stopProcess").text(&namespec).boolean(false))
            } else if asked.is_none() {
                asked = Some(this_one);
                Some(Call::new("supervisor.signalProcess").text(&namespec).text(signal.word()))
            } else if asked != Some(this_one) {
                // Somebody started it anew: the one that was asked has ended.
                return Ok(true);
            } else {
                None
            };
            if let Some(call) = call {
                settled(self.client.ask(ATTEMPT, call).await?, found, FaultCode::NotRunning)?;
            }
            if !wait.pause().await {
                return Ok(false);
            }
            seen = self.process_of(found).await?;
        }
    }

    /// Ends it at once. supervisord hears first that it shall stop, so that it does not start it again; both calls
    /// are one request.
    pub(super) async fn kill(&self, found: &Found) -> Result<()> {
        let namespec = found.address.namespec();
        let calls = [
            Call::new("supervisor.stopProcess").text(&namespec).boolean(false),
            Call::new("supervisor.signalProcess").text(&namespec).text("KILL"),
        ];
        let [stopped, killed] = self.client.batch(ATTEMPT, calls).await?;
        // The first one can have been enough, or somebody else's.
        settled(stopped, found, FaultCode::NotRunning)?;
        settled(killed, found, FaultCode::NotRunning)?;
        if self.is_down_within(found, KILL_LIMIT).await? {
            return Ok(());
        }
        Err(Error::timeout(format!("it was killed, and supervisord still has it after {KILL_LIMIT:?}")))
    }

    /// Whether what was found running is down in time. Somebody can start it anew between two looks: then there is
    /// another process, and the one that was meant has ended.
    async fn is_down_within(&self, found: &Found, limit: Duration) -> Result<bool> {
        let before = found.process.as_ref().and_then(|process| process.pid);
        let mut wait = Wait::at_most(limit);
        loop {
            match self.process_of(found).await? {
                Some(now) if now.state.is_down() => return Ok(true),
                Some(now)
                    if now.state == ProcessState::Stopping || now.pid.is_none() || now.pid == before => {}
                _ => return Ok(true),
            }
            if !wait.pause().await {
                return Ok(false);
            }
        }
    }

    async fn process_of(&self, found: &Found) -> Result<Option<Process>> {
        Ok(self.look(&found.address).await?.and_then(|found| found.process))
    }
}

/// The signal that asks this program, if that alone can stop it.
fn own_signal(found: &Found) -> Option<StopSignal> {
    let record = found.record.as_ref()?;
    (record.autorestart == Autorestart::Never).then_some(record.stopsignal)
}

fn cannot_be_graceful(found: &Found) -> Error {
    let why = if found.record.is_some() {
        "its `autorestart` would start it again, unless supervisord stops it itself"
    } else {
        "this program was not created here, and supervisord does not tell its `autorestart`"
    };
    Error::unsupported(format!("it cannot be stopped gracefully: {why}, and that always ends in a kill"))
        .with_hint("use GracefulThenForce: supervisord asks, and kills after the program's `stopwaitsecs`")
}

/// Takes a fault that says "it is so already" for success.
fn settled(answer: Answer, found: &Found, expected: FaultCode) -> Result<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(fault) if fault.code == expected => Ok(()),
        Err(fault) if fault.code == FaultCode::BadName => Err(missing(&found.address.short())),
        Err(fault) => Err(fault.into_error(ATTEMPT)),
    }
}

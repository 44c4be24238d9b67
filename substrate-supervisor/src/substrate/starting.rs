//! Starting and restarting.

use futures_util::future::try_join_all;
use substrate_core::provider::Wait;
use substrate_core::{Error, InstanceName, Outcome, Result, StopMode};

use super::looking::Found;
use super::{Shared, SupervisorSubstrate, nothing_done};
use crate::client::Call;
use crate::convert::process::ProcessState;
use crate::error::{Fault, FaultCode};
use crate::name::{Address, missing};

const ATTEMPT: &str = "start the process";

impl SupervisorSubstrate {
    pub(super) async fn start(&self, name: &InstanceName) -> Result<()> {
        let found = self.shared.find_each(name).await?;
        try_join_all(found.iter().map(|found| self.shared.start_address(&found.address))).await.map(drop)
    }

    pub(super) async fn restart(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let found = self.shared.find_each(name).await.map_err(nothing_done)?;
        let restart = async |found: Found| {
            let address = found.address.clone();
            self.shared.stop_found(found, mode).await?;
            self.shared
                .start_address(&address)
                .await
                .map_err(|error| error.with_hint("the restart had already stopped it"))
        };
        try_join_all(found.into_iter().map(restart)).await.map(drop)
    }
}

impl Shared {
    /// Starts a process and follows it until it counts as running or supervisord has given up.
    ///
    /// supervisord's own waiting start is not used: it holds the answer back for `startsecs`, and reports the first
    /// early end as final, while it goes on trying.
    async fn start_address(&self, address: &Address) -> Result<()> {
        let short = address.short();
        let limit = self.config.start_timeout;
        let mut wait = Wait::at_most(limit);
        let (mut asked, mut last_fault) = (false, None);
        loop {
            let found = self.look(address).await?.ok_or_else(|| missing(&short))?;
            let Some(process) = found.process else {
                self.load(&short).await?;
                if wait.pause().await {
                    continue;
                }
                return Err(Error::conflict("somebody else unloads it again and again"));
            };
            match process.state {
                ProcessState::Running => return Ok(()),
                // After `startsecs = 0`, or between two looks: it ran, and has ended by itself.
                ProcessState::Exited if asked => return Ok(()),
                ProcessState::Stopped if asked => {
                    return Err(Error::conflict("it was stopped while it was starting"));
                }
                ProcessState::Fatal if asked => {
                    let reason = process.provider_state();
                    return Err(last_fault
                        .unwrap_or_else(|| Fault::new(40, reason))
                        .into_error(ATTEMPT)
                        .with_hint("supervisord has given up; its log may say why"));
                }
                ProcessState::Unknown => {
                    return Err(Error::conflict("supervisord has lost its state"));
                }
                // In between: supervisord takes it on by itself. A call that comes while it stops is answered with
                // success, and does nothing.
                ProcessState::Starting | ProcessState::Backoff | ProcessState::Stopping => {
                    asked |= process.state != ProcessState::Stopping;
                }
                ProcessState::Stopped | ProcessState::Exited | ProcessState::Fatal => {
                    let call =
                        Call::new("supervisor.startProcess").text(found.address.namespec()).boolean(false);
                    match self.client.ask(ATTEMPT, call).await? {
                        // What it did can be seen at once.
                        Ok(_) => {
                            asked = true;
                            continue;
                        }
                        Err(fault) => match fault.code {
                            FaultCode::AlreadyStarted => {}
                            // It will be tried again, or has been given up: the next look tells.
                            FaultCode::SpawnError | FaultCode::AbnormalTermination => {
                                asked = true;
                                last_fault = Some(fault);
                            }
                            FaultCode::BadName => return Err(missing(&short)),
                            _ => return Err(fault.into_error(ATTEMPT)),
                        },
                    }
                }
            }
            if !wait.pause().await {
                return Err(Error::timeout(format!(
                    "it does not run after {limit:?}: {}",
                    process.provider_state()
                ))
                .with_outcome(Outcome::Unknown)
                .with_hint("supervisord goes on trying; stop it, or ask for its state later"));
            }
        }
    }

    /// Makes supervisord load a program whose file is there.
    async fn load(&self, name: &str) -> Result<()> {
        const ATTEMPT: &str = "load the program";
        let calls =
            [Call::new("supervisor.reloadConfig"), Call::new("supervisor.addProcessGroup").text(name)];
        let [reloaded, added] = self.client.batch(ATTEMPT, calls).await?;
        reloaded.map_err(|fault| fault.into_error(ATTEMPT))?;
        match added {
            Ok(_) => Ok(()),
            Err(fault) if fault.code == FaultCode::AlreadyAdded => Ok(()),
            // Deleted meanwhile, or supervisord has never read it.
            Err(fault) if fault.code == FaultCode::BadName => {
                let pattern = self.folder.as_ref().map(crate::folder::Folder::pattern).unwrap_or_default();
                Err(Error::conflict(format!(
                    "supervisord does not find the program `{name}` in its configuration"
                ))
                .with_hint(format!("does its `[include]` name {pattern}, and may it read the files?")))
            }
            Err(fault) => Err(fault.into_error(ATTEMPT)),
        }
    }
}

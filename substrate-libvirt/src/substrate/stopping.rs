//! Stopping: asked, cut, or first the one and then the other.

use std::time::Duration;

use substrate_core::provider::Wait;
use substrate_core::{Error, InstanceName, InstanceState, Outcome, Result, StopMode};
use tokio::time::Instant;
use virt::sys;

use super::LibvirtSubstrate;
use super::host::Driver;
use super::lifecycle::destroy;
use super::lookup::{find, is_active, state_of};
use crate::error::Attempt;

/// How often a guest is asked again: one that was still booting has not heard the first time.
const ASK_AGAIN: Duration = Duration::from_secs(2);

impl LibvirtSubstrate {
    pub(super) async fn stop(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let driver = self.host().await?.driver;
        if matches!(mode, StopMode::Graceful(_)) {
            self.descriptor.get().capabilities.require(substrate_core::Feature::GracefulStop)?;
        }
        let state = self.state(name).await?;
        if !is_active(state) {
            return Ok(());
        }
        match mode {
            StopMode::Force => self.cut(name).await,
            // Nobody in there can hear.
            StopMode::GracefulThenForce(_) if state == InstanceState::Paused => self.cut(name).await,
            StopMode::Graceful(_) if state == InstanceState::Paused => {
                Err(Error::conflict("it is paused: its guest hears nothing")
                    .with_hint("resume it first, or stop it by force"))
            }
            StopMode::GracefulThenForce(grace) => {
                if self.ask(name, grace, driver).await? == 0 {
                    Ok(())
                } else {
                    self.cut(name).await
                }
            }
            StopMode::Graceful(grace) => match self.ask(name, grace, driver).await? {
                0 => Ok(()),
                asked => Err(Error::timeout(format!(
                    "the guest did not shut down within {grace:?}; it was asked {asked} times, and still runs"
                ))
                .with_outcome(Outcome::Rejected)
                .with_hint("it may not be listening yet, or not at all; stop it by force")),
            },
        }
    }

    async fn state(&self, name: &InstanceName) -> Result<InstanceState> {
        let wanted = name.clone();
        self.client.look(move |connection| state_of(&find(connection, wanted.as_str())?)).await
    }

    /// Asks, and asks again, until it has stopped or the time is over. How often it was asked in vain: 0 = it has
    /// stopped.
    async fn ask(&self, name: &InstanceName, grace: Duration, driver: Driver) -> Result<u32> {
        let mut wait = Wait::at_most(grace);
        let (mut asked, mut last): (u32, Option<Instant>) = (0, None);
        loop {
            if last.is_none_or(|last| last.elapsed() >= ASK_AGAIN) {
                self.ask_once(name, driver).await?;
                asked += 1;
                last = Some(Instant::now());
            }
            match self.state(name).await {
                Ok(state) if !is_active(state) => return Ok(0),
                Ok(_) => {}
                // What is not defined is gone when it has stopped.
                Err(error) if error.is_not_found() => return Ok(0),
                // It was asked, whatever became of it.
                Err(error) => return Err(error.with_outcome(Outcome::Unknown)),
            }
            if !wait.pause().await {
                return Ok(asked);
            }
        }
    }

    async fn ask_once(&self, name: &InstanceName, driver: Driver) -> Result<()> {
        let wanted = name.clone();
        let asked = self
            .client
            .change(move |connection| {
                let domain = find(connection, wanted.as_str())?;
                let asked = match driver {
                    Driver::Test => domain.shutdown(),
                    // Not the agent's way, though libvirt would take it first: it blocks while the guest is busy.
                    Driver::Qemu => domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN),
                };
                asked.attempt("ask the guest to shut down")
            })
            .await;
        match asked {
            // It has stopped in the meantime, or is not there any more: the look tells.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn cut(&self, name: &InstanceName) -> Result<()> {
        match self.change_one(name, |_, domain| destroy(domain)).await {
            // A transient machine is gone with its power.
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

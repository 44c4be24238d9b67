//! Deleting: a wish until the id has gone.

use substrate_core::{Error, InstanceName, InstanceState, Result, StopMode};

use super::K8sSubstrate;
use super::lookup::Found;
use super::patience;
use super::power::{held, require_single};
use crate::client::{Target, deletion};
use crate::config::Workload as Kind;
use crate::convert::meta::{Meta, Versioned};
use crate::convert::workload::Workload;

const ATTEMPT: &str = "delete the instance";

impl K8sSubstrate {
    pub(super) async fn delete(&self, name: &InstanceName, force: bool) -> Result<()> {
        let workload = self.find_workload(name.as_str()).await?;
        let _held = self.names.hold("workload", &workload.metadata.uid).await;
        let found = self.with_pods(self.again(&workload).await?).await?;
        let state = found.seen(self.workload()).state;
        let is_down = matches!(state, InstanceState::Stopped) || found.workload.metadata.is_going();
        if !force && !is_down {
            return Err(Error::conflict(format!("the instance is {state}"))
                .with_hint("stop it first, or delete with force"));
        }
        if self.workload() == Kind::Pod {
            return self.remove_pod(&found.workload).await;
        }
        if !is_down {
            self.end(&found).await?;
        }
        let target = self.target(&found.workload).await?;
        // With its dependents, and after them: nothing of it is left when it has gone.
        self.delete_and_wait(ATTEMPT, &target, &found.workload.metadata, "Foreground").await
    }

    /// By force, also what has more pods than one.
    async fn end(&self, found: &Found) -> Result<()> {
        if require_single(&found.workload).is_ok() {
            return self.stop_found(found, StopMode::Force).await;
        }
        self.scale(&found.workload, 0).await?;
        self.end_pods(&found.pods, 1).await?;
        self.wait_until_down(&found.workload, Some(1)).await
    }

    pub(super) async fn remove_pod(&self, workload: &Workload) -> Result<()> {
        let pods = self.pods_of(workload).await?;
        self.end_pods(&pods, 1).await?;
        let target = self.target(workload).await?;
        self.delete_and_wait(ATTEMPT, &target, &workload.metadata, "Background").await
    }

    /// Deletes this very thing and waits until it has gone. What holds it for longer than `deletion_timeout` is told.
    pub(super) async fn delete_and_wait(
        &self,
        attempt: &str,
        target: &Target,
        meta: &Meta,
        propagation: &str,
    ) -> Result<()> {
        match self.client.delete(attempt, target, &deletion(meta, propagation)).await {
            // Somebody else was quicker; or another one has the name by now.
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            result => result?,
        }
        let mut wait = patience::at_most(self.config.deletion_timeout);
        loop {
            let now: Option<Versioned> = self.client.find(attempt, target).await?;
            let Some(now) = now.filter(|now| now.metadata.uid == meta.uid) else {
                return Ok(());
            };
            if !wait.pause().await {
                return Err(held(&now.metadata.name, &now.metadata.holders(), None));
            }
        }
    }
}

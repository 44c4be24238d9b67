//! Bringing a machine back to a snapshot, which KubeVirt can and Kubernetes cannot.

use serde_json::Value;
use substrate_core::{
    Error, InstanceName, InstanceState, Operation, Outcome, Result, SnapshotName, StopMode,
};

use super::K8sSubstrate;
use super::patience;
use super::snapshots::no_such;
use crate::client::{Resource, Target};
use crate::convert::snapshot::{self, Restoration};

const ATTEMPT: &str = "restore the snapshot";

impl K8sSubstrate {
    pub(super) async fn restore(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        self.descriptor.get().require(Operation::RestoreSnapshot)?;
        let machine = self.find_workload(name.as_str()).await?;
        let _held = self.names.hold("workload", &machine.metadata.uid).await;
        let found = self.with_pods(self.again(&machine).await?).await?;
        let parts = self.parts_of(&machine, Some(snapshot)).await?;
        let part = parts.first().ok_or_else(|| no_such(snapshot))?;
        if !part.is_ready() {
            return Err(Error::conflict("the snapshot is not ready to use"));
        }
        let target = Resource::MachineRestores
            .one(self.client.namespace().await?, &format!("{}.restore", part.metadata.name));
        // What an interrupted call has begun comes to its end first: two at once would write the same disks.
        match self.finish(&target).await {
            // That one failed; this one may not.
            Err(error) if error.is_internal() => {}
            result => result?,
        }
        let is_down = found.seen(self.workload()).state == InstanceState::Stopped;
        if !is_down || found.workload.replicas() != 0 {
            // What it would write in an orderly end is about to be thrown away.
            self.stop_machine(&found, StopMode::Force).await?;
        }
        let body = snapshot::restoration(
            &format!("{}.restore", part.metadata.name),
            &machine.metadata,
            &part.metadata,
        );
        let stopped = |error: Error| {
            if is_down { error } else { error.with_hint("the instance was stopped for it and stays so") }
        };
        self.client.apply_new::<Value>(ATTEMPT, &target, &body).await.map_err(stopped)?;
        self.finish(&target).await.map_err(stopped)?;
        if is_down {
            return Ok(());
        }
        let found = self.with_pods(self.again(&machine).await?).await?;
        self.start_found(found).await.map_err(|error| error.with_hint("the snapshot is restored"))
    }

    /// Waits for the end of a restoration, and removes the record of it; nothing when there is none.
    async fn finish(&self, target: &Target) -> Result<()> {
        let mut wait = patience::at_most(self.config.start_timeout);
        loop {
            let now: Option<Restoration> = self.client.find(ATTEMPT, target).await?;
            let Some(now) = now else { return Ok(()) };
            let failure = now.failure().map(str::to_owned);
            if now.is_complete() || failure.is_some() {
                self.delete_and_wait(ATTEMPT, target, &now.metadata, "Background").await?;
                return match failure.filter(|_| !now.is_complete()) {
                    Some(words) => {
                        Err(Error::internal(format!("KubeVirt could not restore the snapshot: {words}"))
                            .with_outcome(Outcome::Unknown))
                    }
                    None => Ok(()),
                };
            }
            if !wait.pause().await {
                return Err(Error::timeout(format!("`{}` has not come to its end", now.metadata.name))
                    .with_hint("KubeVirt goes on with it; a repeated call waits for it"));
            }
        }
    }
}

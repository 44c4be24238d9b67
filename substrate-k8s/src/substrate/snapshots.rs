//! Snapshots, where the cluster can take them: of the claims that an instance mounts.

use serde_json::Value;
use substrate_core::{
    Error, Feature, InstanceName, Operation, Outcome, Result, Snapshot, SnapshotConfig, SnapshotName,
};

use super::K8sSubstrate;
use super::patience;
use crate::client::{Resource, Target};
use crate::config::Workload as Kind;
use crate::convert::snapshot::{self, Part};
use crate::convert::workload::Workload;
use crate::name::is_object_name;

const CREATE: &str = "take the snapshot";
const LIST: &str = "list the snapshots";
const DELETE: &str = "delete the snapshot";

impl K8sSubstrate {
    pub(super) async fn make_snapshot(
        &self,
        name: &InstanceName,
        config: &SnapshotConfig,
    ) -> Result<Snapshot> {
        let descriptor = self.descriptor.get();
        descriptor.require(Operation::CreateSnapshot)?;
        if config.memory {
            descriptor.require(Feature::SnapshotMemory)?;
        }
        let workload = self.find_workload(name.as_str()).await?;
        let claims: Vec<&str> = workload.claims().collect();
        if claims.is_empty() {
            return Err(Error::conflict(
                "the instance mounts no volume, and nothing else can be snapshotted",
            ));
        }
        let parts = if self.workload() == Kind::VirtualMachine {
            vec![snapshot::part_of_machine(config, &workload.metadata)?]
        } else {
            snapshot::parts(config, &workload.metadata, self.resource(), &claims)?
        };
        if !self.parts_of(&workload, Some(&config.name)).await?.is_empty() {
            return Err(taken(&config.name));
        }
        let mut made: Vec<(Target, Part)> = Vec::new();
        for (part, body) in &parts {
            let target = self.snapshot_resource().one(self.client.namespace().await?, part);
            match self.take(&target, body).await {
                Ok(part) => made.push((target, part)),
                Err(error) => return Err(self.undone(made, error).await),
            }
        }
        // Each is waited for after all have begun, so that they are of nearly one moment.
        if let Err(error) = self.wait_until_ready(&mut made).await {
            return Err(self.undone(made, error).await);
        }
        let lacking = made.iter().find_map(|(_, part)| part.lacks(workload.claim_volumes()));
        if let Some(volume) = lacking {
            let error = Error::conflict(format!("the snapshot would not hold the disk `{volume}`"))
                .with_hint("its storage cannot be snapshotted: is there a VolumeSnapshotClass for it?");
            return Err(self.undone(made, error).await);
        }
        let parts: Vec<Part> = made.into_iter().map(|(_, part)| part).collect();
        let snapshots = snapshot::snapshots(&workload_name(&workload)?, &parts)?;
        snapshots.into_iter().next().ok_or_else(|| Error::protocol("the snapshot that was made has no name"))
    }

    async fn take(&self, target: &Target, body: &Value) -> Result<Part> {
        self.client.apply_new::<Part>(CREATE, target, body).await
    }

    async fn wait_until_ready(&self, made: &mut [(Target, Part)]) -> Result<()> {
        let mut wait = patience::at_most(self.config.start_timeout);
        loop {
            for (target, part) in made.iter_mut().filter(|(_, part)| !part.is_ready()) {
                *part = self.client.get(CREATE, target).await?;
            }
            let Some((_, late)) = made.iter().find(|(_, part)| !part.is_ready()) else { return Ok(()) };
            if late.has_failed() || !wait.pause().await {
                let complaint = late.complaint().unwrap_or("its driver says nothing about it");
                let name = &late.metadata.name;
                let words = format!("`{name}` is not ready to use: {complaint}");
                return Err(if late.has_failed() { Error::internal(words) } else { Error::timeout(words) });
            }
        }
    }

    /// A failed creation leaves nothing behind.
    async fn undone(&self, made: Vec<(Target, Part)>, error: Error) -> Error {
        for (target, part) in made {
            if let Err(left) = self.delete_and_wait(DELETE, &target, &part.metadata, "Background").await {
                return error.with_outcome(Outcome::Unknown).with_hint(format!(
                    "`{}` could not be removed: {}",
                    part.metadata.name,
                    left.message()
                ));
            }
        }
        error
    }

    pub(super) async fn snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>> {
        self.descriptor.get().require(Operation::ListSnapshots)?;
        let workload = self.find_workload(name.as_str()).await?;
        let parts = self.parts_of(&workload, None).await?;
        snapshot::snapshots(&workload_name(&workload)?, &parts)
    }

    pub(super) async fn drop_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        self.descriptor.get().require(Operation::DeleteSnapshot)?;
        let workload = self.find_workload(name.as_str()).await?;
        let parts = self.parts_of(&workload, Some(snapshot)).await?;
        if parts.is_empty() {
            return Err(no_such(snapshot));
        }
        for part in parts {
            let target = self.snapshot_resource().one(self.client.namespace().await?, &part.metadata.name);
            self.delete_and_wait(DELETE, &target, &part.metadata, "Background").await?;
        }
        Ok(())
    }

    fn snapshot_resource(&self) -> Resource {
        match self.workload() {
            Kind::VirtualMachine => Resource::MachineSnapshots,
            Kind::Stateful | Kind::Deployment | Kind::Pod => Resource::Snapshots,
        }
    }

    /// The parts of an instance's snapshots, or of one of them.
    pub(super) async fn parts_of(
        &self,
        workload: &Workload,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Vec<Part>> {
        let snapshot = snapshot.map(SnapshotName::as_str);
        if snapshot.is_some_and(|name| !is_object_name(name)) {
            return Ok(Vec::new());
        }
        let selector = snapshot::selector(&workload.metadata.name, snapshot);
        let target =
            self.snapshot_resource().all(self.client.namespace().await?).with("labelSelector", &selector);
        let parts = self.client.list::<Part>(LIST, &target).await?.items;
        Ok(parts.into_iter().filter(|part| part.is_of(&workload.metadata.uid)).collect())
    }
}

fn workload_name(workload: &Workload) -> Result<InstanceName> {
    InstanceName::new(&workload.metadata.name).map_err(|error| Error::protocol(error.message()))
}

pub(super) fn no_such(name: &SnapshotName) -> Error {
    Error::not_found(format!("there is no snapshot `{}`", name.as_str().escape_debug()))
}

fn taken(name: &SnapshotName) -> Error {
    Error::already_exists(format!("there is a snapshot `{}` already", name.as_str()))
        .with_outcome(Outcome::Rejected)
}

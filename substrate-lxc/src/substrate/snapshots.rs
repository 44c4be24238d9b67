//! Snapshots and copies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use substrate_core::{
    CloneConfig, Error, Feature, Instance, InstanceKind, InstanceName, InstanceState, Outcome, Result,
    Snapshot, SnapshotConfig, SnapshotName,
};

use super::LxcSubstrate;
use super::connection::MEMORY_IS_NOT_SAVED;
use super::lifecycle::target;
use super::resources::field;
use crate::client::{Ended, Target};
use crate::convert::instance::{Document, MIGRATION};
use crate::convert::labels;
use crate::convert::limits::{Device, is_nic};
use crate::convert::snapshot::{SnapshotDocument, note};
use crate::name::{check_new, check_new_instance, is_snapshot_name};

/// How long a snapshot or a restore may take: in a plain folder each is a full copy.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(1800);

fn snapshots(instance: &str) -> Target {
    target(instance).segment("snapshots")
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("it has no snapshot called `{}`", name.escape_debug()))
}

/// Whether an instance can be saved with its memory now; what the server itself would say comes after it has begun.
fn can_save_memory(document: &Document) -> Result<()> {
    if document.kind() != InstanceKind::VirtualMachine {
        return Err(Error::unsupported(MEMORY_IS_NOT_SAVED));
    }
    if !document.keeps_memory() {
        return Err(Error::conflict(format!(
            "the machine cannot be saved with its memory: `{MIGRATION}` is not set"
        ))
        .with_hint(format!(
            "stop it and set `{MIGRATION}=true`, and `size.state` of its root disk to at least its memory"
        )));
    }
    match document.state() {
        InstanceState::Running => Ok(()),
        state => {
            Err(Error::conflict(format!("only a running machine has memory to save, and it is {state}")))
        }
    }
}

impl LxcSubstrate {
    pub(super) async fn take_snapshot(
        &self,
        name: &InstanceName,
        config: &SnapshotConfig,
    ) -> Result<Snapshot> {
        if config.memory {
            self.descriptor.get().capabilities.require(Feature::SnapshotMemory)?;
        }
        let (_held, document) = self.held(name).await?;
        if config.memory {
            can_save_memory(&document)?;
        }
        let text = config.name.as_str();
        check_new("snapshot", text, is_snapshot_name(text))?;
        if self.snapshot(&document.name, text).await?.is_some() {
            return Err(Error::already_exists(format!("it has a snapshot called `{text}` already")));
        }
        if let Some(note) = note(config) {
            self.update("note what the snapshot is given", &document.name, |document| {
                field(document, "config")?.insert(labels::SNAPSHOT.to_owned(), note.as_str().into());
                Ok(())
            })
            .await
            // Nothing was taken yet, whatever became of the note.
            .map_err(|error| error.with_outcome(Outcome::Rejected))?;
        }
        let body = &json!({"name": text, "stateful": config.memory});
        let (attempt, target) = ("take the snapshot", &snapshots(&document.name));
        let ended = self
            .when_free(|| self.client.change(attempt, Method::POST, target, Some(body), SNAPSHOT_LIMIT))
            .await?;
        let made = self.snapshot(&document.name, text).await;
        match (made.map_err(|error| error.with_outcome(Outcome::Unknown))?, ended) {
            (Some(snapshot), _) => snapshot.into_snapshot(&InstanceName::new(&document.name)?),
            (None, Ended::Gone) => {
                Err(Error::internal("the server ended the snapshot without a word, and there is none")
                    .with_outcome(Outcome::Rejected))
            }
            (None, Ended::Done) => {
                Err(Error::conflict("it was deleted right after it was taken").with_outcome(Outcome::Unknown))
            }
        }
    }

    async fn snapshot(&self, instance: &str, name: &str) -> Result<Option<SnapshotDocument>> {
        if !is_snapshot_name(name) {
            return Ok(None);
        }
        match self.client.get("look at the snapshot", &snapshots(instance).segment(name)).await {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>> {
        let document = self.find(name.as_str()).await?;
        let target = snapshots(&document.name).with("recursion", "1");
        let documents: Vec<SnapshotDocument> = self.client.get("list the snapshots", &target).await?;
        let instance = InstanceName::new(&document.name)?;
        let mut snapshots: Vec<Snapshot> =
            documents.into_iter().map(|snapshot| snapshot.into_snapshot(&instance)).collect::<Result<_>>()?;
        snapshots.sort_by(|left, right| (left.created_at, &left.name).cmp(&(right.created_at, &right.name)));
        Ok(snapshots)
    }

    pub(super) async fn restore(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let (_held, document) = self.held(name).await?;
        let text = snapshot.as_str();
        let found = self.snapshot(&document.name, text).await?.ok_or_else(|| missing(text))?;
        if found.stateful && document.kind() != InstanceKind::VirtualMachine {
            return Err(Error::unsupported(format!("the snapshot holds memory: {MEMORY_IS_NOT_SAVED}")));
        }
        let before = document.state();
        self.meter.forget(document.id());
        // The server's own stop on the way is not reliable: LXD 5.0 can fail half way and leave it stopped.
        if before != InstanceState::Stopped {
            self.cut(&document.name).await?;
        }
        let restored = self.put_back(&document.name, text, found.stateful).await;
        if found.stateful {
            // The power is the snapshot's: the server goes on where it was taken.
            return restored;
        }
        if matches!(before, InstanceState::Running | InstanceState::Paused) {
            let started = self.power_on(&document.name).await;
            restored?;
            started.map_err(|error| error.with_hint("it was restored, and could not be started again"))?;
            if before == InstanceState::Paused {
                self.freeze(&document.name, "freeze", InstanceState::Paused).await?;
            }
            return Ok(());
        }
        restored
    }

    async fn put_back(&self, name: &str, snapshot: &str, with_memory: bool) -> Result<()> {
        let body = &json!({"restore": snapshot, "stateful": with_memory});
        let (attempt, target) = ("restore the snapshot", &target(name));
        let ended = self
            .when_free(|| self.client.change(attempt, Method::PUT, target, Some(body), SNAPSHOT_LIMIT))
            .await?;
        match ended {
            Ended::Done => Ok(()),
            // Nothing of the instance tells which content it has.
            Ended::Gone => Err(Error::unavailable("the server does not tell how the restore ended")
                .with_hint("restoring again is safe")),
        }
    }

    pub(super) async fn drop_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let (_held, document) = self.held(name).await?;
        let text = snapshot.as_str();
        if !is_snapshot_name(text) {
            return Err(missing(text));
        }
        let (attempt, target) = ("delete the snapshot", &snapshots(&document.name).segment(text));
        let result = self
            .when_free(|| self.client.change(attempt, Method::DELETE, target, None, SNAPSHOT_LIMIT))
            .await;
        match result {
            Ok(Ended::Done) => Ok(()),
            Ok(Ended::Gone) => match self.snapshot(&document.name, text).await? {
                None => Ok(()),
                Some(_) => Err(Error::internal("the server ended the deletion, but the snapshot is there")),
            },
            Err(error) if error.is_not_found() => Err(missing(text)),
            Err(error) => Err(error),
        }
    }

    // ---- copies -----------------------------------------------------------------------------------

    pub(super) async fn copy(&self, source: &InstanceName, config: &CloneConfig) -> Result<Arc<Instance>> {
        check_new_instance(config.name.as_str())?;
        labels::check(&config.labels)?;
        let document = self.find(source.as_str()).await?;
        let (from, inherited) = match &config.snapshot {
            Some(snapshot) => {
                let text = snapshot.as_str();
                let target = || snapshots(&document.name).segment(text);
                if self.snapshot(&document.name, text).await?.is_none() {
                    return Err(missing(text));
                }
                let snapshot: Document = self.client.get("look at the snapshot", &target()).await?;
                (format!("{}/{text}", document.name), snapshot)
            }
            None => (document.name.clone(), document.clone()),
        };
        let body = copy_body(config, &from, &document, &inherited);
        let _held = self.names.hold("instance", config.name.as_str()).await;
        if self.look(config.name.as_str()).await?.is_some() {
            return Err(Error::already_exists(format!(
                "there is an instance called `{}` already",
                config.name
            )));
        }
        self.make("copy the instance", config.name.as_str(), &body, None).await
    }
}

/// The body of a copying create call. The server adds every key of the source that is not in it, so what must not
/// be inherited is there with an empty value, which removes it.
fn copy_body(config: &CloneConfig, from: &str, source: &Document, inherited: &Document) -> Value {
    let mut keys: BTreeMap<String, String> = inherited
        .own_configuration()
        .keys()
        .filter(|key| labels::is_of_labels(key))
        .map(|key| (key.clone(), String::new()))
        .collect();
    keys.extend(labels::write(&config.labels));
    let mut devices: BTreeMap<String, Device> = inherited.devices.clone().unwrap_or_default();
    for device in devices.values_mut().filter(|device| is_nic(device)) {
        for own in ["ipv4.address", "ipv6.address", "hwaddr"] {
            device.remove(own);
        }
    }
    let machine = source.kind() == substrate_core::InstanceKind::VirtualMachine;
    json!({
        "name": config.name.as_str(),
        "type": if machine { "virtual-machine" } else { "container" },
        "profiles": inherited.profiles.clone().or_else(|| source.profiles.clone()).unwrap_or_default(),
        "config": keys,
        "devices": devices,
        "source": {"type": "copy", "source": from, "instance_only": true},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_inherits_neither_labels_nor_addresses() {
        let source: Document = serde_json::from_value(json!({
            "name": "web", "status_code": 102, "profiles": ["default"],
            "config": {"user.role": "web", "user.substrate.lxc.image": "bb", "limits.memory": "96MiB"},
            "devices": {"nic-blue": {"type": "nic", "network": "blue", "ipv4.address": "10.0.0.7"}}
        }))
        .unwrap();
        let config = CloneConfig::new("copy".parse().unwrap()).with_label("tier", "1");
        let body = copy_body(&config, "web", &source, &source);
        assert_eq!(body["config"], json!({"user.role": "", "user.tier": "1"}));
        assert_eq!(body["devices"]["nic-blue"], json!({"type": "nic", "network": "blue"}));
        assert_eq!(body["source"]["source"], "web");
    }
}

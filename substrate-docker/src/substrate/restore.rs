//! Restoring: a new container from the snapshot takes the old one's place.
//!
//! In an order that loses nothing whenever it is interrupted: the new one is complete before the old one is
//! touched, the old one is put aside and not deleted until the new one has its name and its state, and each
//! temporary name and mark says what it is. A failure goes all the way back.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::query_parameters::{RemoveVolumeOptions, RenameContainerOptions};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use substrate_core::provider::Wait;
use substrate_core::{Error, InstanceName, InstanceState, Outcome, Result, SnapshotName, StopMode};

use super::DockerSubstrate;
use crate::client::Target;
use crate::convert::instance::{Inspection, object};
use crate::convert::labels;
use crate::convert::snapshot::{is_temporary, temporary_name};

/// Anonymous volumes that a restored container took over, as a JSON list: they have no other owner.
const ADOPTED_VOLUMES: &str = "substrate.docker.volumes";
/// How long what a dropped restore had sent may stand in the way of the next one.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(10);
/// The role in the temporary name of the container that is being built, and of the one put aside.
const NEW: &str = "new";
const OLD: &str = "old";

/// A container's configuration, ready to be created once more from another image.
#[derive(Debug)]
pub(super) struct Recreation {
    config: Map<String, Value>,
    host: Map<String, Value>,
    /// Network name → what the container asked for there. The first one goes into the create call.
    networks: Vec<(String, Value)>,
}

impl Recreation {
    /// From an inspection: as raw JSON, so that nothing gets lost that this library does not know.
    pub(super) fn of(document: &Value, image: &str, labels: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = object(document, "Config")?.clone();
        let host = object(document, "HostConfig")?.clone();
        let id = document.get("Id").and_then(Value::as_str).unwrap_or_default();
        config.insert("Image".to_owned(), Value::from(image));
        config.insert("Labels".to_owned(), json!(labels));
        // The daemon's default host name is the id: the new one shall have its own.
        let has_default_name =
            config.get("Hostname").and_then(Value::as_str).is_some_and(|name| id.starts_with(name));
        if has_default_name {
            config.remove("Hostname");
        }
        let attached = document.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
        let mode = host.get("NetworkMode").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut networks: Vec<(String, Value)> = attached
            .into_iter()
            .flatten()
            .map(|(name, endpoint)| (name.clone(), asked_for(endpoint, id)))
            .collect();
        // The network that it starts in comes first: it is the one that goes into the create call.
        networks.sort_by_key(|(name, _)| *name != mode);
        Ok(Self { config, host, networks })
    }

    /// For a copy: what may exist only once.
    pub(super) fn forget_identity(&mut self) {
        self.config.remove("MacAddress");
        for (_, endpoint) in &mut self.networks {
            if let Some(endpoint) = endpoint.as_object_mut() {
                endpoint.remove("IPAMConfig");
                endpoint.remove("MacAddress");
                endpoint.remove("Aliases");
            }
        }
    }

    /// Mounts the old container's anonymous volumes, which no name would bring along, and says so in a label.
    fn adopt_volumes(&mut self, document: &Value) {
        let mounts = document.get("Mounts").and_then(Value::as_array).cloned().unwrap_or_default();
        let spelled_out = |destination: &str| {
            let has_mount =
                self.host.get("Mounts").and_then(Value::as_array).into_iter().flatten().any(|mount| {
                    mount.get("Target").and_then(Value::as_str) == Some(destination)
                        && mount
                            .get("Source")
                            .and_then(Value::as_str)
                            .is_some_and(|source| !source.is_empty())
                });
            let has_bind =
                self.host.get("Binds").and_then(Value::as_array).into_iter().flatten().any(|bind| {
                    bind.as_str().is_some_and(|bind| bind.split(':').nth(1) == Some(destination))
                });
            has_mount || has_bind
        };
        let anonymous: Vec<(String, String, bool)> = mounts
            .iter()
            .filter(|mount| mount.get("Type").and_then(Value::as_str) == Some("volume"))
            .filter_map(|mount| {
                let name = mount.get("Name")?.as_str()?.to_owned();
                let destination = mount.get("Destination")?.as_str()?.to_owned();
                let writable = mount.get("RW").and_then(Value::as_bool).unwrap_or(true);
                (!spelled_out(&destination)).then_some((name, destination, writable))
            })
            .collect();
        if anonymous.is_empty() {
            return;
        }
        let mut adopted: Vec<String> = self
            .config
            .get("Labels")
            .and_then(|labels| labels.get(ADOPTED_VOLUMES))
            .and_then(Value::as_str)
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default();
        adopted.extend(anonymous.iter().map(|(name, _, _)| name.clone()));
        if let Some(labels) = self.config.get_mut("Labels").and_then(Value::as_object_mut) {
            labels.insert(ADOPTED_VOLUMES.to_owned(), Value::from(json!(adopted).to_string()));
        }
        let list = self.host.entry("Mounts").or_insert_with(|| json!([]));
        if !list.is_array() {
            *list = json!([]);
        }
        // A mount without a source is the anonymous one that is being replaced.
        if let Some(list) = list.as_array_mut() {
            list.retain(|mount| {
                let target = mount.get("Target").and_then(Value::as_str);
                !anonymous.iter().any(|(_, destination, _)| Some(destination.as_str()) == target)
            });
            list.extend(anonymous.into_iter().map(|(name, destination, writable)| {
                json!({"Type": "volume", "Source": name, "Target": destination, "ReadOnly": !writable})
            }));
        }
    }

    fn body(&self) -> Value {
        let mut body = self.config.clone();
        body.insert("HostConfig".to_owned(), Value::Object(self.host.clone()));
        if let Some((name, endpoint)) = self.networks.first() {
            body.insert("NetworkingConfig".to_owned(), json!({"EndpointsConfig": {name: endpoint}}));
        }
        Value::Object(body)
    }
}

/// What was asked for at an endpoint, without what the daemon filled in.
fn asked_for(endpoint: &Value, id: &str) -> Value {
    let mut asked = Map::new();
    for key in ["IPAMConfig", "Links", "DriverOpts"] {
        if let Some(value) = endpoint.get(key).filter(|value| !value.is_null()) {
            asked.insert(key.to_owned(), value.clone());
        }
    }
    // The daemon adds the short id as an alias.
    let aliases: Vec<&Value> = endpoint
        .get("Aliases")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|alias| alias.as_str().is_some_and(|alias| !id.starts_with(alias)))
        .collect();
    if !aliases.is_empty() {
        asked.insert("Aliases".to_owned(), json!(aliases));
    }
    Value::Object(asked)
}

/// A JSON object of texts.
pub(super) fn text_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// An inspection with types.
pub(super) fn typed(document: &Value) -> Result<Inspection> {
    Inspection::deserialize(document)
        .map_err(|error| Error::protocol(format!("the daemon's inspection cannot be read: {error}")))
}

/// The anonymous volumes that a container took over from the one it replaced.
pub(super) fn adopted_volumes(container: &Inspection) -> Vec<String> {
    container.label(ADOPTED_VOLUMES).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

impl DockerSubstrate {
    pub(super) async fn restore(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let document = match self.inspect_raw(name.as_str()).await {
            Err(error) if error.is_not_found() && self.bring_back(name).await? => {
                self.inspect_raw(name.as_str()).await?
            }
            other => other?,
        };
        let old = typed(&document)?;
        let image = self.snapshot_image(&old, snapshot).await?;
        self.delete_interrupted(&old).await?;
        let recreation = self.recreation(&document, &old, &image, snapshot)?;
        let state = old.instance_state();
        let own_name = old.plain_name().to_owned();
        let temporary = temporary_name(&own_name, NEW, &old.id);
        let new = self.create_temporary(&old, &temporary, &recreation).await?;
        if let Err(error) = self.replace(&old, &new, &own_name, &recreation, state).await {
            return Err(self.go_back(&old, &new, &own_name, state, error).await);
        }
        // From here on the restore has happened: what is left is to clean up.
        self.meter.forget(&old.id);
        self.remove_if_there(&old.id).await?;
        if let Some(image) = &old.image {
            self.release_image(image).await?;
        }
        Ok(())
    }

    /// Creates under the temporary name, also when a restore that was dropped before still had its own
    /// creation on the way.
    async fn create_temporary(
        &self,
        old: &Inspection,
        name: &str,
        recreation: &Recreation,
    ) -> Result<String> {
        let mut wait = Wait::at_most(LEFTOVER_LIMIT);
        loop {
            match self.create_recreation(name, recreation).await {
                Err(error) if error.is_already_exists() => {
                    self.delete_interrupted(old).await?;
                    if !wait.pause().await {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }

    /// Removes what somebody else may be removing, too.
    pub(super) async fn remove_if_there(&self, id: &str) -> Result<()> {
        match self.remove_id(id, true).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    fn recreation(
        &self,
        document: &Value,
        old: &Inspection,
        image: &str,
        snapshot: &SnapshotName,
    ) -> Result<Recreation> {
        let mut own = text_map(object(document, "Config")?.get("Labels"));
        own.insert(labels::LINEAGE.to_owned(), old.lineage().to_owned());
        own.insert(labels::REPLACES.to_owned(), old.id.clone());
        own.insert(labels::RESTORED_FROM.to_owned(), snapshot.to_string());
        let original = old.label(labels::ORIGINAL_IMAGE).or(old.config.image.as_deref()).unwrap_or_default();
        own.insert(labels::ORIGINAL_IMAGE.to_owned(), original.to_owned());
        let mut recreation = Recreation::of(document, image, &own)?;
        recreation.adopt_volumes(document);
        Ok(recreation)
    }

    /// The new container gets the networks, the name and the state of the old one.
    async fn replace(
        &self,
        old: &Inspection,
        new: &str,
        name: &str,
        recreation: &Recreation,
        state: InstanceState,
    ) -> Result<()> {
        self.connect_recreation(new, recreation).await?;
        if matches!(state, InstanceState::Running | InstanceState::Paused | InstanceState::Failed) {
            self.stop_container(old, StopMode::default()).await?;
        }
        self.rename(&old.id, &temporary_name(name, OLD, &old.id)).await?;
        self.rename(new, name).await?;
        if matches!(state, InstanceState::Running | InstanceState::Paused) {
            self.start_id(new).await?;
        }
        if state == InstanceState::Paused {
            self.client.call("pause the container", async |docker| docker.pause_container(new).await).await?;
        }
        Ok(())
    }

    /// Everything as it was before a restore that failed.
    async fn go_back(
        &self,
        old: &Inspection,
        new: &str,
        name: &str,
        state: InstanceState,
        error: Error,
    ) -> Error {
        let back = async {
            match self.remove_id(new, true).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
            let Some(now) = self.inspect_id(&old.id).await? else {
                return Err(Error::conflict("the old container is gone"));
            };
            if now.plain_name() != name {
                self.rename(&old.id, name).await?;
            }
            if matches!(state, InstanceState::Running | InstanceState::Paused) && !now.state.running {
                self.start_id(&old.id).await?;
            }
            Ok(())
        };
        match back.await {
            Ok(()) => error.with_outcome(Outcome::Rejected),
            Err(stuck) => error.with_outcome(Outcome::Unknown).with_hint(format!(
                "going back failed too: {}; the old container is {}, restore once more to finish",
                stuck.message(),
                old.id
            )),
        }
    }

    /// After an interruption between the two renamings nobody has the name: the old container gets it back.
    async fn bring_back(&self, name: &InstanceName) -> Result<bool> {
        for found in self.containers_labelled(labels::REPLACES).await? {
            let Some(old) = found.label(labels::REPLACES) else { continue };
            if found.plain_name() != temporary_name(name.as_str(), NEW, old) {
                continue;
            }
            if let Some(old) = self.inspect_id(old).await?
                && is_temporary(old.plain_name())
            {
                self.rename(&old.id, name.as_str()).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes what an interrupted restore of this container left: a new one that was never finished, or the
    /// old one that was never deleted.
    async fn delete_interrupted(&self, container: &Inspection) -> Result<()> {
        let unfinished = temporary_name(container.plain_name(), NEW, &container.id);
        for found in self.containers_labelled(labels::REPLACES).await? {
            if found.plain_name() == unfinished && found.label(labels::REPLACES) == Some(&container.id) {
                self.remove_if_there(&found.id).await?;
            }
        }
        if let Some(replaced) = container.label(labels::REPLACES)
            && let Some(old) = self.inspect_id(replaced).await?
            && is_temporary(old.plain_name())
        {
            self.remove_if_there(&old.id).await?;
        }
        Ok(())
    }

    async fn containers_labelled(&self, label: &str) -> Result<Vec<Inspection>> {
        #[derive(Deserialize)]
        struct Id {
            #[serde(rename = "Id")]
            id: String,
        }
        let filters = json!({"label": [label]}).to_string();
        let target = Target::new("/containers/json").with("all", "1").with("filters", &filters);
        let found: Vec<Id> = self.client.get("look for interrupted restores", &target).await?;
        let mut containers = Vec::new();
        for Id { id } in found {
            containers.extend(self.inspect_id(&id).await?);
        }
        Ok(containers)
    }

    async fn rename(&self, id: &str, name: &str) -> Result<()> {
        let options = RenameContainerOptions { name: name.to_owned() };
        self.client
            .call("rename the container", async |docker| docker.rename_container(id, options).await)
            .await
    }

    pub(super) async fn create_recreation(&self, name: &str, recreation: &Recreation) -> Result<String> {
        self.create_from(name, &recreation.body()).await
    }

    /// The networks that did not go into the create call.
    pub(super) async fn connect_recreation(&self, id: &str, recreation: &Recreation) -> Result<()> {
        for (network, endpoint) in recreation.networks.iter().skip(1) {
            let endpoint = serde_json::from_value(endpoint.clone()).map_err(|error| {
                Error::protocol(format!("the endpoint in `{network}` cannot be read: {error}"))
            })?;
            let name = substrate_core::NetworkName::new(network)?;
            let network = self.find_network(&name).await?;
            self.connect_container(id, &network.id, endpoint).await?;
        }
        Ok(())
    }

    pub(super) async fn remove_adopted_volume(&self, volume: &str) -> Result<()> {
        let result = self
            .client
            .call("delete the container's anonymous volume", async |docker| {
                docker.remove_volume(volume, None::<RemoveVolumeOptions>).await
            })
            .await;
        match result {
            // Somebody else mounts it by its name by now.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        json!({
            "Id": "f08f2dbffaa5739b", "Name": "/web",
            "Config": {"Hostname": "f08f2dbffaa5", "Image": "busybox", "Cmd": ["sh"], "Env": ["A=b"], "Unknown": 7,
                       "Labels": {"a": "b"}},
            "HostConfig": {"NetworkMode": "front", "Memory": 5, "Binds": ["data:/data"],
                           "Mounts": [{"Type": "volume", "Source": "named", "Target": "/named"}]},
            "Mounts": [{"Type": "volume", "Name": "named", "Destination": "/named", "RW": true},
                       {"Type": "volume", "Name": "data", "Destination": "/data", "RW": true},
                       {"Type": "volume", "Name": "0a1b", "Destination": "/anonymous", "RW": false},
                       {"Type": "bind", "Source": "/x", "Destination": "/x"}],
            "NetworkSettings": {"Networks": {
                "back": {"IPAMConfig": null, "IPAddress": "10.2.0.2", "Aliases": ["f08f2dbffaa5"]},
                "front": {"IPAMConfig": {"IPv4Address": "10.1.0.7"}, "Aliases": ["f08f2dbffaa5", "www"], "MacAddress": "02:42"}}}
        })
    }

    #[test]
    fn a_recreation_has_everything_that_the_container_had() {
        let mut recreation = Recreation::of(&document(), "sha256:1", &BTreeMap::new()).unwrap();
        recreation.adopt_volumes(&document());
        let body = recreation.body();
        assert_eq!(body["Image"], "sha256:1");
        assert_eq!(body["Unknown"], 7, "what this library does not know is kept");
        assert_eq!(body.get("Hostname"), None);
        assert_eq!(body["HostConfig"]["Memory"], 5);
        let endpoint = &body["NetworkingConfig"]["EndpointsConfig"]["front"];
        assert_eq!(endpoint["IPAMConfig"]["IPv4Address"], "10.1.0.7");
        assert_eq!(endpoint["Aliases"], json!(["www"]));
        let mounts = body["HostConfig"]["Mounts"].as_array().unwrap();
        assert_eq!(mounts.len(), 2);
        assert_eq!(
            mounts[1],
            json!({"Type": "volume", "Source": "0a1b", "Target": "/anonymous", "ReadOnly": true})
        );
        assert_eq!(body["Labels"][ADOPTED_VOLUMES], r#"["0a1b"]"#);
    }

    #[test]
    fn a_copy_has_no_address_of_the_source() {
        let mut recreation = Recreation::of(&document(), "sha256:1", &BTreeMap::new()).unwrap();
        recreation.forget_identity();
        assert_eq!(recreation.body()["NetworkingConfig"]["EndpointsConfig"]["front"], json!({}));
    }
}

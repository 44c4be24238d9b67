//! Snapshots: those of the claims that an instance mounts.
//!
//! An instance may mount several, and Kubernetes takes one at a time: a snapshot of ours is as many of theirs, which bear its
//! name as a label. Of a machine KubeVirt takes all at once: it is one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use substrate_core::{Error, InstanceName, Result, Snapshot, SnapshotConfig, SnapshotName};

use super::create::extend;
use super::labels::{self, INSTANCE};
use super::meta::Meta;
use super::pod::Condition;
use super::quantity;
use super::time;
use crate::client::Resource;
use crate::name;

/// Of which snapshot of its instance an object is a part.
pub(crate) const SNAPSHOT: &str = "substrate/snapshot";
const DESCRIPTION: &str = "description";

/// One claim's part.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Part {
    pub(crate) metadata: Meta,
    status: Status,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    ready_to_use: bool,
    creation_time: Option<String>,
    restore_size: Option<String>,
    error: Option<Failure>,
    /// Of a machine's, as the next.
    phase: String,
    snapshot_volumes: Covered,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Covered {
    excluded_volumes: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Failure {
    message: String,
}

impl Part {
    pub(crate) fn is_ready(&self) -> bool {
        self.status.ready_to_use
    }

    /// Whether it will not come to be.
    pub(crate) fn has_failed(&self) -> bool {
        self.status.phase == "Failed"
    }

    /// The first of these volumes that it does not hold: KubeVirt leaves out what its storage cannot snapshot, and calls the
    /// rest a success.
    pub(crate) fn lacks<'a>(&self, mut volumes: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let excluded = &self.status.snapshot_volumes.excluded_volumes;
        volumes.find(|volume| excluded.iter().any(|one| one == volume))
    }

    /// What the driver says against it, which it may yet mend.
    pub(crate) fn complaint(&self) -> Option<&str> {
        self.status.error.as_ref().map(|error| error.message.as_str())
    }

    pub(crate) fn snapshot_name(&self) -> Option<&str> {
        self.metadata.labels.get(SNAPSHOT).map(String::as_str)
    }

    /// Whether it is of this very instance: another one may have had the name.
    pub(crate) fn is_of(&self, uid: &str) -> bool {
        self.metadata.owner_references.iter().any(|owner| owner.uid == uid)
    }
}

/// What a query for the parts of an instance's snapshots selects by.
pub(crate) fn selector(instance: &str, snapshot: Option<&str>) -> String {
    match snapshot {
        Some(snapshot) => format!("{INSTANCE}={instance},{SNAPSHOT}={snapshot}"),
        None => format!("{INSTANCE}={instance}"),
    }
}

/// The name of a part. Neither name holds a dot, so that no two are the same.
pub(crate) fn part_name(instance: &str, snapshot: &str, index: usize) -> String {
    format!("{instance}.{snapshot}.{index}")
}

/// The parts to make, one for each claim.
///
/// # Errors
/// `InvalidInput` for a name or a label that cannot be one.
pub(crate) fn parts(
    config: &SnapshotConfig,
    owner: &Meta,
    resource: Resource,
    claims: &[&str],
) -> Result<Vec<(String, Value)>> {
    let snapshot = config.name.as_str();
    let metadata = metadata(config, owner, resource)?;
    let part = |(index, claim): (usize, &&str)| {
        let name = part_name(&owner.name, snapshot, index);
        let mut metadata = metadata.clone();
        extend(&mut metadata, json!({"name": name}));
        let part = json!({
            "apiVersion": Resource::Snapshots.group(),
            "kind": Resource::Snapshots.kind(),
            "metadata": metadata,
            "spec": {"source": {"persistentVolumeClaimName": claim}},
        });
        (name, part)
    };
    Ok(claims.iter().enumerate().map(part).collect())
}

/// The one part that a machine's snapshot is.
///
/// # Errors
/// `InvalidInput` for a name or a label that cannot be one.
pub(crate) fn part_of_machine(config: &SnapshotConfig, owner: &Meta) -> Result<(String, Value)> {
    let name = part_name(&owner.name, config.name.as_str(), 0);
    let mut metadata = metadata(config, owner, Resource::Machines)?;
    extend(&mut metadata, json!({"name": name}));
    let part = json!({
        "apiVersion": Resource::MachineSnapshots.group(),
        "kind": Resource::MachineSnapshots.kind(),
        "metadata": metadata,
        "spec": {"source": reference(owner)},
    });
    Ok((name, part))
}

/// What brings a machine back to a snapshot.
pub(crate) fn restoration(name: &str, machine: &Meta, part: &Meta) -> Value {
    json!({
        "apiVersion": Resource::MachineRestores.group(),
        "kind": Resource::MachineRestores.kind(),
        "metadata": {"name": name, "labels": {INSTANCE: machine.name}},
        "spec": {"target": reference(machine), "virtualMachineSnapshotName": part.name},
    })
}

/// A machine, as KubeVirt's things refer to it.
fn reference(machine: &Meta) -> Value {
    let (group, _) = Resource::Machines.group().split_once('/').unwrap_or_default();
    json!({"apiGroup": group, "kind": Resource::Machines.kind(), "name": machine.name})
}

/// What is being done to bring a machine back.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Restoration {
    pub(crate) metadata: Meta,
    status: RestorationStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct RestorationStatus {
    complete: bool,
    conditions: Vec<Condition>,
}

impl Restoration {
    pub(crate) fn is_complete(&self) -> bool {
        self.status.complete
    }

    /// Why it will not come to its end.
    pub(crate) fn failure(&self) -> Option<&str> {
        let failed =
            self.status.conditions.iter().find(|one| one.kind == "Failure" && one.status == "True")?;
        Some(failed.message.as_deref().or(failed.reason.as_deref()).unwrap_or("KubeVirt does not say why"))
    }
}

fn metadata(config: &SnapshotConfig, owner: &Meta, resource: Resource) -> Result<Value> {
    let snapshot = config.name.as_str();
    name::check_new_snapshot(snapshot)?;
    labels::check(&config.labels)?;
    let text = config.description.iter().map(|text| (DESCRIPTION.to_owned(), json!(text)));
    let written = labels::write(&config.labels, &text.collect::<BTreeMap<_, _>>());
    let mut all_labels = written.labels;
    all_labels.insert(INSTANCE.to_owned(), owner.name.clone());
    all_labels.insert(SNAPSHOT.to_owned(), snapshot.to_owned());
    Ok(json!({
        "labels": all_labels,
        "annotations": written.annotations,
        // They go with the instance.
        "ownerReferences": [{
            "apiVersion": resource.group(),
            "kind": resource.kind(),
            "name": owner.name,
            "uid": owner.uid,
            "blockOwnerDeletion": true,
        }],
    }))
}

/// The snapshots that parts make up, oldest first.
///
/// # Errors
/// `Protocol` for a name that is none.
pub(crate) fn snapshots(instance: &InstanceName, parts: &[Part]) -> Result<Vec<Snapshot>> {
    let mut by_name: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    for part in parts {
        if let Some(name) = part.snapshot_name() {
            by_name.entry(name).or_default().push(part);
        }
    }
    let mut snapshots = Vec::new();
    for (name, parts) in by_name {
        let Some(first) = parts.first() else { continue };
        let name = SnapshotName::new(name).map_err(|error| Error::protocol(error.message()))?;
        let mut snapshot = Snapshot::new(name, instance.clone());
        snapshot.id = Some(first.metadata.uid.clone());
        let taken = first.status.creation_time.as_deref().and_then(time::parse);
        snapshot.created_at = taken.or_else(|| first.metadata.created_at());
        let size = |part: &&Part| part.status.restore_size.as_deref().and_then(quantity::bytes);
        snapshot.size_bytes = parts.iter().map(size).sum();
        let metadata = labels::read_metadata(&first.metadata);
        snapshot.description = metadata.get(DESCRIPTION).and_then(Value::as_str).map(str::to_owned);
        snapshot.labels = labels::read(&first.metadata);
        snapshots.push(snapshot);
    }
    snapshots.sort_by_key(|snapshot| snapshot.created_at);
    Ok(snapshots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_two_claims_is_two_parts_and_one_snapshot() {
        let config = SnapshotConfig::new("before".parse().unwrap())
            .with_description("a text")
            .with_label("role", "a \"b\"");
        let owner = Meta { name: "web".to_owned(), uid: "u1".to_owned(), ..Meta::default() };
        let made = parts(&config, &owner, Resource::StatefulSets, &["data", "logs"]).unwrap();
        assert_eq!(made[1].0, "web.before.1");
        assert_eq!(made[1].1["spec"]["source"]["persistentVolumeClaimName"], "logs");
        let mut read: Vec<Part> =
            made.into_iter().map(|(_, part)| serde_json::from_value(part).unwrap()).collect();
        assert!(read.iter().all(|part| part.is_of("u1") && !part.is_of("u2") && !part.is_ready()));
        for part in &mut read {
            part.status.restore_size = Some("1Gi".to_owned());
        }
        let snapshots = snapshots(&"web".parse().unwrap(), &read).unwrap();
        assert_eq!(snapshots.len(), 1);
        assert_eq!(snapshots[0].name.as_str(), "before");
        assert_eq!(snapshots[0].description.as_deref(), Some("a text"));
        assert_eq!(snapshots[0].labels.get("role"), Some("a \"b\""));
        assert_eq!(snapshots[0].size_bytes, Some(2 << 30));
    }

    #[test]
    fn a_name_that_could_be_anothers_is_refused() {
        let owner = Meta::default();
        for name in ["a.b", "A", "a/b", "-a"] {
            let config = SnapshotConfig::new(name.parse().unwrap());
            assert!(
                parts(&config, &owner, Resource::StatefulSets, &["data"]).unwrap_err().is_invalid_input()
            );
        }
    }
}

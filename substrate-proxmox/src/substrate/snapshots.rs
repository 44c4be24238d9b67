//! Snapshots and copies.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use substrate_core::{
    CloneConfig, Error, Feature, Instance, InstanceName, InstanceState, Result, Snapshot, SnapshotConfig,
    SnapshotName,
};

use super::ProxmoxSubstrate;
use super::create::{Making, Naming};
use super::locate::guest_path;
use super::orders::Order;
use super::prepare::storage_of;
use crate::client::{Form, path};
use crate::convert::guest::{Guest, GuestKind, numbered, time};
use crate::convert::marks::{self, LabelMarks};
use crate::convert::notes;
use crate::convert::property::Properties;
use crate::convert::text::{Fields, is_set};
use crate::name::{check_new_guest, check_new_snapshot, is_snapshot_name};

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Listed {
    name: String,
    #[serde(default)]
    snaptime: Option<u64>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parent: Option<String>,
    #[serde(flatten)]
    rest: Fields,
}

fn no_snapshot(name: &SnapshotName) -> Error {
    Error::not_found(format!("the guest has no snapshot called `{}`", name.as_str().escape_debug()))
}

/// How far back ancestors are followed: nobody makes more within a second, and a ring has no end.
const MOST_ANCESTORS: usize = 256;

/// Oldest first. Their times are whole seconds; what was made from what decides within one.
pub(super) fn in_order(mut snapshots: Vec<Listed>) -> Vec<Listed> {
    let parents: HashMap<String, String> =
        snapshots.iter().filter_map(|one| Some((one.name.clone(), one.parent.clone()?))).collect();
    let depth = |name: &str| {
        let (mut depth, mut current) = (0_usize, name);
        while let Some(parent) = parents.get(current) {
            depth += 1;
            current = parent;
            if depth >= MOST_ANCESTORS {
                break;
            }
        }
        depth
    };
    snapshots.sort_by_cached_key(|one| (one.snaptime.unwrap_or_default(), depth(&one.name)));
    snapshots
}

/// What is kept of a description: the API bounds none, but it stands in the guest's configuration.
const LONGEST_DESCRIPTION: usize = 8_192;

impl ProxmoxSubstrate {
    async fn snapshots_of(&self, guest: &Guest) -> Result<Vec<Listed>> {
        let mut place = guest.place();
        let all: Vec<Listed> = self
            .wherever(&mut place, |place| async move {
                self.client.get("list the snapshots", &guest_path(&place, &["snapshot"]), Form::new()).await
            })
            .await?;
        // The present state is listed like one.
        Ok(in_order(all.into_iter().filter(|one| one.name != "current").collect()))
    }

    pub(super) async fn snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>> {
        let guest = self.guest(name).await?;
        let owner = InstanceName::new(guest.name())?;
        let all = self.snapshots_of(&guest).await?;
        all.into_iter().map(|listed| snapshot(&owner, &listed)).collect()
    }

    pub(super) async fn take_snapshot(
        &self,
        name: &InstanceName,
        config: &SnapshotConfig,
    ) -> Result<Snapshot> {
        let capabilities = &self.descriptor.get().capabilities;
        if config.memory {
            capabilities.require(Feature::SnapshotMemory)?;
        }
        if !config.labels.is_empty() {
            capabilities.require(Feature::ResourceLabels)?;
        }
        check_new_snapshot(&config.name)?;
        let guest = self.settled(name).await?;
        if config.memory && guest.kind == GuestKind::Lxc {
            return Err(Error::unsupported("snapshots of containers hold no memory"));
        }
        if config.memory && guest.state() == InstanceState::Stopped {
            // The API would silently leave it out.
            return Err(Error::conflict("a stopped machine has no memory to save"));
        }
        let _one = self.names.hold("snapshots", &guest.id()).await;
        let taken = || Error::already_exists(format!("the guest has a snapshot `{}` already", config.name));
        if self.snapshots_of(&guest).await?.iter().any(|one| one.name == config.name.as_str()) {
            return Err(taken());
        }
        let description = match &config.description {
            own if !config.labels.is_empty() => {
                let marks = LabelMarks { labels: config.labels.clone() };
                Some(marks::write(own.as_deref().unwrap_or_default(), &marks, LONGEST_DESCRIPTION)?)
            }
            own => own.clone(),
        };
        let mut form = Form::new().with("snapname", &config.name).maybe("description", description);
        if guest.kind == GuestKind::Qemu {
            form = form.flag("vmstate", config.memory);
        }
        let order = Order::post("take the snapshot", &["snapshot"], form);
        self.order(&mut guest.place(), &order).await.map_err(|error| {
            if error.message().contains("snapshot feature is not available") {
                return error.with_hint(
                    "a disk of the guest is on a storage or in a format without snapshots: use qcow2, ZFS, LVM-thin, …",
                );
            }
            error
        })?;
        let made = self.snapshots_of(&guest).await?;
        let made = made.iter().find(|one| one.name == config.name.as_str());
        let owner = InstanceName::new(guest.name())?;
        made.map_or_else(
            || Err(Error::conflict("the snapshot was deleted as soon as it was made")),
            |made| snapshot(&owner, made),
        )
    }

    /// A guest and its snapshot of this name.
    async fn with_snapshot(&self, name: &InstanceName, wanted: &SnapshotName) -> Result<(Guest, Listed)> {
        let guest = self.settled(name).await?;
        if !is_snapshot_name(wanted.as_str()) {
            return Err(no_snapshot(wanted));
        }
        let all = self.snapshots_of(&guest).await?;
        let found = all.into_iter().find(|one| one.name == wanted.as_str());
        found.map(|listed| (guest, listed)).ok_or_else(|| no_snapshot(wanted))
    }

    pub(super) async fn restore(&self, name: &InstanceName, wanted: &SnapshotName) -> Result<()> {
        let (guest, listed) = self.with_snapshot(name, wanted).await?;
        let ran = !matches!(guest.state(), InstanceState::Stopped | InstanceState::Failed);
        let memory = is_set(&listed.rest, "vmstate");
        // A snapshot of disks leaves the guest stopped, one with memory brings it back running.
        let form = if ran && !memory { Form::new().flag("start", true) } else { Form::new() };
        let order = Order::post("restore the snapshot", &["snapshot", &listed.name, "rollback"], form);
        let mut place = guest.place();
        self.order(&mut place, &order).await?;
        self.meter.forget(&guest.id());
        let now = self.read(&place).await?;
        if (ran || memory) && now.state() == InstanceState::Stopped {
            let start = Order::post("start the guest again", &["status", "start"], Form::new());
            self.order(&mut place, &start).await?;
        }
        Ok(())
    }

    pub(super) async fn drop_snapshot(&self, name: &InstanceName, wanted: &SnapshotName) -> Result<()> {
        let (guest, listed) = self.with_snapshot(name, wanted).await?;
        let order = Order::delete("delete the snapshot", &["snapshot", &listed.name], Form::new());
        self.order(&mut guest.place(), &order).await
    }

    // ---- copies -----------------------------------------------------------------------------------

    pub(super) async fn copy(&self, source: &InstanceName, config: &CloneConfig) -> Result<Arc<Instance>> {
        let capabilities = &self.descriptor.get().capabilities;
        if !config.labels.is_empty() {
            capabilities.require(Feature::Labels)?;
        }
        check_new_guest(&config.name)?;
        let guest = match &config.snapshot {
            Some(snapshot) => self.with_snapshot(source, snapshot).await?.0,
            None => self.settled(source).await?,
        };
        let runs = guest.state() != InstanceState::Stopped;
        if runs && guest.kind == GuestKind::Lxc && config.snapshot.is_none() {
            return Err(Error::conflict("a running container cannot be copied")
                .with_hint("stop it, or copy one of its snapshots"));
        }
        let _name = self.names.hold("name", config.name.as_str()).await;
        self.check_name_is_free(&config.name).await?;
        let mut settings = self.without_fixed_addresses(&guest, config.snapshot.as_ref()).await?;
        let marks = guest.marks().unwrap_or_default();
        let mut unfinished = marks.unfinished.unwrap_or_default();
        unfinished.settings.append(&mut settings);
        let description = guest.description();
        let making = Making {
            kind: guest.kind,
            node: guest.node.clone(),
            storage: format!("{} {}", guest.node, storage_of(&guest)),
            attempt: format!("clone `{source}`"),
            source: Some((guest.place(), runs || guest.kind == GuestKind::Lxc)),
            // Independent of its source afterwards: a full one.
            form: Form::new().flag("full", true).maybe("snapname", config.snapshot.as_ref()),
            image: marks.image,
            description: notes::read(&description).0.to_owned(),
            unfinished,
            secrets: Vec::new(),
        };
        let naming = Naming { name: &config.name, labels: &config.labels, metadata: &marks.metadata };
        self.make(&naming, making).await
    }

    /// The settings that take a copy off its source's fixed addresses: two guests cannot have one.
    async fn without_fixed_addresses(
        &self,
        guest: &Guest,
        snapshot: Option<&SnapshotName>,
    ) -> Result<std::collections::BTreeMap<String, String>> {
        let config: Fields = match snapshot {
            None => guest.config.clone(),
            Some(snapshot) => {
                let vmid = guest.vmid.to_string();
                let target = path(&["nodes", &guest.node, guest.kind.word(), &vmid, "config"]);
                let query = Form::new().with("snapshot", snapshot);
                self.client.get("read the snapshot", &target, query).await?
            }
        };
        let fixed = |place: &Properties| {
            ["ip", "ip6"].into_iter().any(|key| {
                place.get(key).is_some_and(|address| {
                    address.starts_with(|first: char| first.is_ascii_hexdigit()) && address.contains('/')
                })
            })
        };
        let free = |mut place: Properties| {
            for (key, gateway) in [("ip", "gw"), ("ip6", "gw6")] {
                if place.get(key).is_some() {
                    place.set(key, if key == "ip" { "dhcp" } else { "auto" });
                    place.remove(gateway);
                }
            }
            place.remove("hwaddr");
            place.to_string()
        };
        let word = if guest.kind == GuestKind::Lxc { "net" } else { "ipconfig" };
        let places = numbered(&config, word).filter(|(_, place)| fixed(place));
        Ok(places.map(|(key, place)| (key, free(place))).collect())
    }
}

fn snapshot(owner: &InstanceName, listed: &Listed) -> Result<Snapshot> {
    let mut snapshot = Snapshot::new(SnapshotName::new(&listed.name)?, owner.clone());
    snapshot.created_at = listed.snaptime.map(time);
    snapshot.memory = is_set(&listed.rest, "vmstate");
    // Containers get a line end more.
    let description = listed.description.as_deref().unwrap_or_default();
    let description = description.strip_suffix('\n').unwrap_or(description);
    let (description, marks) = marks::read::<LabelMarks>(description);
    snapshot.labels = marks.unwrap_or_default().labels;
    snapshot.description = Some(description.to_owned()).filter(|text| !text.is_empty());
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_of_one_second_are_ordered_by_what_was_made_from_what() {
        let listed: Vec<Listed> = serde_json::from_str(
            r#"[{"name":"b","snaptime":5,"parent":"c"},{"name":"a","snaptime":4},{"name":"c","snaptime":5,"parent":"a"}]"#,
        )
        .unwrap();
        let names: Vec<String> = in_order(listed).into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["a", "c", "b"]);
    }

    #[test]
    fn parents_in_a_circle_do_no_harm() {
        let listed: Vec<Listed> = serde_json::from_str(
            r#"[{"name":"a","snaptime":5,"parent":"b"},{"name":"b","snaptime":5,"parent":"a"}]"#,
        )
        .unwrap();
        assert_eq!(in_order(listed).len(), 2);
    }
}

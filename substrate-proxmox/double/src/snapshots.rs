//! Snapshots.

use serde_json::{Value, json};

use crate::Shared;
use crate::access::Caller;
use crate::guests::{PATIENT, lock_file};
use crate::params::Params;
use crate::reply::{Answer, fail};
use crate::tasks::Done;
use crate::world::{Guest, Kind, Snap};

/// What can be snapshotted: not a raw file.
fn can_snapshot(guest: &Guest) -> bool {
    !guest.disks().iter().any(|(_, volume, _)| volume.ends_with(".raw"))
}

impl Shared {
    pub(crate) fn list_snapshots(&self, kind: Kind, node: &str, vmid: u64) -> Answer {
        let mut world = self.world();
        let guest = world.here(kind, node, vmid)?;
        let mut list: Vec<Value> = guest
            .snapshots
            .iter()
            .map(|snapshot| {
                let mut entry = json!({
                    "name": snapshot.name, "snaptime": snapshot.time, "description": snapshot.description,
                });
                if kind == Kind::Qemu {
                    entry["vmstate"] = u8::from(snapshot.vmstate).into();
                } else if !snapshot.description.is_empty() {
                    entry["description"] = format!("{}\n", snapshot.description).into();
                }
                if let Some(parent) = &snapshot.parent {
                    entry["parent"] = parent.clone().into();
                }
                entry
            })
            .collect();
        // In no order that means anything.
        list.sort_by_key(|entry| entry["name"].to_string());
        let mut current = json!({
            "name": "current", "description": "You are here!", "digest": guest.digest(),
            "running": u8::from(guest.running),
        });
        if let Some(parent) = &guest.parent {
            current["parent"] = parent.clone().into();
        }
        list.push(current);
        Ok(list.into())
    }

    pub(crate) fn snapshot_config(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        name: &str,
        params: &Params,
        put: bool,
    ) -> Answer {
        let mut world = self.world();
        let guest = world.here(kind, node, vmid)?;
        let Some(snapshot) = guest.snapshots.iter_mut().find(|snapshot| snapshot.name == name) else {
            return fail(format!("snapshot '{name}' does not exist"));
        };
        if put {
            snapshot.description = params.text("description").unwrap_or_default();
            return Ok(Value::Null);
        }
        let mut fields = json!(snapshot.config);
        if !snapshot.description.is_empty() {
            fields["description"] = snapshot.description.clone().into();
        }
        fields["snaptime"] = snapshot.time.into();
        Ok(fields)
    }

    pub(crate) fn take_snapshot(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        caller: &Caller,
        params: &Params,
    ) -> Answer {
        self.world().here(kind, node, vmid)?;
        let name = params.text("snapname").unwrap_or_default();
        if name == "current" {
            return fail("unable to use snapshot name 'current' (reserved name)");
        }
        let description = params.text("description").unwrap_or_default();
        let vmstate = params.flag("vmstate");
        self.locked(kind, node, vmid, "snapshot", caller, move |shared| async move {
            let log = {
                let mut world = shared.world();
                let Some(guest) = world.guests.get_mut(&vmid) else { return Err("gone".to_owned()) };
                if guest.snapshots.iter().any(|snapshot| snapshot.name == name) {
                    return Err(format!("snapshot name '{name}' already used"));
                }
                if !can_snapshot(guest) {
                    return Err("snapshot feature is not available".to_owned());
                }
                guest.config.insert("lock".into(), "snapshot".into());
                guest
                    .disks()
                    .into_iter()
                    .map(|(key, volume, _)| format!("snapshotting 'drive-{key}' ({volume})"))
                    .collect()
            };
            shared.clock.sleep(shared.times().power).await;
            let time = shared.clock.seconds();
            let mut world = shared.world();
            let Some(guest) = world.guests.get_mut(&vmid) else { return Err("gone".to_owned()) };
            guest.config.remove("lock");
            let mut config = guest.config.clone();
            config.retain(|key, _| key != "description" && !key.starts_with("unused"));
            let snapshot = Snap {
                name: name.clone(),
                config,
                files: guest.files.clone(),
                vmstate: vmstate && guest.running && kind == Kind::Qemu,
                time,
                description,
                parent: guest.parent.take(),
            };
            guest.snapshots.push(snapshot);
            guest.parent = Some(name);
            Ok(log)
        })
    }

    pub(crate) fn rollback(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        name: &str,
        caller: &Caller,
        params: &Params,
    ) -> Answer {
        self.world().here(kind, node, vmid)?;
        let (name, start) = (name.to_owned(), params.flag("start"));
        self.locked(kind, node, vmid, "rollback", caller, move |shared| async move {
            let snapshot = {
                let world = shared.world();
                let found = world
                    .guests
                    .get(&vmid)
                    .and_then(|guest| guest.snapshots.iter().find(|snapshot| snapshot.name == name).cloned());
                match found {
                    Some(snapshot) => snapshot,
                    None => return Err(format!("snapshot '{name}' does not exist")),
                }
            };
            shared.switch_off(vmid);
            if let Some(guest) = shared.world().guests.get_mut(&vmid) {
                guest.config.insert("lock".into(), "rollback".into());
            }
            shared.clock.sleep(shared.times().power).await;
            {
                let mut world = shared.world();
                let Some(guest) = world.guests.get_mut(&vmid) else { return Err("gone".to_owned()) };
                // The notes are the guest's, not the snapshot's.
                let description = guest.config.get("description").cloned();
                let unused: Vec<_> = guest
                    .config
                    .iter()
                    .filter(|(key, _)| key.starts_with("unused"))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                guest.config = snapshot.config;
                guest.config.extend(unused);
                guest.config.remove("lock");
                if let Some(description) = description {
                    guest.config.insert("description".into(), description);
                }
                guest.files = snapshot.files;
                guest.parent = Some(name);
            }
            if snapshot.vmstate || start {
                shared.switch_on(vmid);
            }
            Ok(Vec::new())
        })
    }

    pub(crate) fn delete_snapshot(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        name: &str,
        caller: &Caller,
    ) -> Answer {
        self.world().here(kind, node, vmid)?;
        let name = name.to_owned();
        self.locked(kind, node, vmid, "delsnapshot", caller, move |shared| async move {
            let there = shared
                .world()
                .guests
                .get(&vmid)
                .is_some_and(|guest| guest.snapshots.iter().any(|snapshot| snapshot.name == name));
            if !there {
                return Err(format!("snapshot '{name}' does not exist"));
            }
            if let Some(guest) = shared.world().guests.get_mut(&vmid) {
                guest.config.insert("lock".into(), "snapshot-delete".into());
            }
            shared.clock.sleep(shared.times().quick).await;
            let mut world = shared.world();
            let Some(guest) = world.guests.get_mut(&vmid) else { return Err("gone".to_owned()) };
            guest.config.remove("lock");
            let parent = guest
                .snapshots
                .iter()
                .find(|snapshot| snapshot.name == name)
                .and_then(|snapshot| snapshot.parent.clone());
            guest.snapshots.retain(|snapshot| snapshot.name != name);
            for snapshot in &mut guest.snapshots {
                if snapshot.parent.as_deref() == Some(&name) {
                    snapshot.parent.clone_from(&parent);
                }
            }
            if guest.parent.as_deref() == Some(&name) {
                guest.parent = parent;
            }
            Ok(Vec::new())
        })
    }

    /// A task under the configuration's lock, refused while the guest is in another one.
    fn locked<F, W>(&self, kind: Kind, node: &str, vmid: u64, word: &str, caller: &Caller, work: W) -> Answer
    where
        W: FnOnce(Self) -> F + Send + 'static,
        F: Future<Output = Result<Vec<String>, String>> + Send + 'static,
    {
        self.spawn(node, &kind.task(word), &vmid.to_string(), &caller.user, move |shared, _| async move {
            let lock = shared.world().flock(format!("config {vmid}"));
            let patience = shared.clock.real(PATIENT);
            let Ok(_held) = tokio::time::timeout(patience, lock.write()).await else {
                return Done::failed(
                    Vec::new(),
                    format!("can't lock file '{}' - got timeout", lock_file(kind, vmid)),
                );
            };
            let held = shared.world().guests.get(&vmid).and_then(Guest::lock);
            if let Some(held) = held {
                return Done::failed(Vec::new(), format!("{} is locked ({held})", kind.label()));
            }
            match work(shared).await {
                Ok(log) => Done::ok(log),
                Err(reason) => Done::failed(Vec::new(), reason),
            }
        })
    }
}

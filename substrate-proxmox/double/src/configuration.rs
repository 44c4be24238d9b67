//! Configurations: reading, changing, growing disks.

use serde_json::{Value, json};

use crate::Shared;
use crate::access::Caller;
use crate::guests::{NO_SETTINGS, PATIENT, PENDING, is_drive, lock_file, setting, tags};
use crate::params::Params;
use crate::reply::{Answer, Refusal, fail};
use crate::tasks::Done;
use crate::world::{Kind, bytes, rendered, size_text};

impl Shared {
    pub(crate) fn config(&self, kind: Kind, node: &str, vmid: u64, params: &Params) -> Answer {
        let mut world = self.world();
        let guest = world.here(kind, node, vmid)?;
        if let Some(name) = params.text("snapshot") {
            return match guest.snapshots.iter().find(|snapshot| snapshot.name == name) {
                Some(snapshot) => {
                    let mut config = snapshot.config.clone();
                    if !snapshot.description.is_empty() {
                        config.insert("description".into(), snapshot.description.clone().into());
                    }
                    config.insert("snaptime".into(), snapshot.time.into());
                    Ok(rendered(guest, &config, true))
                }
                None => fail(format!("snapshot '{name}' does not exist")),
            };
        }
        Ok(rendered(guest, &guest.config, params.flag("current")))
    }

    pub(crate) fn pending(&self, kind: Kind, node: &str, vmid: u64) -> Answer {
        let mut world = self.world();
        let guest = world.here(kind, node, vmid)?;
        let Value::Object(fields) = rendered(guest, &guest.config, true) else { return Ok(json!([])) };
        let mut entries: Vec<Value> = fields
            .into_iter()
            .map(|(key, value)| match guest.pending.get(&key) {
                Some(Some(new)) => json!({"key": key, "value": value, "pending": new}),
                Some(None) => json!({"key": key, "value": value, "delete": 1}),
                None => json!({"key": key, "value": value}),
            })
            .collect();
        for (key, value) in &guest.pending {
            if let (false, Some(value)) = (guest.config.contains_key(key), value) {
                entries.push(json!({"key": key, "pending": value}));
            }
        }
        Ok(entries.into())
    }

    /// PUT, and POST for machines.
    pub(crate) async fn configure(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        caller: &Caller,
        params: &Params,
        as_task: bool,
    ) -> Answer {
        {
            let mut world = self.world();
            let guest = world.here(kind, node, vmid)?;
            if let Some(digest) = params.text("digest")
                && digest != guest.digest()
            {
                return fail("checksum mismatch (file change by other user?)");
            }
            let settings = params.0.iter().filter(|(key, _)| !matches!(key.as_str(), "digest" | "skiplock"));
            if settings.count() == 0 {
                return fail("no options specified");
            }
            for key in params.all("delete").iter().flat_map(|keys| keys.split([',', ';', ' '])) {
                if params.has(key) {
                    return Err(Refusal::parameter(
                        "delete",
                        format!("you can't use '-{key}' and -delete {key}' at the same time"),
                    ));
                }
                if key == "nosuchopt" {
                    return Err(Refusal::parameter("delete", format!("unknown option '{key}'")));
                }
            }
            for key in ["args", "lock"] {
                if params.has(key) && !caller.is_root() {
                    return fail(format!("only root can set '{key}' config"));
                }
            }
            if params.has("skiplock") && !caller.is_root() {
                return Err(Refusal::parameter("skiplock", "Only root may use this option."));
            }
        }
        if as_task {
            let params = params.clone();
            let node_name = node.to_owned();
            return self.spawn(
                node,
                "qmconfig",
                &vmid.to_string(),
                &caller.user,
                move |shared, _| async move {
                    let log: Vec<String> = params
                        .0
                        .iter()
                        .filter(|(key, _)| key != "digest")
                        .filter_map(|(key, value)| Some((key, crate::params::text_of(value)?)))
                        .map(|(key, value)| format!("update VM {vmid}: -{key} {value}"))
                        .collect();
                    match shared.apply(kind, &node_name, vmid, &params).await {
                        Ok(()) => Done::ok(log),
                        Err(refusal) => Done::failed(log, refusal.message),
                    }
                },
            );
        }
        self.apply(kind, node, vmid, params).await.map(|()| Value::Null)
    }

    async fn apply(&self, kind: Kind, node: &str, vmid: u64, params: &Params) -> Result<(), Refusal> {
        let flock = self.world().flock(format!("config {vmid}"));
        let Ok(_held) = tokio::time::timeout(self.clock.real(PATIENT), flock.write()).await else {
            return fail(format!("can't lock file '{}' - got timeout", lock_file(kind, vmid)));
        };
        let mut disks = Vec::new();
        {
            let mut world = self.world();
            let lock = world.here(kind, node, vmid)?.lock();
            if let Some(lock) = lock.filter(|_| !params.flag("skiplock")) {
                return fail(format!("{} is locked ({lock})", kind.label()));
            }
            for (key, value) in &params.0 {
                if is_drive(key)
                    && let Some(text) = crate::params::text_of(value)
                    && let Some(disk) = self.wanted_disk(&world, key, &text)?
                {
                    disks.push(disk);
                }
            }
        }
        let mut made = Vec::new();
        for disk in &disks {
            let index = self.next_disk(vmid) + made.len();
            let volume =
                self.allocate(node, vmid, index, disk).await.map_err(|reason| Refusal::new(500, reason))?;
            made.push((disk.key.clone(), volume));
        }
        let mut world = self.world();
        let mut changes: Vec<(String, Option<Value>)> = Vec::new();
        for (key, value) in &params.0 {
            let Some(text) = crate::params::text_of(value) else {
                if key == "delete" {
                    continue;
                }
                return fail(format!("unable to parse value of '{key}' - got undefined value"));
            };
            if NO_SETTINGS.contains(&key.as_str()) || disks.iter().any(|disk| disk.key == *key) {
                continue;
            }
            let text = match key.as_str() {
                "tags" => tags(&text),
                "cipassword" => "**********".to_owned(),
                key if key.starts_with("net") => world.net(kind, &text),
                _ => text,
            };
            changes.push((key.clone(), Some(setting(kind, key, &text))));
        }
        let now_made = made.into_iter().map(|(key, volume)| (key, Some(Value::from(volume))));
        changes.extend(now_made);
        for key in params.all("delete").iter().flat_map(|keys| keys.split([',', ';', ' '])) {
            changes.push((key.to_owned(), None));
        }
        let guest = world.here(kind, node, vmid)?;
        for key in params.all("revert").iter().flat_map(|keys| keys.split([',', ';', ' '])) {
            guest.pending.remove(key);
        }
        for (key, value) in changes {
            let waits = kind == Kind::Qemu && guest.running && PENDING.contains(&key.as_str());
            if waits {
                guest.pending.insert(key, value);
                continue;
            }
            if is_drive(&key)
                && let Some(old) = guest.text(&key)
                && !old.contains("media=cdrom")
            {
                // What was there is kept, unused.
                let unused = (0..).find(|index| !guest.config.contains_key(&format!("unused{index}")));
                let volume = old.split(',').next().unwrap_or_default().to_owned();
                guest.config.insert(format!("unused{}", unused.unwrap_or_default()), volume.into());
            }
            match value {
                Some(value) => drop(guest.config.insert(key, value)),
                None => drop(guest.config.remove(&key)),
            }
        }
        Ok(())
    }

    fn next_disk(&self, vmid: u64) -> usize {
        let world = self.world();
        let Some(guest) = world.guests.get(&vmid) else { return 0 };
        let text = format!("{:?}", guest.config);
        (0..).find(|index| !text.contains(&format!("disk-{index}"))).unwrap_or_default()
    }

    pub(crate) fn resize(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        caller: &Caller,
        params: &Params,
    ) -> Answer {
        self.world().here(kind, node, vmid)?;
        let (disk, size) = (params.text("disk").unwrap_or_default(), params.text("size").unwrap_or_default());
        self.spawn(node, "resize", &vmid.to_string(), &caller.user, move |shared, _| async move {
            shared.clock.sleep(shared.times().quick).await;
            let mut world = shared.world();
            let Some(guest) = world.guests.get_mut(&vmid) else { return Done::failed(Vec::new(), "gone") };
            if let Some(lock) = guest.lock() {
                return Done::failed(Vec::new(), format!("{} is locked ({lock})", kind.label()));
            }
            let Some((_, _, old)) = guest.disks().into_iter().find(|(key, ..)| *key == disk) else {
                return Done::failed(Vec::new(), format!("disk '{disk}' does not exist"));
            };
            let new = match size.strip_prefix('+') {
                Some(more) => old + bytes(more),
                None => bytes(&size),
            };
            if new < old {
                return Done::failed(Vec::new(), "shrinking disks is not supported");
            }
            let text = guest.text(&disk).unwrap_or_default();
            let text = text.replace(&format!("size={}", size_text(old)), &format!("size={}", size_text(new)));
            guest.config.insert(disk, text.into());
            Done::ok(if new == old { Vec::new() } else { vec!["Image resized.".to_owned()] })
        })
    }
}

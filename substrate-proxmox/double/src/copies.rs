//! Copies, templates, moves and ends of guests.

use crate::Shared;
use crate::access::Caller;
use crate::guests::{IMPATIENT, PATIENT, lock_file, missing};
use crate::params::Params;
use crate::reply::{Answer, Refusal, fail};
use crate::tasks::Done;
use crate::world::{Config, Guest, Kind, size_text};

impl Shared {
    pub(crate) fn clone_guest(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        caller: &Caller,
        params: &Params,
    ) -> Answer {
        let Some(newid) = params.number("newid") else {
            return Err(Refusal::parameter("newid", "property is missing and it is not optional"));
        };
        let mut world = self.world();
        let source = world.here(kind, node, vmid)?.clone();
        if world.guests.contains_key(&newid) {
            return fail(format!("unable to create {} {newid}: config file already exists", kind.label()));
        }
        let snapshot = match params.text("snapname") {
            None => None,
            Some(name) => match source.snapshots.iter().find(|snapshot| snapshot.name == name) {
                Some(snapshot) => Some(snapshot.clone()),
                None => return fail(format!("snapshot '{name}' does not exist")),
            },
        };
        let full = if params.has("full") { params.flag("full") } else { !source.is_template() };
        if !full && !source.is_template() {
            let (key, volume, _) = source.disks().into_iter().next().unwrap_or_default();
            return fail(format!("Linked clone feature is not supported for '{volume}' ({key})"));
        }
        if kind == Kind::Lxc {
            if source.running && snapshot.is_none() {
                return fail("Cannot do full clones on a running container without snapshots");
            }
            // The source itself is locked for the whole copy: clones of one container exclude each other.
            if let Some(lock) = source.lock() {
                return fail(format!("CT is locked ({lock})"));
            }
            world.here(kind, node, vmid)?.config.insert("lock".into(), "disk".into());
        }
        let target = params.text("target").unwrap_or_else(|| node.to_owned());
        let mut placeholder = Guest::new(newid, kind, &target);
        placeholder.config.insert("lock".into(), if kind == Kind::Qemu { "clone" } else { "create" }.into());
        placeholder.pool = params.text("pool");
        world.guests.insert(newid, placeholder);
        drop(world);
        let params = params.clone();
        self.spawn(node, &kind.task("clone"), &vmid.to_string(), &caller.user, move |shared, _| async move {
            let (mut base, files) = match snapshot {
                Some(snapshot) => {
                    // The snapshot's own words become the clone's.
                    let mut config = snapshot.config;
                    if !snapshot.description.is_empty() {
                        config.insert("description".into(), snapshot.description.into());
                    }
                    (config, snapshot.files)
                }
                None => (source.config.clone(), source.files.clone()),
            };
            base.retain(|key, _| {
                !key.starts_with("unused") && !matches!(key.as_str(), "lock" | "template" | "parent")
            });
            let mut log = vec![format!("creating a clone of VM {vmid} with ID {newid}")];
            let result =
                shared.copy(kind, &source, newid, &target, base, files, &params, full, &mut log).await;
            let mut world = shared.world();
            if kind == Kind::Lxc
                && let Some(source) = world.guests.get_mut(&vmid)
            {
                source.config.remove("lock");
            }
            match result {
                Ok(()) => {
                    if let Some(guest) = world.guests.get_mut(&newid) {
                        guest.config.remove("lock");
                    }
                    Done::ok(log)
                }
                Err(reason) => {
                    world.guests.remove(&newid);
                    Done::failed(log, reason)
                }
            }
        })
    }

    #[allow(clippy::too_many_arguments)]
    async fn copy(
        &self,
        kind: Kind,
        source: &Guest,
        newid: u64,
        target: &str,
        mut config: Config,
        files: std::collections::BTreeMap<String, Vec<u8>>,
        params: &Params,
        full: bool,
        log: &mut Vec<String>,
    ) -> Result<(), String> {
        let vmid = source.vmid;
        let flock = self.world().flock(format!("config {vmid}"));
        let patience = self.clock.real(IMPATIENT);
        let refused = || format!("can't lock file '{}' - got timeout", lock_file(kind, vmid));
        // Shared for a machine that is off, exclusive for one that runs.
        let (mut shared, mut exclusive) = (None, None);
        if source.running {
            exclusive = Some(tokio::time::timeout(patience, flock.write()).await.map_err(|_| refused())?);
        } else {
            shared = Some(tokio::time::timeout(patience, flock.read()).await.map_err(|_| refused())?);
        }
        let times = self.times();
        for (index, (key, volume, size)) in crate::world::disks_of(&config).into_iter().enumerate() {
            let way = if full { "full" } else { "linked" };
            log.push(format!("create {way} clone of drive {key} ({volume})"));
            let of = volume.split(':').next().unwrap_or("local").to_owned();
            let storage = params.text("storage").unwrap_or(of);
            self.under_storage_lock(target, &storage, times.allocation).await?;
            if full {
                self.clock.sleep(times.copy).await;
            }
            let extension = volume.rsplit_once('.').map_or("raw", |(_, extension)| extension);
            let dir = self.world().storages.get(&storage).is_none_or(|storage| storage.kind == "dir");
            let new = match (dir, full) {
                (true, true) => format!("{storage}:{newid}/vm-{newid}-disk-{index}.{extension}"),
                (true, false) => format!("{volume}/{newid}/vm-{newid}-disk-{index}.{extension}"),
                (false, _) if kind == Kind::Lxc => format!("{storage}:subvol-{newid}-disk-{index}"),
                (false, _) => format!("{storage}:vm-{newid}-disk-{index}"),
            };
            config.insert(key, format!("{new},size={}", size_text(size)).into());
        }
        drop((shared.take(), exclusive.take()));
        let mut world = self.world();
        let nets: Vec<String> = config.keys().filter(|key| key.starts_with("net")).cloned().collect();
        for key in nets {
            let text = config.get(&key).and_then(crate::params::text_of).unwrap_or_default();
            let bare: Vec<&str> = text.split(',').filter(|part| !part.starts_with("hwaddr=")).collect();
            let bare = bare.join(",");
            let text = match kind {
                Kind::Qemu => {
                    let (first, rest) = bare.split_once(',').unwrap_or((&bare, ""));
                    format!("{},{rest}", first.split('=').next().unwrap_or_default())
                }
                Kind::Lxc => bare,
            };
            let text = world.net(kind, text.trim_end_matches(','));
            config.insert(key, text.into());
        }
        if kind == Kind::Qemu {
            config.insert("vmgenid".into(), world.uuid().into());
            config.insert("smbios1".into(), format!("uuid={}", world.uuid()).into());
        }
        let name = params.text(kind.name_key()).unwrap_or_else(|| match kind {
            Kind::Qemu => format!("Copy-of-VM-{}", source.name()),
            Kind::Lxc => format!("Copy-of-CT-{}", source.name()),
        });
        config.insert(kind.name_key().to_owned(), name.into());
        if let Some(description) = params.text("description") {
            config.insert("description".into(), description.into());
        }
        config.insert("lock".into(), "clone".into());
        match world.guests.get_mut(&newid) {
            Some(guest) => {
                guest.config = config;
                guest.files = files;
                Ok(())
            }
            None => Err("the placeholder is gone".to_owned()),
        }
    }

    pub(crate) fn destroy(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        caller: &Caller,
        params: &Params,
    ) -> Answer {
        let mut world = self.world();
        let guest = world.here(kind, node, vmid)?.clone();
        let force = kind == Kind::Lxc && params.flag("force");
        if guest.text("protection").as_deref() == Some("1") {
            return fail(format!("can't remove {} {vmid} - protection mode enabled", kind.label()));
        }
        if guest.managed && !params.flag("purge") {
            return fail(format!(
                "unable to remove {} {vmid} - used in HA resources and purge parameter not set.",
                kind.label()
            ));
        }
        if guest.running && !force {
            return match kind {
                Kind::Qemu => fail(format!("VM {vmid} is running - destroy failed")),
                Kind::Lxc => fail(format!("unable to destroy CT {vmid} - container is running")),
            };
        }
        drop(world);
        let purge = params.flag("purge");
        self.spawn(
            node,
            &kind.task("destroy"),
            &vmid.to_string(),
            &caller.user,
            move |shared, _| async move {
                let lock = shared.world().flock(format!("config {vmid}"));
                let patience = shared.clock.real(PATIENT);
                let Ok(_held) = tokio::time::timeout(patience, lock.write()).await else {
                    return Done::failed(
                        Vec::new(),
                        format!("can't lock file '{}' - got timeout", lock_file(kind, vmid)),
                    );
                };
                shared.clock.sleep(shared.times().quick).await;
                let mut world = shared.world();
                let Some(guest) = world.guests.get(&vmid) else {
                    return Done::failed(Vec::new(), missing(kind, "pve", vmid).message);
                };
                if let Some(lock) = guest.lock() {
                    return Done::failed(Vec::new(), format!("{} is locked ({lock})", kind.label()));
                }
                if guest.running && !force {
                    return Done::failed(Vec::new(), format!("VM {vmid} is running - destroy failed"));
                }
                for (_, volume, _) in guest.disks() {
                    let used = world.guests.values().filter(|other| other.vmid != vmid).any(|other| {
                        other.disks().iter().any(|(_, theirs, _)| theirs.starts_with(&format!("{volume}/")))
                    });
                    if used {
                        return Done::failed(
                            Vec::new(),
                            format!("base volume '{volume}' is still in use by linked cloned"),
                        );
                    }
                }
                world.guests.remove(&vmid);
                let mut log = Vec::new();
                if purge {
                    log.push(format!("purging {} {vmid} from related configurations..", kind.label()));
                }
                Done::ok(log)
            },
        )
    }

    pub(crate) fn template(&self, kind: Kind, node: &str, vmid: u64, caller: &Caller) -> Answer {
        let mut world = self.world();
        let guest = world.here(kind, node, vmid)?;
        if !guest.snapshots.is_empty() {
            return fail("unable to create template, because VM contains snapshots");
        }
        drop(world);
        self.spawn(node, "qmtemplate", &vmid.to_string(), &caller.user, move |shared, _| async move {
            if let Some(guest) = shared.world().guests.get_mut(&vmid) {
                guest.config.insert("template".into(), 1.into());
                let disks = guest.disks();
                for (key, volume, _) in disks {
                    let text = guest.text(&key).unwrap_or_default();
                    let base = volume.replace("vm-", "base-");
                    guest.config.insert(key, text.replace(&volume, &base).into());
                }
            }
            Done::ok(Vec::new())
        })
    }

    pub(crate) fn migrate(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        caller: &Caller,
        params: &Params,
    ) -> Answer {
        let target = params.text("target").unwrap_or_default();
        let mut world = self.world();
        if target == node {
            return Err(Refusal::parameter("target", "target is local node."));
        }
        if !world.nodes.contains_key(&target) {
            return fail(format!("no such cluster node '{target}'"));
        }
        let guest = world.here(kind, node, vmid)?;
        if let Some(lock) = guest.lock() {
            return fail(format!("{} is locked ({lock})", kind.label()));
        }
        guest.config.insert("lock".into(), "migrate".into());
        drop(world);
        self.spawn(
            node,
            &kind.task("migrate"),
            &vmid.to_string(),
            &caller.user,
            move |shared, _| async move {
                shared.clock.sleep(shared.times().copy).await;
                if let Some(guest) = shared.world().guests.get_mut(&vmid) {
                    guest.config.remove("lock");
                    guest.node = target;
                }
                Done::ok(Vec::new())
            },
        )
    }
}

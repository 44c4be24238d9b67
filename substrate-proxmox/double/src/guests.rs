//! Guests: making them, and what all that is done to them shares.

use serde_json::{Value, json};

use crate::Shared;
use crate::access::Caller;
use crate::params::Params;
use crate::reply::{Answer, Refusal, fail};
use crate::tasks::Done;
use crate::world::{Config, Guest, Kind, World, size_text};

/// Server seconds that things take.
pub(crate) const ALLOCATION: f64 = 0.3;
const COPY: f64 = 1.0;
/// How long a lock is waited for: to change, and to create or clone.
pub(crate) const PATIENT: f64 = 10.0;
pub(crate) const IMPATIENT: f64 = 1.0;

/// Settings that are numbers in answers.
pub(crate) const NUMBERS: [&str; 14] = [
    "cores",
    "sockets",
    "onboot",
    "template",
    "protection",
    "vcpus",
    "balloon",
    "cpulimit",
    "cpuunits",
    "swap",
    "unprivileged",
    "numa",
    "tablet",
    "kvm",
];
/// Settings of a running machine that wait for its next start.
pub(crate) const PENDING: [&str; 8] =
    ["memory", "cores", "sockets", "cpu", "cpulimit", "agent", "serial0", "scsihw"];
/// Parameters of calls that are no settings.
pub(crate) const NO_SETTINGS: [&str; 16] = [
    "vmid",
    "node",
    "storage",
    "pool",
    "force",
    "start",
    "archive",
    "unique",
    "delete",
    "revert",
    "digest",
    "skiplock",
    "ostemplate",
    "password",
    "ssh-public-keys",
    "background_delay",
];

pub(crate) fn missing(kind: Kind, node: &str, vmid: u64) -> Refusal {
    Refusal::new(
        500,
        format!("Configuration file 'nodes/{node}/{}/{vmid}.conf' does not exist", kind.folder()),
    )
}

pub(crate) fn lock_file(kind: Kind, vmid: u64) -> String {
    match kind {
        Kind::Qemu => format!("/var/lock/qemu-server/lock-{vmid}.conf"),
        Kind::Lxc => format!("/run/lock/lxc/pve-config-{vmid}.lock"),
    }
}

pub(crate) fn setting(kind: Kind, key: &str, text: &str) -> Value {
    let numeric = NUMBERS.contains(&key) || (kind == Kind::Lxc && key == "memory");
    match text.parse::<i64>() {
        Ok(number) if numeric => number.into(),
        _ if numeric => text.parse::<f64>().map_or_else(|_| text.into(), Value::from),
        _ => text.into(),
    }
}

pub(crate) fn tags(text: &str) -> String {
    let mut tags: Vec<String> =
        text.split([';', ',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_lowercase).collect();
    tags.sort();
    tags.dedup();
    tags.join(";")
}

impl World {
    pub(crate) fn here(&mut self, kind: Kind, node: &str, vmid: u64) -> Result<&mut Guest, Refusal> {
        match self.guests.get_mut(&vmid) {
            Some(guest) if guest.kind == kind && guest.node == node => Ok(guest),
            _ => Err(missing(kind, node, vmid)),
        }
    }

    /// A device with what the server adds: a hardware address.
    pub(crate) fn net(&mut self, kind: Kind, text: &str) -> String {
        if text.contains("BC:24:11") {
            return text.to_owned();
        }
        let mac = self.mac();
        match kind {
            Kind::Qemu => {
                let (model, rest) = text.split_once(',').unwrap_or((text, ""));
                let model = model.split('=').next().unwrap_or(model);
                let comma = if rest.is_empty() { "" } else { "," };
                format!("{model}={mac}{comma}{rest}")
            }
            Kind::Lxc => {
                let kind = if text.contains("type=") { "" } else { ",type=veth" };
                format!("{text},hwaddr={mac}{kind}")
            }
        }
    }
}

/// The drive that is made for `storage:cloudinit`.
pub(crate) fn cloud_init_drive(vmid: u64, text: &str) -> String {
    match text.strip_suffix(":cloudinit") {
        Some("local") => format!("local:{vmid}/vm-{vmid}-cloudinit.qcow2,media=cdrom"),
        Some(storage) => format!("{storage}:vm-{vmid}-cloudinit,media=cdrom"),
        None => text.to_owned(),
    }
}

pub(crate) fn is_drive(key: &str) -> bool {
    ["scsi", "virtio", "sata", "ide", "mp"]
        .iter()
        .any(|bus| key.strip_prefix(bus).is_some_and(|rest| rest.parse::<u32>().is_ok()))
        || key == "rootfs"
}

/// What is to be allocated: storage, size, format, and from what.
pub(crate) struct Wanted {
    pub(crate) key: String,
    storage: String,
    size: u64,
    format: String,
    base: Option<String>,
}

impl Shared {
    pub(crate) fn wanted_disk(
        &self,
        world: &World,
        key: &str,
        text: &str,
    ) -> Result<Option<Wanted>, Refusal> {
        let first = text.split(',').next().unwrap_or_default();
        let Some((storage, rest)) = first.split_once(':') else { return Ok(None) };
        let option = |name: &str| {
            text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        let Some(found) = world.storages.get(storage) else {
            return fail(format!("storage '{storage}' does not exist"));
        };
        if text.contains("media=cdrom") || rest == "cloudinit" {
            return Ok(None);
        }
        let Ok(gibibytes) = rest.parse::<f64>() else { return Ok(None) };
        let default = if found.kind == "dir" { "raw" } else { "zvol" };
        let base = option("import-from");
        let size = match &base {
            Some(volume) => {
                let of = volume.split(':').next().unwrap_or_default();
                let file = world
                    .storages
                    .get(of)
                    .and_then(|storage| storage.files.iter().find(|(id, ..)| id == volume))
                    .map(|(_, _, size)| *size);
                match file {
                    Some(size) => size,
                    None => return fail(format!("volume '{volume}' does not exist")),
                }
            }
            None => (gibibytes * f64::from(1 << 30)) as u64,
        };
        Ok(Some(Wanted {
            key: key.to_owned(),
            storage: storage.to_owned(),
            size,
            format: option("format").unwrap_or_else(|| default.to_owned()),
            base,
        }))
    }

    /// Allocates under the storage's lock; ten seconds to get it.
    pub(crate) async fn under_storage_lock(
        &self,
        node: &str,
        storage: &str,
        hold: f64,
    ) -> Result<(), String> {
        let key = {
            let world = self.world();
            let shared = world.storages.get(storage).is_some_and(|storage| storage.shared);
            if shared { format!("storage {storage}") } else { format!("storage {node} {storage}") }
        };
        let lock = self.world().flock(key);
        let Ok(_held) = tokio::time::timeout(self.clock.real(PATIENT), lock.write()).await else {
            return Err(format!(
                "can't lock file '/var/lock/pve-manager/pve-storage-{storage}' - got timeout"
            ));
        };
        let begin = tokio::time::Instant::now();
        self.clock.sleep(hold).await;
        *crate::locked(&self.held) += begin.elapsed();
        Ok(())
    }

    pub(crate) async fn allocate(
        &self,
        node: &str,
        vmid: u64,
        index: usize,
        disk: &Wanted,
    ) -> Result<String, String> {
        let times = self.times();
        self.under_storage_lock(node, &disk.storage, times.allocation).await?;
        if disk.base.is_some() {
            self.clock.sleep(times.copy).await;
        }
        let kind = self.world().storages.get(&disk.storage).map_or("dir", |storage| storage.kind);
        let volume = match (kind, disk.key.as_str()) {
            ("dir", _) => format!("{}:{vmid}/vm-{vmid}-disk-{index}.{}", disk.storage, disk.format),
            (_, "rootfs") => format!("{}:subvol-{vmid}-disk-{index}", disk.storage),
            _ => format!("{}:vm-{vmid}-disk-{index}", disk.storage),
        };
        Ok(format!("{volume},size={}", size_text(disk.size)))
    }

    // ---- create -----------------------------------------------------------------------------------

    pub(crate) fn create(&self, kind: Kind, node: &str, caller: &Caller, params: &Params) -> Answer {
        let Some(vmid) = params.number("vmid") else {
            return Err(Refusal::parameter("vmid", "property is missing and it is not optional"));
        };
        let mut world = self.world();
        if kind == Kind::Lxc && !params.has("ostemplate") {
            return Err(Refusal::parameter("ostemplate", "property is missing and it is not optional"));
        }
        if let Some(guest) = world.guests.get(&vmid) {
            let (label, node) = (guest.kind.label(), &guest.node);
            return match kind {
                Kind::Qemu => fail(format!(
                    "unable to create VM {vmid} - {label} {vmid} already exists on node '{node}'"
                )),
                Kind::Lxc => fail(format!("{label} {vmid} already exists on node '{node}'")),
            };
        }
        let mut config = Config::new();
        let mut disks = Vec::new();
        for (key, value) in &params.0 {
            let Some(text) = crate::params::text_of(value) else { continue };
            if NO_SETTINGS.contains(&key.as_str()) {
                continue;
            }
            if is_drive(key)
                && let Some(disk) = self.wanted_disk(&world, key, &text)?
            {
                disks.push(disk);
                continue;
            }
            let text = match key.as_str() {
                "tags" => tags(&text),
                "cipassword" => "**********".to_owned(),
                key if key.starts_with("net") => world.net(kind, &text),
                _ if text.ends_with(":cloudinit") => cloud_init_drive(vmid, &text),
                _ => text,
            };
            config.insert(key.clone(), setting(kind, key, &text));
        }
        match kind {
            Kind::Qemu => {
                config.insert("vmgenid".into(), world.uuid().into());
                config.insert("smbios1".into(), format!("uuid={}", world.uuid()).into());
                let ctime = self.clock.seconds();
                config.insert("meta".into(), format!("creation-qemu=10.0.2,ctime={ctime}").into());
                let order: Vec<&str> = disks
                    .iter()
                    .map(|disk| disk.key.as_str())
                    .chain(config.keys().filter(|key| key.starts_with("net")).map(String::as_str))
                    .collect();
                let boot =
                    if order.is_empty() { " ".to_owned() } else { format!("order={}", order.join(";")) };
                config.entry("boot".into()).or_insert_with(|| boot.into());
            }
            Kind::Lxc => {
                for (key, value) in
                    [("arch", json!("amd64")), ("ostype", json!("unmanaged")), ("swap", json!(512))]
                {
                    config.entry(key.into()).or_insert(value);
                }
                config.entry("memory".into()).or_insert_with(|| 512.into());
                config.entry("hostname".into()).or_insert_with(|| format!("CT{vmid}").into());
                if disks.is_empty() {
                    let storage = params.text("storage").unwrap_or_else(|| "local".to_owned());
                    disks.extend(self.wanted_disk(&world, "rootfs", &format!("{storage}:4"))?);
                }
            }
        }
        // Until every disk is there: a placeholder without a name or a mark.
        let mut guest = Guest::new(vmid, kind, node);
        guest.config.insert("lock".into(), "create".into());
        guest.pool = params.text("pool");
        if guest.pool.as_ref().is_some_and(|pool| !world.pools.contains_key(pool)) {
            return fail(format!("pool '{}' does not exist", guest.pool.unwrap_or_default()));
        }
        world.guests.insert(vmid, guest);
        drop(world);
        let archive = params.text("ostemplate");
        let node_name = node.to_owned();
        self.spawn(node, &kind.task("create"), &vmid.to_string(), &caller.user, move |shared, _| async move {
            let result = shared.build(&node_name, vmid, config, disks, archive).await;
            match result {
                Ok(log) => Done::ok(log),
                Err(reason) => {
                    shared.world().guests.remove(&vmid);
                    let label = if kind == Kind::Qemu { "VM" } else { "CT" };
                    Done::failed(Vec::new(), format!("unable to create {label} {vmid} - {reason}"))
                }
            }
        })
    }

    async fn build(
        &self,
        node: &str,
        vmid: u64,
        mut config: Config,
        disks: Vec<Wanted>,
        archive: Option<String>,
    ) -> Result<Vec<String>, String> {
        let mut log = Vec::new();
        for (index, disk) in disks.iter().enumerate() {
            let volume = self.allocate(node, vmid, index, disk).await?;
            match &disk.base {
                Some(base) => {
                    log.push(format!("create full clone of drive ({base})"));
                    log.push(format!(
                        "allocated target volume '{}'",
                        volume.split(',').next().unwrap_or_default()
                    ));
                }
                None => log.push(format!("{}: successfully created disk '{volume}'", disk.key)),
            }
            config.insert(disk.key.clone(), volume.into());
        }
        if let Some(archive) = archive {
            let storage = archive.split(':').next().unwrap_or_default().to_owned();
            let there = self
                .world()
                .storages
                .get(&storage)
                .is_some_and(|storage| storage.files.iter().any(|(id, ..)| *id == archive));
            if !there {
                return Err(format!("volume '{archive}' does not exist"));
            }
        }
        self.clock.sleep(self.times().create).await;
        let mut world = self.world();
        match world.guests.get_mut(&vmid) {
            Some(guest) => guest.config = config,
            None => return Err("the placeholder is gone".to_owned()),
        }
        Ok(log)
    }
}

/// Kept for the durations' documentation: what an allocation and a copy take unless told.
pub(crate) const DEFAULT_TIMES: crate::Times =
    crate::Times { allocation: ALLOCATION, copy: COPY, create: 0.5, quick: 0.5, power: 1.0, agent: 0.0 };

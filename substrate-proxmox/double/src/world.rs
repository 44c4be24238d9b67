//! What there is: nodes, guests, storages, tasks, users.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::RwLock;

use crate::agent::Exec;
use crate::network::NodeNetwork;
use crate::params::text_of;

pub(crate) type Config = BTreeMap<String, Value>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Qemu,
    Lxc,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Lxc => "lxc",
        }
    }

    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-server",
            Self::Lxc => "lxc",
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Qemu => "VM",
            Self::Lxc => "CT",
        }
    }

    /// The prefix of the names of its tasks.
    pub(crate) fn task(self, word: &str) -> String {
        match self {
            Self::Qemu => format!("qm{word}"),
            Self::Lxc => format!("vz{word}"),
        }
    }

    pub(crate) fn name_key(self) -> &'static str {
        match self {
            Self::Qemu => "name",
            Self::Lxc => "hostname",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Snap {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) vmstate: bool,
    pub(crate) time: u64,
    pub(crate) description: String,
    pub(crate) parent: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) vmid: u64,
    pub(crate) kind: Kind,
    pub(crate) node: String,
    pub(crate) config: Config,
    /// Changes that wait for the next start; nothing = removed.
    pub(crate) pending: BTreeMap<String, Option<Value>>,
    pub(crate) running: bool,
    pub(crate) paused: bool,
    pub(crate) started: f64,
    pub(crate) pid: u64,
    pub(crate) agent_from: f64,
    pub(crate) deaf: bool,
    pub(crate) managed: bool,
    pub(crate) snapshots: Vec<Snap>,
    pub(crate) parent: Option<String>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) execs: HashMap<i64, Exec>,
    pub(crate) pool: Option<String>,
}

impl Guest {
    pub(crate) fn new(vmid: u64, kind: Kind, node: &str) -> Self {
        Self {
            vmid,
            kind,
            node: node.to_owned(),
            config: Config::new(),
            pending: BTreeMap::new(),
            running: false,
            paused: false,
            started: 0.0,
            pid: 0,
            agent_from: 0.0,
            deaf: false,
            managed: false,
            snapshots: Vec::new(),
            parent: None,
            files: BTreeMap::new(),
            execs: HashMap::new(),
            pool: None,
        }
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.config.get(key).and_then(text_of)
    }

    pub(crate) fn name(&self) -> String {
        self.text(self.kind.name_key()).unwrap_or_else(|| match self.kind {
            Kind::Qemu => format!("VM {}", self.vmid),
            Kind::Lxc => format!("CT{}", self.vmid),
        })
    }

    pub(crate) fn lock(&self) -> Option<String> {
        self.text("lock")
    }

    pub(crate) fn is_template(&self) -> bool {
        self.text("template").as_deref() == Some("1")
    }

    /// What the text of its configuration file would hash to.
    pub(crate) fn digest(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.config {
            text.push_str(&format!("{key}: {value}\n"));
        }
        for (key, value) in &self.pending {
            text.push_str(&format!("pending {key}: {value:?}\n"));
        }
        for snapshot in &self.snapshots {
            text.push_str(&format!("[{}]{}\n", snapshot.name, snapshot.description));
        }
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its disks: key, volume, size.
    pub(crate) fn disks(&self) -> Vec<(String, String, u64)> {
        disks_of(&self.config)
    }

    pub(crate) fn max_disk(&self) -> u64 {
        let boot = if self.kind == Kind::Lxc { "rootfs" } else { "scsi0" };
        self.disks().iter().find(|(key, ..)| key == boot).map_or(0, |(_, _, size)| *size)
    }

    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.text(key)?.parse().ok()
    }

    pub(crate) fn cpus(&self) -> u64 {
        let default = if self.kind == Kind::Lxc { 2.0 } else { 1.0 };
        (self.number("cores").unwrap_or(default) * self.number("sockets").unwrap_or(1.0)) as u64
    }

    pub(crate) fn max_memory(&self) -> u64 {
        (self.number("memory").unwrap_or(512.0) as u64) << 20
    }
}

pub(crate) fn disks_of(config: &Config) -> Vec<(String, String, u64)> {
    let mut disks = Vec::new();
    for (key, value) in config {
        let is_disk = ["scsi", "virtio", "sata", "ide", "mp"].iter().any(|bus| {
            key.strip_prefix(bus)
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        }) || key == "rootfs";
        let Some(text) = text_of(value).filter(|_| is_disk) else { continue };
        if text.contains("media=cdrom") {
            continue;
        }
        let volume = text.split(',').next().unwrap_or_default().to_owned();
        let size = text.split(',').find_map(|part| part.strip_prefix("size=")).map_or(0, bytes);
        disks.push((key.clone(), volume, size));
    }
    disks
}

pub(crate) fn bytes(text: &str) -> u64 {
    let (digits, factor) = match text.chars().last() {
        Some('K') => (&text[..text.len() - 1], 1 << 10),
        Some('M') => (&text[..text.len() - 1], 1 << 20),
        Some('G') => (&text[..text.len() - 1], 1 << 30),
        Some('T') => (&text[..text.len() - 1], 1_u64 << 40),
        _ => (text, 1),
    };
    (digits.parse::<f64>().unwrap_or_default() * factor as f64) as u64
}

pub(crate) fn size_text(bytes: u64) -> String {
    if bytes % (1 << 30) == 0 {
        format!("{}G", bytes >> 30)
    } else if bytes % (1 << 20) == 0 {
        format!("{}M", bytes >> 20)
    } else {
        format!("{}K", bytes >> 10)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) upid: String,
    pub(crate) node: String,
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) pid: u64,
    pub(crate) pstart: u64,
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
    pub(crate) exit: Option<String>,
    pub(crate) log: Vec<String>,
    pub(crate) order: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Storage {
    pub(crate) kind: &'static str,
    pub(crate) content: &'static str,
    pub(crate) shared: bool,
    /// Files that are there: volume, content, size.
    pub(crate) files: Vec<(String, String, u64)>,
}

/// A disk that is not named after a guest that there is.
#[derive(Debug, Clone)]
pub(crate) struct Orphan {
    pub(crate) size: u64,
    pub(crate) vmid: u64,
    /// Where it lies; anywhere when left out.
    pub(crate) node: Option<String>,
}

/// What is applied, and what is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Planned {
    pub(crate) applied: BTreeMap<String, Value>,
    pub(crate) planned: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) password: String,
    pub(crate) second_factor: bool,
}

/// What the cluster's gossip says of a guest.
#[derive(Debug, Clone)]
pub(crate) struct Gossip {
    pub(crate) name: String,
    pub(crate) status: &'static str,
    pub(crate) template: bool,
    pub(crate) kind: Kind,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    /// Node → whether it is up.
    pub(crate) nodes: BTreeMap<String, bool>,
    pub(crate) guests: BTreeMap<u64, Guest>,
    pub(crate) storages: BTreeMap<String, Storage>,
    /// Disks that are not named after a guest that there is.
    pub(crate) orphans: BTreeMap<String, Orphan>,
    pub(crate) networks: BTreeMap<String, NodeNetwork>,
    /// Virtual networks.
    pub(crate) vnets: Planned,
    pub(crate) tasks: BTreeMap<String, Task>,
    pub(crate) users: BTreeMap<String, User>,
    /// `user@realm!name` → secret.
    pub(crate) tokens: BTreeMap<String, String>,
    /// Ticket → user, issued at.
    pub(crate) tickets: HashMap<String, (String, f64)>,
    pub(crate) csrf: HashSet<String>,
    pub(crate) pools: BTreeMap<String, String>,
    pub(crate) gossip: HashMap<u64, Gossip>,
    pub(crate) gossiped: f64,
    pub(crate) next: u64,
    /// The flocks of configurations and storages.
    pub(crate) locks: HashMap<String, Arc<RwLock<()>>>,
    pub(crate) quorate: bool,
    /// Kinds of tasks that end with warnings.
    pub(crate) warned: HashSet<String>,
    /// What was recorded of guests, minute by minute.
    pub(crate) records: HashMap<u64, Value>,
}

impl World {
    pub(crate) fn counter(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn mac(&mut self) -> String {
        let number = self.counter();
        format!("BC:24:11:{:02X}:{:02X}:{:02X}", number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff)
    }

    pub(crate) fn uuid(&mut self) -> String {
        let number = self.counter();
        format!("446df820-e2ff-4392-ae83-{number:012x}")
    }

    pub(crate) fn flock(&mut self, key: String) -> Arc<RwLock<()>> {
        self.locks.entry(key).or_default().clone()
    }

    pub(crate) fn refresh_gossip(&mut self, now: f64, lag: f64) {
        if now - self.gossiped < lag {
            return;
        }
        self.gossiped = now;
        self.gossip = self
            .guests
            .values()
            .filter(|guest| self.nodes.get(&guest.node).copied().unwrap_or(false))
            .map(|guest| {
                let status = if guest.running { "running" } else { "stopped" };
                let gossip =
                    Gossip { name: guest.name(), status, template: guest.is_template(), kind: guest.kind };
                (guest.vmid, gossip)
            })
            .collect();
    }
}

/// The configuration of a guest as GET gives it.
pub(crate) fn rendered(guest: &Guest, config: &Config, current: bool) -> Value {
    let mut fields: Map<String, Value> = config.clone().into_iter().collect();
    if !current {
        for (key, value) in &guest.pending {
            match value {
                Some(value) => drop(fields.insert(key.clone(), value.clone())),
                None => drop(fields.remove(key)),
            }
        }
    }
    // A container's notes end in a line end, whatever was given.
    if guest.kind == Kind::Lxc
        && let Some(Value::String(text)) = fields.get_mut("description")
    {
        text.push('\n');
    }
    fields.insert("digest".to_owned(), json!(guest.digest()));
    Value::Object(fields)
}

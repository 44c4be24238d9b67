//! A guest, as its configuration and its state describe it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use substrate_core::{
    Error, Instance, InstanceKind, InstanceName, InstanceState, Labels, NetworkAttachment, NetworkName,
    Result,
};

use super::limits;
use super::notes::{self, Marks};
use super::property::Properties;
use super::text::{Fields, integer, number, text};

/// The two sorts of guests. They differ in paths, in words, and in what they can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum GuestKind {
    Qemu,
    Lxc,
}

impl GuestKind {
    /// The word in paths and lists.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Lxc => "lxc",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "qemu" => Some(Self::Qemu),
            "lxc" => Some(Self::Lxc),
            _ => None,
        }
    }

    pub(crate) const fn instance_kind(self) -> InstanceKind {
        match self {
            Self::Qemu => InstanceKind::VirtualMachine,
            Self::Lxc => InstanceKind::Container,
        }
    }

    pub(crate) fn of(kind: InstanceKind) -> Option<Self> {
        match kind {
            InstanceKind::VirtualMachine => Some(Self::Qemu),
            InstanceKind::Container => Some(Self::Lxc),
            _ => None,
        }
    }

    /// The parameter that holds the name.
    pub(crate) const fn name_key(self) -> &'static str {
        match self {
            Self::Qemu => "name",
            Self::Lxc => "hostname",
        }
    }

    /// The name of a guest that has none, as the API shows it.
    pub(crate) fn nameless(self, vmid: u64) -> String {
        match self {
            Self::Qemu => format!("VM {vmid}"),
            Self::Lxc => format!("CT{vmid}"),
        }
    }
}

/// Where a guest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) vmid: u64,
    pub(crate) kind: GuestKind,
    pub(crate) node: String,
}

/// A guest at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) vmid: u64,
    pub(crate) kind: GuestKind,
    pub(crate) node: String,
    pub(crate) config: Fields,
    pub(crate) status: Fields,
    /// When it was started, as far as that can be told.
    pub(crate) started: Option<SystemTime>,
    pub(crate) addresses: Vec<IpAddr>,
    /// What the networks of its bridges are called that have another name.
    pub(crate) network_names: BTreeMap<String, String>,
}

impl Guest {
    pub(crate) fn place(&self) -> Place {
        Place { vmid: self.vmid, kind: self.kind, node: self.node.clone() }
    }

    /// The name, unless the configuration is still a placeholder.
    pub(crate) fn name(&self) -> String {
        text(&self.config, self.kind.name_key()).unwrap_or_else(|| self.kind.nameless(self.vmid))
    }

    pub(crate) fn lock(&self) -> Option<String> {
        text(&self.config, "lock").or_else(|| text(&self.status, "lock"))
    }

    /// Being made: its configuration is not its last one.
    pub(crate) fn is_being_made(&self) -> bool {
        matches!(self.lock().as_deref(), Some("create" | "clone"))
    }

    /// A placeholder that another guest is to take.
    pub(crate) fn is_placeholder(&self) -> bool {
        self.is_being_made() && text(&self.config, self.kind.name_key()).is_none()
    }

    pub(crate) fn is_template(&self) -> bool {
        number(&self.config, "template").is_some_and(|template| template != 0.0)
    }

    pub(crate) fn is_managed_by_ha(&self) -> bool {
        self.status.get("ha").and_then(Value::as_object).is_some_and(|ha| number(ha, "managed") == Some(1.0))
    }

    pub(crate) fn digest(&self) -> Option<String> {
        text(&self.config, "digest")
    }

    pub(crate) fn state(&self) -> InstanceState {
        if self.is_being_made() {
            return InstanceState::Creating;
        }
        match text(&self.status, "status").as_deref() {
            Some("running") => match text(&self.status, "qmpstatus").as_deref() {
                Some("paused" | "prelaunch" | "suspended") => InstanceState::Paused,
                Some("io-error" | "internal-error" | "guest-panicked") => InstanceState::Failed,
                Some("shutdown") => InstanceState::Stopping,
                _ => InstanceState::Running,
            },
            Some("stopped") => InstanceState::Stopped,
            _ => InstanceState::Unknown,
        }
    }

    /// Whether there is a process of it, paused or not.
    pub(crate) fn runs(&self) -> bool {
        text(&self.status, "status").as_deref() == Some("running")
    }

    fn provider_state(&self) -> String {
        let status = text(&self.status, "status").unwrap_or_else(|| "unknown".to_owned());
        let detail = text(&self.status, "qmpstatus").filter(|detail| *detail != status);
        let lock = self.lock().map(|lock| format!("locked: {lock}"));
        let unfinished = self
            .marks()
            .and_then(|marks| marks.unfinished)
            .map(|_| "its creation was not finished: a start does that".to_owned());
        let notes: Vec<String> = [detail, lock, unfinished].into_iter().flatten().collect();
        if notes.is_empty() { status } else { format!("{status} ({})", notes.join(", ")) }
    }

    pub(crate) fn description(&self) -> String {
        text(&self.config, "description").unwrap_or_default()
    }

    /// Our marks, if they are this guest's: copied ones are nobody's.
    pub(crate) fn marks(&self) -> Option<Marks> {
        notes::read(&self.description()).1.filter(|marks| marks.vmid == self.vmid)
    }

    /// What stays the same as long as it is the same guest, whatever is changed about it.
    pub(crate) fn identity(&self) -> String {
        match self.marks() {
            Some(marks) => marks.nonce,
            // A container has nothing of the kind; its name and its devices' addresses come nearest.
            None => ["smbios1", "vmgenid", "meta", "net0", "rootfs"]
                .iter()
                .find_map(|key| text(&self.config, key))
                .unwrap_or_else(|| self.name()),
        }
    }

    /// Its network devices in order.
    pub(crate) fn nets(&self) -> impl Iterator<Item = (String, Properties)> + '_ {
        numbered(&self.config, "net")
    }

    /// Its first disk and the size of that.
    pub(crate) fn root_disk(&self) -> Option<(String, u64)> {
        let size = |properties: &Properties| properties.get("size").and_then(limits::size_in_bytes);
        if self.kind == GuestKind::Lxc {
            let disk = Properties::parse(&text(&self.config, "rootfs")?);
            return Some(("rootfs".to_owned(), size(&disk)?));
        }
        let boot = text(&self.config, "boot").unwrap_or_default();
        let order = boot.strip_prefix("order=").unwrap_or_default().split(';').map(str::to_owned);
        let disks = ["scsi", "virtio", "sata", "ide"]
            .into_iter()
            .flat_map(|bus| numbered(&self.config, bus).map(|(key, _)| key));
        order.chain(disks).find_map(|key| {
            let disk = Properties::parse(&text(&self.config, &key)?);
            let is_disk = !key.starts_with("net") && disk.get("media") != Some("cdrom");
            is_disk.then_some(())?;
            Some((key, size(&disk)?))
        })
    }

    fn networks(&self) -> Vec<NetworkAttachment> {
        let mut attachments = Vec::new();
        for (key, net) in self.nets() {
            let Some((bridge, tag)) = super::network::place_of(&net) else { continue };
            let name = self.network_names.get(bridge).map_or(bridge, String::as_str);
            let name = tag.map_or_else(|| name.to_owned(), |tag| format!("{name}.{tag}"));
            let Ok(network_name) = NetworkName::new(name) else { continue };
            let address = match self.kind {
                GuestKind::Lxc => net.get("ip").or(net.get("ip6")).map(str::to_owned),
                GuestKind::Qemu => {
                    let index = key.trim_start_matches("net");
                    let place = text(&self.config, &format!("ipconfig{index}")).unwrap_or_default();
                    let place = Properties::parse(&place);
                    place.get("ip").or(place.get("ip6")).map(str::to_owned)
                }
            };
            let mac = match self.kind {
                GuestKind::Lxc => net.get("hwaddr").map(str::to_owned),
                GuestKind::Qemu => net
                    .get("macaddr")
                    .map(str::to_owned)
                    .or_else(|| net.first().map(|(_, mac)| mac.to_owned()).filter(|mac| mac.contains(':'))),
            };
            attachments.push(NetworkAttachment {
                network_name,
                ip_address: address.as_deref().and_then(address_of),
                mac_address: mac,
            });
        }
        attachments
    }

    pub(crate) fn id(&self) -> String {
        id_of(self.vmid, self.marks().as_ref())
    }

    /// The contract's view of it.
    pub(crate) fn instance(&self) -> Result<Instance> {
        let name = InstanceName::new(self.name())
            .map_err(|error| Error::protocol(format!("guest {}: {}", self.vmid, error.message())))?;
        let mut instance = Instance::new(self.id(), name, self.kind.instance_kind(), self.state());
        let marks = self.marks().unwrap_or_default();
        instance.provider_state = self.provider_state();
        instance.networks = self.networks();
        instance.addresses = instance
            .networks
            .iter()
            .filter_map(|attachment| attachment.ip_address)
            .chain(self.addresses.iter().copied())
            .collect();
        instance.addresses.sort();
        instance.addresses.dedup();
        instance.limits = limits::of(self);
        instance.created_at = marks.created.or_else(|| self.created()).map(time);
        instance.started_at = self.started;
        instance.image = marks.image;
        instance.labels = marks.labels;
        instance.metadata = marks.metadata;
        let properties = &mut instance.properties;
        properties.insert("node".to_owned(), self.node.clone().into());
        properties.insert("vmid".to_owned(), self.vmid.into());
        let description = self.description();
        let own = notes::read(&description).0.trim_end_matches('\n');
        for (key, value) in [
            ("description", Some(own.to_owned()).filter(|own| !own.is_empty())),
            ("tags", text(&self.config, "tags")),
            ("lock", self.lock()),
        ] {
            if let Some(value) = value {
                properties.insert(key.to_owned(), value.into());
            }
        }
        if self.is_managed_by_ha() {
            properties.insert("ha_managed".to_owned(), true.into());
        }
        Ok(instance)
    }

    /// When a machine was created; a clone's says when its source was.
    fn created(&self) -> Option<u64> {
        Properties::parse(&text(&self.config, "meta")?).get("ctime")?.parse().ok()
    }
}

/// The immutable id: the number alone is given to another guest as soon as this one is gone.
pub(crate) fn id_of(vmid: u64, marks: Option<&Marks>) -> String {
    match marks {
        Some(marks) => format!("{vmid}.{}", marks.nonce),
        None => vmid.to_string(),
    }
}

/// Reads an id: the number, and which of the guests that ever had it.
pub(crate) fn read_id(text: &str) -> Option<(u64, Option<&str>)> {
    let (number, nonce) = match text.split_once('.') {
        Some((number, nonce)) => (number, Some(nonce)),
        None => (text, None),
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    plain.then(|| number.parse().ok()).flatten().map(|vmid| (vmid, nonce))
}

/// The last second that a document can write. A number behind it is no time, but the end of all times is in order.
const LAST_SECOND: u64 = 253_402_300_799;

pub(crate) fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND))
}

pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn address_of(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

/// `net0`, `net1`, … in order of their numbers.
pub(crate) fn numbered(config: &Fields, word: &str) -> impl Iterator<Item = (String, Properties)> + use<> {
    let mut found: Vec<(u32, String, Properties)> = config
        .keys()
        .filter_map(|key| {
            let number = key.strip_prefix(word)?.parse().ok()?;
            Some((number, key.clone(), Properties::parse(&text(config, key)?)))
        })
        .collect();
    found.sort_by_key(|(number, ..)| *number);
    found.into_iter().map(|(_, key, properties)| (key, properties))
}

/// Labels of a filter, as far as marks can answer.
pub(crate) fn labels(marks: Option<&Marks>) -> Labels {
    marks.map(|marks| marks.labels.clone()).unwrap_or_default()
}

/// Seconds since a guest's start, where it runs.
pub(crate) fn uptime(status: &Fields) -> Option<u64> {
    integer(status, "uptime").filter(|_| text(status, "status").as_deref() == Some("running"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guest(config: Value, status: Value) -> Guest {
        let object = |value: Value| value.as_object().cloned().unwrap();
        Guest {
            vmid: 100,
            kind: GuestKind::Qemu,
            node: "pve".into(),
            config: object(config),
            status: object(status),
            started: None,
            addresses: Vec::new(),
            network_names: BTreeMap::new(),
        }
    }

    #[test]
    fn a_real_machine_is_read() {
        let guest = guest(
            json!({"cores":1,"description":"hello\nworld é","memory":"256","scsi0":"local:100/vm-100-disk-0.qcow2,size=1G",
                "name":"vm1","scsihw":"virtio-scsi-single","tags":"a;b","digest":"38bb","meta":"creation-qemu=10.0.2,ctime=1795219127",
                "agent":"1","net0":"virtio=BC:24:11:1C:A8:0C,bridge=vmbr0","boot":"order=scsi0;net0","ipconfig0":"ip=10.0.0.5/24"}),
            json!({"status":"running","qmpstatus":"paused","ha":{"managed":0}}),
        );
        let instance = guest.instance().unwrap();
        assert_eq!((instance.id.as_str(), instance.name.as_str()), ("100", "vm1"));
        assert_eq!(instance.state, InstanceState::Paused);
        assert_eq!(instance.limits.memory_mb, Some(256));
        assert_eq!(instance.limits.disk_gb, Some(1));
        assert_eq!(instance.created_at, Some(time(1_795_219_127)));
        assert_eq!(instance.networks[0].mac_address.as_deref(), Some("BC:24:11:1C:A8:0C"));
        assert_eq!(instance.networks[0].ip_address, Some("10.0.0.5".parse().unwrap()));
        assert_eq!(instance.properties["description"], "hello\nworld é");
        assert!(!guest.is_managed_by_ha());
    }

    #[test]
    fn copied_marks_are_nobodys() {
        let marks = Marks { vmid: 99, nonce: "n".into(), ..Marks::default() };
        let copied = guest(json!({"description": notes::write("", &marks).unwrap()}), json!({}));
        assert_eq!(copied.marks(), None);
        assert_eq!(copied.id(), "100");
    }

    #[test]
    fn a_placeholder_is_being_made() {
        let made = guest(json!({"lock": "create"}), json!({"status": "stopped"}));
        assert!(made.is_placeholder());
        assert_eq!(made.state(), InstanceState::Creating);
    }

    #[test]
    fn ids_are_read_and_nothing_else() {
        assert_eq!(read_id("100"), Some((100, None)));
        assert_eq!(read_id("100.ab"), Some((100, Some("ab"))));
        for wrong in ["", "0100", "1e2", "+1", "web", "99999999999999999999999"] {
            assert_eq!(read_id(wrong), None, "{wrong}");
        }
    }
}

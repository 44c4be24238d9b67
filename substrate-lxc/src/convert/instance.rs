//! Instances.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use substrate_core::{
    Instance, InstanceKind, InstanceName, InstanceState, NetworkAttachment, NetworkName, Result,
};

use super::limits::{self, Device};
use super::{labels, time};
use crate::name::network_of;

/// The key of an instance's immutable id.
const UUID: &str = "volatile.uuid";
/// The server's own note: `RUNNING` from a start on, `STOPPED` once its hooks have seen the end of the guest.
const LAST_POWER: &str = "volatile.last_state.power";
/// The fingerprint of the image that it was made from.
const BASE_IMAGE: &str = "volatile.base_image";

/// An instance as the servers describe it. What profiles add is in the expanded parts: they are the truth.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Document {
    pub(crate) name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    status_code: u16,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    last_used_at: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    project: Option<String>,
    #[serde(default)]
    ephemeral: bool,
    #[serde(default)]
    pub(crate) profiles: Option<Vec<String>>,
    #[serde(default)]
    config: Option<Keys>,
    #[serde(default)]
    pub(crate) devices: Option<BTreeMap<String, Device>>,
    #[serde(default)]
    expanded_config: Option<Keys>,
    #[serde(default)]
    expanded_devices: Option<BTreeMap<String, Device>>,
}

/// Whether a machine can be saved with its memory.
pub(crate) const MIGRATION: &str = "migration.stateful";

/// The keys of a configuration that are read here. An instance has dozens of others, most of them the server's own
/// notes, and a list has them hundreds of times: they are passed over without being copied.
#[derive(Debug, Clone, Default)]
struct Keys(BTreeMap<String, String>);

impl Keys {
    fn is_read(key: &str) -> bool {
        key.starts_with("user.")
            || key.starts_with("limits.")
            || key == MIGRATION
            || key.strip_prefix("volatile.").is_some_and(|key| {
                matches!(key, "uuid" | "base_image" | "last_state.power") || key.ends_with(".hwaddr")
            })
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;

        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the keys of a configuration")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Keys, A::Error> {
                let mut keys = BTreeMap::new();
                while let Some(key) = entries.next_key::<Borrowed<'de>>()? {
                    if Keys::is_read(&key.0) {
                        keys.insert(key.0.into_owned(), entries.next_value()?);
                    } else {
                        entries.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(KeysVisitor)
    }
}

/// A text that stays where it was read, if it needs no unescaping.
#[derive(Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// What only a look inside tells.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct StateDocument {
    #[serde(default)]
    pub(crate) network: Option<BTreeMap<String, Interface>>,
    #[serde(default)]
    pub(crate) memory: Memory,
    #[serde(default)]
    pub(crate) cpu: Processor,
    #[serde(default)]
    pub(crate) disk: Option<BTreeMap<String, Disk>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Memory {
    #[serde(default)]
    pub(crate) usage: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Processor {
    #[serde(default)]
    pub(crate) usage: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Disk {
    #[serde(default)]
    pub(crate) usage: i64,
}

/// A network interface inside.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Interface {
    #[serde(default)]
    addresses: Option<Vec<Address>>,
    #[serde(default)]
    pub(crate) counters: Counters,
    #[serde(default)]
    hwaddr: String,
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Address {
    #[serde(default)]
    address: String,
    #[serde(default)]
    scope: String,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct Counters {
    #[serde(default)]
    pub(crate) bytes_received: i64,
    #[serde(default)]
    pub(crate) bytes_sent: i64,
}

impl Interface {
    pub(crate) fn is_loopback(&self) -> bool {
        self.kind == "loopback"
    }

    /// Its addresses, without those that mean something on its own link only.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .flatten()
            .filter(|address| address.scope == "global")
            .filter_map(|address| address.address.parse().ok())
    }
}

impl Document {
    pub(crate) fn state(&self) -> InstanceState {
        match self.status_code {
            // 113 is a running instance whose guest has said that it is ready.
            103 | 109 | 111 | 113 => InstanceState::Running,
            101 | 102 => InstanceState::Stopped,
            104 => InstanceState::Stopping,
            105 | 106 => InstanceState::Creating,
            110 => InstanceState::Paused,
            107 | 112 | 400 => InstanceState::Failed,
            _ => InstanceState::Unknown,
        }
    }

    /// Whether the server seems to be cleaning up behind a stop: what it shows and what it has noted differ. A note that
    /// an instance runs can also be left from before a crash of the host, or come from a snapshot.
    pub(crate) fn is_being_cleaned_up(&self) -> bool {
        let noted = self.own_configuration().get(LAST_POWER).map(String::as_str);
        match self.state() {
            InstanceState::Stopped => noted == Some("RUNNING"),
            InstanceState::Running => noted == Some("STOPPED"),
            _ => false,
        }
    }

    /// Whether the server deletes it when it stops.
    pub(crate) fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    pub(crate) fn kind(&self) -> InstanceKind {
        if self.kind == "virtual-machine" { InstanceKind::VirtualMachine } else { InstanceKind::Container }
    }

    /// The immutable id; the name where an old server keeps none.
    pub(crate) fn id(&self) -> &str {
        self.configuration().get(UUID).map_or(self.name.as_str(), String::as_str)
    }

    /// The configuration with what profiles add.
    pub(crate) fn configuration(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.expanded_config.as_ref().or(self.config.as_ref()).map_or(&NONE, |keys| &keys.0)
    }

    /// Whether its memory can be saved: a machine that was set up for it.
    pub(crate) fn keeps_memory(&self) -> bool {
        // As the servers read a truth.
        let is_true = |value: &String| matches!(value.to_lowercase().as_str(), "true" | "1" | "yes" | "on");
        self.kind() == InstanceKind::VirtualMachine
            && self.configuration().get(MIGRATION).is_some_and(is_true)
    }

    /// The instance's own configuration: labels of a profile are not an instance's.
    pub(crate) fn own_configuration(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.config.as_ref().map_or(&NONE, |keys| &keys.0)
    }

    /// The devices with what profiles add.
    pub(crate) fn all_devices(&self) -> &BTreeMap<String, Device> {
        static NONE: BTreeMap<String, Device> = BTreeMap::new();
        self.expanded_devices.as_ref().or(self.devices.as_ref()).unwrap_or(&NONE)
    }

    /// The devices that are in a network, with the bridge of each.
    pub(crate) fn nics(&self) -> impl Iterator<Item = (&str, &Device, &str)> {
        self.all_devices().iter().filter(|(_, device)| limits::is_nic(device)).filter_map(|(name, device)| {
            let bridge = device.get("network").or_else(|| device.get("parent"))?;
            Some((name.as_str(), device, bridge.as_str()))
        })
    }

    /// The device by which it is in a network.
    pub(crate) fn nic_on(&self, bridge: &str) -> Option<(&str, &Device)> {
        self.nics().find(|(_, _, on)| *on == bridge).map(|(name, device, _)| (name, device))
    }

    fn hardware_address<'a>(&'a self, name: &str, device: &'a Device) -> Option<&'a str> {
        let volatile = || self.configuration().get(&format!("volatile.{name}.hwaddr"));
        device.get("hwaddr").or_else(volatile).map(String::as_str)
    }

    fn attachments(&self, inside: Option<&StateDocument>) -> Vec<NetworkAttachment> {
        let interfaces =
            || inside.into_iter().filter_map(|state| state.network.as_ref()).flat_map(BTreeMap::values);
        self.nics()
            .filter_map(|(name, device, bridge)| {
                let network_name = NetworkName::new(network_of(name, bridge)).ok()?;
                let mac_address = self.hardware_address(name, device).map(str::to_owned);
                let fixed = device.get("ipv4.address").or_else(|| device.get("ipv6.address"));
                let found = || {
                    let own = |interface: &&Interface| Some(&interface.hwaddr) == mac_address.as_ref();
                    let addresses: Vec<IpAddr> = interfaces().find(own)?.addresses().collect();
                    addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
                };
                let ip_address = fixed.and_then(|address| address.parse().ok()).or_else(found);
                Some(NetworkAttachment { network_name, ip_address, mac_address })
            })
            .collect()
    }

    pub(crate) fn into_instance(self, inside: Option<&StateDocument>) -> Result<Instance> {
        let state = self.state();
        let mut instance =
            Instance::new(self.id().to_owned(), InstanceName::new(&self.name)?, self.kind(), state);
        instance.provider_state = self.status.clone();
        instance.networks = self.attachments(inside);
        instance.addresses = self.addresses(&instance.networks, inside);
        instance.labels = labels::read(self.own_configuration());
        instance.metadata = labels::metadata(self.own_configuration());
        instance.limits = limits::read(self.configuration(), self.all_devices());
        instance.image = [labels::IMAGE, BASE_IMAGE]
            .into_iter()
            .find_map(|key| self.own_configuration().get(key))
            .cloned();
        instance.created_at = time::parse(&self.created_at);
        instance.started_at = match state {
            InstanceState::Running | InstanceState::Paused => time::parse(&self.last_used_at),
            _ => None,
        };
        instance.properties = self.properties();
        Ok(instance)
    }

    /// The fixed ones and those found inside, each once.
    fn addresses(&self, networks: &[NetworkAttachment], inside: Option<&StateDocument>) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = networks.iter().filter_map(|network| network.ip_address).collect();
        let interfaces =
            inside.into_iter().filter_map(|state| state.network.as_ref()).flat_map(BTreeMap::values);
        for address in interfaces.filter(|interface| !interface.is_loopback()).flat_map(Interface::addresses)
        {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    fn properties(&self) -> Map<String, Value> {
        let mut properties = Map::new();
        let mut add = |key: &str, value: Value| {
            properties.insert(key.to_owned(), value);
        };
        add("profiles", self.profiles.clone().unwrap_or_default().into());
        add("architecture", self.architecture.clone().into());
        if let Some(project) = &self.project {
            add("project", project.clone().into());
        }
        if !self.location.is_empty() && self.location != "none" {
            add("location", self.location.clone().into());
        }
        if self.ephemeral {
            add("ephemeral", true.into());
        }
        if let Some(fingerprint) = self.own_configuration().get(BASE_IMAGE) {
            add("image_fingerprint", fingerprint.clone().into());
        }
        properties
    }
}

/// The server's number for a state that it can filter by in words.
pub(crate) fn status_condition(state: InstanceState) -> Option<&'static str> {
    match state {
        InstanceState::Stopped => Some("status eq Stopped"),
        InstanceState::Paused => Some("status eq Frozen"),
        // A running one may also be called ready.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Incus 6.0 answered, shortened.
    fn document() -> Document {
        serde_json::from_value(serde_json::json!({
            "name": "web", "type": "container", "status": "Running", "status_code": 103,
            "created_at": "2026-11-21T06:42:48.153435267Z", "last_used_at": "2026-11-21T06:44:29.094287461Z",
            "architecture": "x86_64", "location": "none", "project": "default", "profiles": ["default"],
            "config": {"user.role": "web", "volatile.uuid": "86bb09bf-7633-4c7e-80b3-20a2a45438c8",
                       "volatile.base_image": "f306", "volatile.eth0.hwaddr": "10:66:6a:67:36:65"},
            "devices": {},
            "expanded_config": {"user.role": "web", "user.tier": "of the profile", "limits.memory": "96MiB",
                       "volatile.uuid": "86bb09bf-7633-4c7e-80b3-20a2a45438c8",
                       "volatile.eth0.hwaddr": "10:66:6a:67:36:65"},
            "expanded_devices": {"eth0": {"type": "nic", "network": "incusbr0", "name": "eth0"},
                       "root": {"type": "disk", "path": "/", "pool": "default"}}
        }))
        .unwrap()
    }

    fn inside() -> StateDocument {
        serde_json::from_value(serde_json::json!({
            "network": {
                "eth0": {"hwaddr": "10:66:6a:67:36:65", "type": "broadcast", "addresses": [
                    {"address": "fe80::1", "scope": "link"}, {"address": "10.0.0.7", "scope": "global"}]},
                "lo": {"hwaddr": "", "type": "loopback", "addresses": [{"address": "127.0.0.1", "scope": "local"}]}
            },
            "memory": {"usage": 1}, "cpu": {"usage": 1}, "disk": null
        }))
        .unwrap()
    }

    #[test]
    fn an_instance_is_read_with_what_profiles_add() {
        let instance = document().into_instance(Some(&inside())).unwrap();
        assert_eq!(instance.id, "86bb09bf-7633-4c7e-80b3-20a2a45438c8");
        assert_eq!(instance.limits.memory_mb, Some(96));
        assert_eq!(instance.labels, [("role", "web")].into_iter().collect());
        assert_eq!(instance.image.as_deref(), Some("f306"));
        assert_eq!(instance.addresses, ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        let network = &instance.networks[0];
        assert_eq!(network.network_name, "incusbr0");
        assert_eq!(network.ip_address, Some("10.0.0.7".parse().unwrap()));
        assert_eq!(network.mac_address.as_deref(), Some("10:66:6a:67:36:65"));
        assert!(instance.started_at.is_some());
    }

    #[test]
    fn every_code_of_the_servers_is_a_state() {
        for (code, state) in [
            (102, InstanceState::Stopped),
            (103, InstanceState::Running),
            (113, InstanceState::Running),
            (104, InstanceState::Stopping),
            (106, InstanceState::Creating),
            (110, InstanceState::Paused),
            (112, InstanceState::Failed),
            (0, InstanceState::Unknown),
        ] {
            let document = Document { status_code: code, ..document() };
            assert_eq!(document.state(), state, "{code}");
        }
    }

    #[test]
    fn an_answer_without_the_optional_parts_is_read_too() {
        let document: Document = serde_json::from_str(r#"{"name": "a", "status_code": 102}"#).unwrap();
        let instance = document.into_instance(None).unwrap();
        assert_eq!((instance.id.as_str(), instance.started_at), ("a", None));
    }
}

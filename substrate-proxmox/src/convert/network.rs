//! Networks: bridges and virtual networks, and a VLAN of one as `vmbr0.20`.
//!
//! A bridge's own name has room for ten characters. So a network that is called otherwise gets a bridge whose name is
//! made from its own, always the same one: two creations of one network meet each other. What it is called is kept in
//! the bridge's comment.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use substrate_core::{Error, Labels, Network, NetworkName, Result};

use super::marks;
use super::property::Properties;
use super::subnet::Subnet;

/// What the names of our bridges begin with, and how many characters follow.
const BRIDGE_PREFIX: &str = "sb";
const BRIDGE_DIGITS: usize = 8;
/// A virtual network's name has room for eight.
const VNET_PREFIX: &str = "s";
const VNET_DIGITS: usize = 7;

/// What this crate keeps with a network that it made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkMarks {
    #[serde(rename = "n")]
    pub(crate) name: String,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(crate) subnet: Option<String>,
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<IpAddr>,
    #[serde(rename = "i", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) internal: bool,
    #[serde(rename = "l", default, skip_serializing_if = "Labels::is_empty")]
    pub(crate) labels: Labels,
}

/// A bridge or virtual network of a node.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Bridge {
    pub(crate) iface: String,
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    cidr: Option<String>,
    #[serde(default)]
    cidr6: Option<String>,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    pub(crate) comments: Option<String>,
    /// Set for those that are up: what is only planned is not.
    #[serde(default)]
    active: Value,
}

impl Bridge {
    /// What is kept with it, where it is one of ours.
    pub(crate) fn marks(&self) -> Option<NetworkMarks> {
        marks::read::<NetworkMarks>(self.comments.as_deref()?)
            .1
            .filter(|marks| is_bridge_of(&self.iface, &marks.name))
    }

    /// What it is called: its own name, unless it was made for a network with another one.
    pub(crate) fn name(&self) -> String {
        self.marks().map_or_else(|| self.iface.clone(), |marks| marks.name)
    }

    pub(crate) fn is_vnet(&self) -> bool {
        self.kind.as_deref() == Some("vnet")
    }

    pub(crate) fn is_active(&self) -> bool {
        match &self.active {
            Value::Bool(active) => *active,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => text != "0" && !text.is_empty(),
            _ => false,
        }
    }

    /// The subnets around its addresses, and the one that it was made for.
    pub(crate) fn subnets(&self) -> Vec<Subnet> {
        let own = self.marks().and_then(|marks| marks.subnet);
        let mut subnets: Vec<Subnet> = Vec::new();
        for subnet in self.cidr.iter().chain(&self.cidr6).chain(&own).filter_map(|cidr| Subnet::around(cidr))
        {
            if !subnets.contains(&subnet) {
                subnets.push(subnet);
            }
        }
        subnets
    }

    pub(crate) fn network(&self) -> Option<Network> {
        let marks = self.marks();
        let name = NetworkName::new(self.name()).ok()?;
        let driver = self.kind.as_deref().unwrap_or("bridge");
        let mut network = Network::new(&self.iface, name, driver);
        network.subnets = self.subnets().iter().map(ToString::to_string).collect();
        network.gateway = self.gateway.as_deref().and_then(|text| text.parse().ok());
        if let Some(marks) = marks {
            network.gateway = marks.gateway;
            network.internal = marks.internal;
            network.labels = marks.labels;
        }
        Some(network)
    }

    /// The length of the prefix that an address has on this bridge.
    pub(crate) fn prefix_length(&self, address: IpAddr) -> Option<u8> {
        self.subnets().into_iter().find(|subnet| subnet.contains(address)).map(Subnet::length)
    }
}

/// The name of the bridge of a network that is called so.
pub(crate) fn bridge_for(name: &str) -> String {
    if is_plain_bridge(name) { name.to_owned() } else { derived(BRIDGE_PREFIX, BRIDGE_DIGITS, name) }
}

/// The name of the virtual network for a network that is called so.
pub(crate) fn vnet_for(name: &str) -> String {
    derived(VNET_PREFIX, VNET_DIGITS, name)
}

fn is_bridge_of(iface: &str, name: &str) -> bool {
    iface == bridge_for(name) || iface == vnet_for(name)
}

/// Whether a bridge's name may be one that was made from a network's.
pub(crate) fn may_be_derived(iface: &str) -> bool {
    let rest = |prefix: &str, digits: usize| {
        iface.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() == digits
                && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
    };
    rest(BRIDGE_PREFIX, BRIDGE_DIGITS) || rest(VNET_PREFIX, VNET_DIGITS)
}

/// `vmbr7`, as people call bridges.
fn is_plain_bridge(name: &str) -> bool {
    name.strip_prefix("vmbr")
        .is_some_and(|rest| (1..=4).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A prefix, and as many digits of 36 of the name's hash.
fn derived(prefix: &str, digits: usize, name: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let mut rest = digest.as_ref().iter().take(8).fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    let mut text = prefix.to_owned();
    for _ in 0..digits {
        let digit = usize::try_from(rest % 36).ok().and_then(|index| DIGITS.get(index));
        text.extend(digit.map(|digit| char::from(*digit)));
        rest /= 36;
    }
    text
}

/// A network's name, and a VLAN on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    name: String,
    pub(crate) tag: Option<u16>,
}

impl Wanted {
    pub(crate) fn read(name: &NetworkName) -> Self {
        let text = name.as_str();
        match text.rsplit_once('.').map(|(base, tag)| (base, tag.parse())) {
            Some((base, Ok(tag @ 1..=4094))) if !base.is_empty() => {
                Self { name: base.to_owned(), tag: Some(tag) }
            }
            _ => Self { name: text.to_owned(), tag: None },
        }
    }

    /// The bridge that is meant.
    pub(crate) fn bridge_in<'a>(&self, bridges: &'a [Bridge]) -> Result<&'a Bridge> {
        bridges.iter().find(|bridge| bridge.name() == self.name).ok_or_else(|| {
            Error::not_found(format!("there is no network called `{}`", self.name.escape_debug()))
                .with_hint("name a bridge (`vmbr0`), a VLAN of one (`vmbr0.20`) or a virtual network")
        })
    }

    /// Whether a device is on it.
    pub(crate) fn is_of(&self, net: &Properties) -> bool {
        let tag = net.get("tag").and_then(|tag| tag.parse().ok());
        let on = |bridge| bridge == self.name || is_bridge_of(bridge, &self.name);
        net.get("bridge").is_some_and(on) && tag == self.tag
    }
}

/// The bridge that a device is on, and its VLAN.
pub(crate) fn place_of(net: &Properties) -> Option<(&str, Option<&str>)> {
    Some((net.get("bridge")?, net.get("tag")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(json: &str) -> Bridge {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_vlan_is_a_part_of_its_bridges_name() {
        let wanted = |text: &str| Wanted::read(&NetworkName::new(text).unwrap());
        assert_eq!(wanted("vmbr0"), Wanted { name: "vmbr0".into(), tag: None });
        assert_eq!(wanted("vmbr0.20"), Wanted { name: "vmbr0".into(), tag: Some(20) });
        let known = [bridge(r#"{"iface":"vmbr0"}"#)];
        assert!(wanted("vmbr0.20").bridge_in(&known).is_ok());
        for none in ["vmbr0.0", "vmbr0.x", "../vmbr0", "a,b", "a=b", ".5"] {
            assert!(wanted(none).bridge_in(&known).unwrap_err().is_not_found(), "{none}");
        }
    }

    #[test]
    fn a_bridges_address_tells_its_subnet_and_the_prefix_of_others() {
        let bridge = bridge(r#"{"iface":"vmbr0","type":"bridge","cidr":"10.1.2.3/24"}"#);
        assert_eq!(bridge.network().unwrap().subnets, ["10.1.2.0/24"]);
        assert_eq!(bridge.prefix_length("10.1.2.77".parse().unwrap()), Some(24));
        assert_eq!(bridge.prefix_length("10.1.3.77".parse().unwrap()), None);
    }

    #[test]
    fn a_network_of_any_name_has_a_bridge_that_linux_and_proxmox_can_call() {
        for name in ["a network with a very long name ☃", "web", "vmbr12345"] {
            let iface = bridge_for(name);
            assert!(iface.len() == 10 && may_be_derived(&iface), "{iface}");
            assert_eq!(iface, bridge_for(name));
            assert!(vnet_for(name).len() == 8 && may_be_derived(&vnet_for(name)));
        }
        assert_eq!(bridge_for("vmbr7"), "vmbr7");
        assert_ne!(bridge_for("a"), bridge_for("b"));
    }

    #[test]
    fn marks_on_another_bridge_are_a_copy_and_nobodys() {
        let marks = NetworkMarks { name: "web".into(), ..NetworkMarks::default() };
        let comments = marks::write("", &marks, 1_000).unwrap();
        let marked = |iface: &str| {
            let entry =
                serde_json::json!({"iface": iface, "type": "bridge", "comments": format!("{comments}\n")});
            serde_json::from_value::<Bridge>(entry).unwrap()
        };
        assert_eq!(marked(&bridge_for("web")).name(), "web");
        assert_eq!(marked("vmbr3").name(), "vmbr3");
    }
}

//! Networks: bridges and virtual networks, and a VLAN of one as `vmbr0.20`.

use std::net::IpAddr;

use serde::Deserialize;
use substrate_core::{Error, Network, NetworkName, Result};

use super::property::Properties;

/// A bridge or virtual network of a node.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Bridge {
    pub(crate) iface: String,
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) cidr: Option<String>,
    #[serde(default)]
    pub(crate) cidr6: Option<String>,
    #[serde(default)]
    pub(crate) gateway: Option<String>,
}

impl Bridge {
    fn subnets(&self) -> Vec<String> {
        self.cidr.iter().chain(&self.cidr6).filter_map(|cidr| subnet(cidr)).collect()
    }

    pub(crate) fn network(&self) -> Option<Network> {
        let name = NetworkName::new(&self.iface).ok()?;
        let driver = self.kind.as_deref().unwrap_or("bridge");
        let mut network = Network::new(&self.iface, name, driver);
        network.subnets = self.subnets();
        network.gateway = self.gateway.as_deref().and_then(|text| text.parse().ok());
        Some(network)
    }

    /// The length of the prefix that an address has on this bridge.
    pub(crate) fn prefix_length(&self, address: IpAddr) -> Option<u8> {
        self.cidr.iter().chain(&self.cidr6).find_map(|cidr| {
            let (base, length) = cidr.split_once('/')?;
            let length: u8 = length.parse().ok()?;
            let base: IpAddr = base.parse().ok()?;
            (masked(base, length)? == masked(address, length)?).then_some(length)
        })
    }
}

fn masked(address: IpAddr, length: u8) -> Option<(bool, u128)> {
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let rest = u32::checked_sub(width, u32::from(length))?;
    Some((address.is_ipv4(), bits.checked_shr(rest).unwrap_or(0)))
}

fn subnet(cidr: &str) -> Option<String> {
    let (base, length) = cidr.split_once('/')?;
    let base: IpAddr = base.parse().ok()?;
    let (_, bits) = masked(base, length.parse().ok()?)?;
    let length: u32 = length.parse().ok()?;
    Some(match base {
        IpAddr::V4(_) => {
            let bits = u32::try_from(bits).ok()?.checked_shl(32 - length).unwrap_or(0);
            format!("{}/{length}", std::net::Ipv4Addr::from_bits(bits))
        }
        IpAddr::V6(_) => {
            let bits = bits.checked_shl(128 - length).unwrap_or(0);
            format!("{}/{length}", std::net::Ipv6Addr::from_bits(bits))
        }
    })
}

/// A bridge, and a VLAN on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) bridge: String,
    pub(crate) tag: Option<u16>,
}

impl Wanted {
    pub(crate) fn read(name: &NetworkName) -> Result<Self> {
        let text = name.as_str();
        let plain = |bridge: &str| {
            let grammar = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if !bridge.is_empty() && bridge.len() <= 15 && bridge.bytes().all(grammar) {
                Ok(bridge.to_owned())
            } else {
                // No bridge can be called so: there is none.
                Err(Error::not_found(format!("there is no network called `{}`", text.escape_debug()))
                    .with_hint("name a bridge (`vmbr0`), a VLAN of one (`vmbr0.20`) or a virtual network"))
            }
        };
        match text.rsplit_once('.') {
            Some((bridge, tag)) => match tag.parse() {
                Ok(tag @ 1..=4094) => Ok(Self { bridge: plain(bridge)?, tag: Some(tag) }),
                _ => Err(Error::not_found(format!("there is no network called `{}`", text.escape_debug()))),
            },
            None => Ok(Self { bridge: plain(text)?, tag: None }),
        }
    }

    pub(crate) fn is_of(&self, net: &Properties) -> bool {
        let tag = net.get("tag").and_then(|tag| tag.parse().ok());
        net.get("bridge") == Some(&self.bridge) && tag == self.tag
    }
}

/// The name of the network that a device is on.
pub(crate) fn name_of(net: &Properties) -> Option<String> {
    let bridge = net.get("bridge")?;
    Some(match net.get("tag") {
        Some(tag) => format!("{bridge}.{tag}"),
        None => bridge.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_is_a_part_of_its_bridges_name() {
        let wanted = |text: &str| Wanted::read(&NetworkName::new(text).unwrap());
        assert_eq!(wanted("vmbr0").unwrap(), Wanted { bridge: "vmbr0".into(), tag: None });
        assert_eq!(wanted("vmbr0.20").unwrap(), Wanted { bridge: "vmbr0".into(), tag: Some(20) });
        for none in ["vmbr0.0", "vmbr0.x", "../vmbr0", "a,b", "a=b", "sc-1a2b3c-012-no-network"] {
            assert!(wanted(none).unwrap_err().is_not_found(), "{none}");
        }
    }

    #[test]
    fn a_bridges_address_tells_its_subnet_and_the_prefix_of_others() {
        let bridge: Bridge =
            serde_json::from_str(r#"{"iface":"vmbr0","type":"bridge","cidr":"10.1.2.3/24"}"#).unwrap();
        assert_eq!(bridge.network().unwrap().subnets, ["10.1.2.0/24"]);
        assert_eq!(bridge.prefix_length("10.1.2.77".parse().unwrap()), Some(24));
        assert_eq!(bridge.prefix_length("10.1.3.77".parse().unwrap()), None);
    }
}

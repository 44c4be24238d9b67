//! Networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;
use serde_json::{Value, json};
use substrate_core::{Error, Network, NetworkName, NetworkSpec, Result};

use super::labels;
use crate::name::bridge_of;
use crate::options::LxcNetworkOptions;

const ADDRESS: &str = "ipv4.address";
const ROUTING: &str = "ipv4.routing";

/// A network as the servers describe it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NetworkDocument {
    pub(crate) name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    pub(crate) managed: bool,
    #[serde(default)]
    config: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) used_by: Option<Vec<String>>,
}

impl NetworkDocument {
    fn text(&self, key: &str) -> Option<&str> {
        self.config.as_ref()?.get(key).map(String::as_str)
    }

    /// The name by which it was made.
    pub(crate) fn given_name(&self) -> &str {
        match self.text(labels::NETWORK) {
            Some(name) if bridge_of(name) == self.name => name,
            _ => &self.name,
        }
    }

    /// Its address with the length of its prefix.
    pub(crate) fn subnet(&self) -> Option<Subnet> {
        Subnet::parse(self.text(ADDRESS)?)
    }

    pub(crate) fn into_network(self) -> Result<Network> {
        let name = NetworkName::new(self.given_name())?;
        let mut network = Network::new(self.name.clone(), name, self.kind.clone());
        if let Some(subnet) = self.subnet() {
            network.gateway = Some(subnet.address.into());
            network.subnets.push(subnet.cidr());
        }
        if let Some((gateway, cidr)) = self.text("ipv6.address").and_then(six) {
            network.gateway = network.gateway.or(Some(gateway));
            network.subnets.push(cidr);
        }
        network.internal = self.text(ROUTING) == Some("false");
        network.labels = labels::read(self.config.as_ref().unwrap_or(&BTreeMap::new()));
        Ok(network)
    }
}

fn six(text: &str) -> Option<(IpAddr, String)> {
    let (address, length) = text.split_once('/')?;
    let address: std::net::Ipv6Addr = address.parse().ok()?;
    let length: u32 = length.parse().ok().filter(|length| *length <= 128)?;
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    let first = std::net::Ipv6Addr::from(u128::from(address) & mask);
    Some((address.into(), format!("{first}/{length}")))
}

/// A range of IPv4 addresses, written with one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) address: Ipv4Addr,
    length: u32,
}

impl Subnet {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let length = length.parse().ok().filter(|length| *length <= 32)?;
        Some(Self { address: address.parse().ok()?, length })
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - self.length).unwrap_or(0)
    }

    fn first(self) -> u32 {
        u32::from(self.address) & self.mask()
    }

    /// The range in CIDR form.
    pub(crate) fn cidr(self) -> String {
        format!("{}/{}", Ipv4Addr::from(self.first()), self.length)
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.first()
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(Ipv4Addr::from(other.first())) || other.contains(Ipv4Addr::from(self.first()))
    }

    /// The same range, written with its gateway: the one asked for, or the first address.
    fn with_gateway(self, gateway: Option<IpAddr>) -> Result<Self> {
        let address = match gateway {
            Some(IpAddr::V4(address)) if self.contains(address) => address,
            Some(other) => {
                return Err(Error::invalid_input(format!(
                    "the gateway {other} is no address of the subnet {}",
                    self.cidr()
                )));
            }
            None => Ipv4Addr::from(self.first().saturating_add(1)),
        };
        Ok(Self { address, ..self })
    }
}

/// The body of a create call, and the subnet that it asks for.
pub(crate) fn body(spec: &NetworkSpec, options: &LxcNetworkOptions) -> Result<(Value, Option<Subnet>)> {
    labels::check(&spec.labels)?;
    let mut config = options.config.clone();
    if let Some(key) = config.keys().find(|key| key.starts_with("user.") || *key == ADDRESS) {
        return Err(Error::invalid_input(format!(
            "the option `config` holds `{}`, which has a field of its own",
            key.escape_debug()
        )));
    }
    let subnet = match &spec.subnet {
        Some(text) => {
            let subnet = Subnet::parse(text).filter(|subnet| subnet.length <= 30).ok_or_else(|| {
                Error::invalid_input(format!("`{}` is no IPv4 subnet", text.escape_debug()))
                    .with_hint("write it as 10.1.0.0/24")
            })?;
            Some(subnet.with_gateway(spec.gateway)?)
        }
        None if spec.gateway.is_some() => {
            return Err(Error::invalid_input("a gateway needs a subnet that it is in"));
        }
        None => None,
    };
    let address = subnet.map_or("auto".to_owned(), |subnet| format!("{}/{}", subnet.address, subnet.length));
    config.insert(ADDRESS.to_owned(), address);
    config.entry("ipv6.address".to_owned()).or_insert_with(|| "none".to_owned());
    let nat = options.nat.unwrap_or(!spec.internal);
    config.insert("ipv4.nat".to_owned(), nat.to_string());
    if spec.internal {
        config.insert(ROUTING.to_owned(), "false".to_owned());
    }
    config.extend(labels::write(&spec.labels));
    let bridge = bridge_of(spec.name.as_str());
    if bridge != spec.name.as_str() {
        config.insert(labels::NETWORK.to_owned(), spec.name.to_string());
    }
    let body = json!({
        "name": bridge,
        "type": spec.driver.as_deref().unwrap_or("bridge"),
        "description": options.description.as_deref().unwrap_or_default(),
        "config": config,
    });
    Ok((body, subnet))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> NetworkSpec {
        NetworkSpec::new(NetworkName::new(name).unwrap())
    }

    fn read(body: &Value) -> Network {
        let mut document: NetworkDocument = serde_json::from_value(body.clone()).unwrap();
        document.managed = true;
        document.into_network().unwrap()
    }

    #[test]
    fn a_network_is_read_as_it_was_made() {
        let asked = spec("production-backend")
            .with_subnet("10.210.7.0/24")
            .with_gateway([10, 210, 7, 1].into())
            .with_label("role", "front");
        let (body, subnet) = body(&asked, &LxcNetworkOptions::default()).unwrap();
        let network = read(&body);
        assert_eq!(network.name, "production-backend");
        assert_eq!(network.id, bridge_of("production-backend"));
        assert_eq!(network.subnets, ["10.210.7.0/24"]);
        assert_eq!(network.gateway, Some([10, 210, 7, 1].into()));
        assert_eq!(network.labels, asked.labels);
        assert!(!network.internal && subnet.is_some());
        assert!(read(&super::body(&asked.internal(), &LxcNetworkOptions::default()).unwrap().0).internal);
    }

    #[test]
    fn a_subnet_that_is_none_is_refused() {
        for subnet in ["", "blue", "10.0.0.0", "10.0.0.0/33", "10.0.0.300/24", "10.210.0.0/-1", "10.0.0.0/31"]
        {
            let error = body(&spec("odd").with_subnet(subnet), &LxcNetworkOptions::default()).unwrap_err();
            assert!(error.is_invalid_input(), "{subnet}");
        }
        let outside = spec("odd").with_subnet("10.0.0.0/24").with_gateway([10, 0, 1, 1].into());
        assert!(body(&outside, &LxcNetworkOptions::default()).unwrap_err().is_invalid_input());
    }

    #[test]
    fn ranges_that_share_addresses_overlap() {
        let subnet = |text: &str| Subnet::parse(text).unwrap();
        assert!(subnet("10.0.0.0/24").overlaps(subnet("10.0.0.128/25")));
        assert!(subnet("10.0.0.129/25").overlaps(subnet("10.0.0.1/24")));
        assert!(!subnet("10.0.0.0/24").overlaps(subnet("10.0.1.0/24")));
        assert!(subnet("0.0.0.0/0").overlaps(subnet("10.0.1.0/24")));
    }
}

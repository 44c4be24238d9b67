//! Networks.

use std::net::{IpAddr, Ipv4Addr};

use substrate_core::{Error, Network, NetworkName, NetworkSpec, Result};

use super::element::Element;
use crate::options::LibvirtNetworkOptions;

/// Where networks without a subnet of their own get one from: the third number is counted up.
const POOL: [u8; 2] = [10, 123];

/// A subnet of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    base: u32,
    length: u32,
}

impl Subnet {
    /// Reads `10.1.0.0/24`.
    ///
    /// # Errors
    /// `InvalidInput` for what is none; `Unsupported` for IPv6.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::invalid_input(format!("`{}` is no subnet: {why}", text.escape_debug()))
                .with_hint("write it as 10.1.0.0/24")
        };
        let (address, length) = text.split_once('/').ok_or_else(|| wrong("it has no `/`"))?;
        let length: u32 = length.parse().map_err(|_| wrong("its length is no number"))?;
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if (8..=30).contains(&length) => {
                let base = address.to_bits() & Self::mask_of(length);
                Ok(Self { base, length })
            }
            Ok(IpAddr::V4(_)) => Err(wrong("its length is not between 8 and 30")),
            Ok(IpAddr::V6(_)) => {
                Err(Error::unsupported("networks with IPv6 subnets are not supported by this provider"))
            }
            Err(_) => Err(wrong("its address is none")),
        }
    }

    /// The n-th subnet for networks that ask for none.
    pub(crate) fn of_pool(number: u8) -> Self {
        let [first, second] = POOL;
        Self { base: Ipv4Addr::new(first, second, number, 0).to_bits(), length: 24 }
    }

    const fn mask_of(length: u32) -> u32 {
        u32::MAX << (32 - length)
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        let mask = Self::mask_of(self.length.min(other.length));
        self.base & mask == other.base & mask
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.to_bits() & Self::mask_of(self.length) == self.base,
            IpAddr::V6(_) => false,
        }
    }

    fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.wrapping_add(offset))
    }

    fn last(self) -> u32 {
        !Self::mask_of(self.length)
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from_bits(self.base), self.length)
    }
}

/// The document of a new network: a bridge with a DHCP server, and a way out by address translation unless it is
/// internal.
///
/// # Errors
/// `InvalidInput` for a gateway that is not in the subnet.
pub(crate) fn document(
    spec: &NetworkSpec,
    subnet: Subnet,
    options: &LibvirtNetworkOptions,
) -> Result<Element> {
    let gateway = match spec.gateway {
        None => subnet.address(1),
        Some(IpAddr::V4(gateway)) if subnet.contains(gateway.into()) => gateway,
        Some(other) => {
            return Err(Error::invalid_input(format!("the gateway {other} is not in the subnet {subnet}")));
        }
    };
    // Addresses are given from all of the subnet that lies on one side of the gateway.
    let (low, high) = (subnet.address(2), subnet.address(subnet.last() - 1));
    let ranges: Vec<(Ipv4Addr, Ipv4Addr)> = if gateway <= low {
        vec![(if gateway < low { low } else { subnet.address(3) }, high)]
    } else {
        let before = Ipv4Addr::from_bits(gateway.to_bits() - 1);
        vec![(low.min(before), before)]
    };
    let dhcp = Element::new("dhcp").and_all(ranges.into_iter().filter(|(start, end)| start <= end).map(
        |(start, end)| Element::new("range").with("start", start.to_string()).with("end", end.to_string()),
    ));
    let ip = Element::new("ip")
        .with("address", gateway.to_string())
        .with("prefix", subnet.length.to_string())
        .and(dhcp);
    let bridge = options.bridge.as_ref().map_or_else(
        || Element::new("bridge").with("stp", "off").with("delay", "0"),
        |name| Element::new("bridge").with("name", name).with("stp", "off").with("delay", "0"),
    );
    Ok(Element::new("network")
        .and(Element::of_text("name", spec.name.as_str()))
        .and_maybe((!spec.internal).then(|| Element::new("forward").with("mode", "nat")))
        .and(bridge)
        .and_maybe(options.domain.as_ref().map(|name| Element::new("domain").with("name", name)))
        .and(ip))
}

/// What a network's document says.
#[derive(Debug, Clone)]
pub(crate) struct NetworkFacts {
    document: Element,
    pub(crate) name: String,
}

impl NetworkFacts {
    pub(crate) fn read(xml: &str) -> Result<Self> {
        let document = Element::parse(xml)?;
        let name = document.text_at("name").unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(Error::protocol("libvirt described a network without a name"));
        }
        Ok(Self { document, name })
    }

    fn addresses(&self) -> impl Iterator<Item = (&Element, Ipv4Addr, u32)> {
        self.document.children().iter().filter(|element| element.name() == "ip").filter_map(|ip| {
            let address: Ipv4Addr = ip.attribute("address")?.parse().ok()?;
            let length = match (ip.attribute("prefix"), ip.attribute("netmask")) {
                (Some(prefix), _) => prefix.parse().ok()?,
                (None, Some(mask)) => mask.parse::<Ipv4Addr>().ok()?.to_bits().leading_ones(),
                (None, None) => return None,
            };
            (8..=30).contains(&length).then_some((ip, address, length))
        })
    }

    pub(crate) fn subnets(&self) -> Vec<Subnet> {
        self.addresses()
            .map(|(_, address, length)| Subnet { base: address.to_bits() & Subnet::mask_of(length), length })
            .collect()
    }

    /// Who has an address reserved: its hardware address.
    pub(crate) fn holder_of(&self, address: IpAddr) -> Option<String> {
        let wanted = address.to_string();
        self.hosts().find(|host| host.attribute("ip") == Some(&wanted))?.attribute("mac").map(str::to_owned)
    }

    /// The reservation of a hardware address, as it has to be written to take it away.
    pub(crate) fn reservation_of(&self, mac: &str) -> Option<Element> {
        self.hosts()
            .find(|host| host.attribute("mac").is_some_and(|known| known.eq_ignore_ascii_case(mac)))
            .cloned()
    }

    fn hosts(&self) -> impl Iterator<Item = &Element> {
        self.document
            .children()
            .iter()
            .filter(|element| element.name() == "ip")
            .filter_map(|ip| ip.find("dhcp"))
            .flat_map(|dhcp| dhcp.children().iter().filter(|element| element.name() == "host"))
    }

    /// Whether addresses are handed out on it, so that one can be reserved.
    pub(crate) fn has_dhcp(&self) -> bool {
        self.addresses().any(|(ip, ..)| ip.find("dhcp").is_some())
    }

    pub(crate) fn gateway(&self) -> Option<IpAddr> {
        self.addresses().next().map(|(_, address, _)| address.into())
    }

    pub(crate) fn network(&self) -> Result<Network> {
        let mode = self.document.find("forward").map(|forward| forward.attribute("mode").unwrap_or("nat"));
        let name = NetworkName::new(&self.name).map_err(|error| Error::protocol(error.message()))?;
        let id = self.document.text_at("uuid").unwrap_or(&self.name).to_owned();
        let mut network = Network::new(id, name, mode.unwrap_or("isolated"));
        network.subnets = self.subnets().iter().map(ToString::to_string).collect();
        network.gateway = self.gateway();
        network.internal = mode.is_none();
        Ok(network)
    }
}

/// A reserved address, for the network's DHCP server.
pub(crate) fn reservation(mac: &str, address: IpAddr) -> Element {
    Element::new("host").with("mac", mac).with("ip", address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> NetworkSpec {
        NetworkSpec::new("blue".parse().unwrap())
    }

    fn written(spec: &NetworkSpec) -> NetworkFacts {
        let subnet = Subnet::parse(spec.subnet.as_deref().unwrap()).unwrap();
        NetworkFacts::read(&document(spec, subnet, &LibvirtNetworkOptions::default()).unwrap().to_xml())
            .unwrap()
    }

    #[test]
    fn what_is_no_subnet_is_refused() {
        for text in ["", "blue", "10.0.0.0", "10.0.0.0/33", "10.0.0.300/24", "10.210.0.0/-1", "10.0.0.0/31"] {
            assert!(Subnet::parse(text).unwrap_err().is_invalid_input(), "{text}");
        }
        assert!(Subnet::parse("fd00::/64").unwrap_err().is_unsupported());
        assert_eq!(Subnet::parse("10.1.2.3/24").unwrap().to_string(), "10.1.2.0/24");
    }

    #[test]
    fn subnets_overlap_or_not() {
        let subnet = |text: &str| Subnet::parse(text).unwrap();
        assert!(subnet("10.1.0.0/16").overlaps(subnet("10.1.2.0/24")));
        assert!(subnet("10.1.2.128/25").overlaps(subnet("10.1.2.0/24")));
        assert!(!subnet("10.1.2.0/24").overlaps(subnet("10.1.3.0/24")));
        assert!(subnet("10.1.2.0/24").contains("10.1.2.77".parse().unwrap()));
        assert!(!subnet("10.1.2.0/24").contains("10.1.3.1".parse().unwrap()));
    }

    #[test]
    fn a_network_is_read_as_it_was_written() {
        let facts = written(&spec().with_subnet("10.1.2.0/24").with_gateway("10.1.2.1".parse().unwrap()));
        let network = facts.network().unwrap();
        assert_eq!(network.subnets, ["10.1.2.0/24"]);
        assert_eq!(network.gateway, Some("10.1.2.1".parse().unwrap()));
        assert!(!network.internal && facts.has_dhcp());
        assert!(written(&spec().with_subnet("10.1.2.0/24").internal()).network().unwrap().internal);
    }

    #[test]
    fn addresses_are_not_given_where_the_gateway_stands() {
        for (gateway, start, end) in [
            ("10.1.2.1", "10.1.2.2", "10.1.2.254"),
            ("10.1.2.2", "10.1.2.3", "10.1.2.254"),
            ("10.1.2.254", "10.1.2.2", "10.1.2.253"),
        ] {
            let facts = written(&spec().with_subnet("10.1.2.0/24").with_gateway(gateway.parse().unwrap()));
            let range = facts.document.find("ip/dhcp/range").unwrap();
            assert_eq!(
                (range.attribute("start"), range.attribute("end")),
                (Some(start), Some(end)),
                "{gateway}"
            );
        }
        let outside = spec().with_gateway("10.9.9.9".parse().unwrap());
        let subnet = Subnet::parse("10.1.2.0/24").unwrap();
        assert!(
            document(&outside, subnet, &LibvirtNetworkOptions::default()).unwrap_err().is_invalid_input()
        );
    }

    #[test]
    fn reservations_are_found_by_both_addresses() {
        let xml = "<network><name>a</name><ip address='10.1.2.1' netmask='255.255.255.0'><dhcp>\
                   <host mac='52:54:00:00:00:01' ip='10.1.2.9'/></dhcp></ip></network>";
        let facts = NetworkFacts::read(xml).unwrap();
        assert_eq!(facts.holder_of("10.1.2.9".parse().unwrap()).as_deref(), Some("52:54:00:00:00:01"));
        assert_eq!(facts.holder_of("10.1.2.8".parse().unwrap()), None);
        let expected = reservation("52:54:00:00:00:01", "10.1.2.9".parse().unwrap());
        assert_eq!(facts.reservation_of("52:54:00:00:00:01"), Some(expected));
        assert_eq!(facts.subnets()[0].to_string(), "10.1.2.0/24");
    }
}

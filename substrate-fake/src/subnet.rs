//! Subnets and the addresses in them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use substrate_core::{Error, Result};

/// A subnet in CIDR form, with room for at least one instance beside the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Subnet {
    base: IpAddr,
    prefix: u8,
}

impl Subnet {
    pub(crate) const fn v4(base: Ipv4Addr, prefix: u8) -> Self {
        Self { base: IpAddr::V4(base), prefix }
    }

    fn width(self) -> u8 {
        if self.base.is_ipv4() { 32 } else { 128 }
    }

    /// How many addresses there are, less one; saturated, because nobody counts that far.
    fn last_offset(self) -> u64 {
        let bits = u32::from(self.width().saturating_sub(self.prefix));
        1_u64.checked_shl(bits).map_or(u64::MAX, |count| count - 1)
    }

    /// The last offset that an instance can have: the one after it is the broadcast address.
    pub(crate) fn last_host(self) -> u64 {
        self.last_offset() - 1
    }

    pub(crate) fn address(self, offset: u64) -> IpAddr {
        match self.base {
            IpAddr::V4(base) => {
                let offset = u32::try_from(offset).unwrap_or(u32::MAX);
                IpAddr::V4(Ipv4Addr::from(u32::from(base).saturating_add(offset)))
            }
            IpAddr::V6(base) => {
                IpAddr::V6(Ipv6Addr::from(u128::from(base).saturating_add(u128::from(offset))))
            }
        }
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        self.base.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.base
    }

    /// Whether an instance or a gateway can have the address.
    pub(crate) fn is_host(self, address: IpAddr) -> bool {
        self.contains(address) && address != self.base && address != self.address(self.last_offset())
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let (width, bits) = match address {
        IpAddr::V4(address) => (32, u128::from(u32::from(address))),
        IpAddr::V6(address) => (128, u128::from(address)),
    };
    let free = u32::from(u8::saturating_sub(width, prefix));
    let bits = bits.checked_shr(free).and_then(|bits| bits.checked_shl(free)).unwrap_or(0);
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(bits).unwrap_or(0))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.base, self.prefix)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Err(Error::invalid_input(format!("`{}` is no subnet: {why}", text.escape_debug()))
                .with_hint("write it as address/prefix: 10.1.0.0/24"))
        };
        let Some((base, prefix)) = text.split_once('/') else {
            return refuse("the prefix is missing");
        };
        let Ok(base) = base.parse::<IpAddr>() else {
            return refuse("what stands before `/` is no address");
        };
        let Ok(prefix) = prefix.parse::<u8>() else {
            return refuse("what stands after `/` is no prefix length");
        };
        let subnet = Self { base, prefix };
        if prefix > subnet.width() {
            return refuse("the prefix is longer than the address");
        }
        if prefix > subnet.width() - 2 {
            return refuse("it has no room for a gateway and an instance");
        }
        if masked(base, prefix) != base {
            return refuse("the address has bits beyond the prefix");
        }
        Ok(subnet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_no_subnet_is_invalid_input() {
        for text in [
            "",
            "blue",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.300/24",
            "10.0.0.0/-1",
            "10.0.0.1/24",
            "10.0.0.0/31",
        ] {
            assert!(text.parse::<Subnet>().unwrap_err().is_invalid_input(), "{text}");
        }
    }

    #[test]
    fn a_subnet_knows_its_addresses() {
        let blue = subnet("10.1.2.0/24");
        assert_eq!(blue.to_string(), "10.1.2.0/24");
        assert_eq!(blue.address(7), IpAddr::from([10, 1, 2, 7]));
        assert_eq!(blue.last_host(), 254);
        assert!(blue.is_host([10, 1, 2, 254].into()));
        assert!(!blue.is_host([10, 1, 2, 255].into()) && !blue.is_host([10, 1, 2, 0].into()));
        assert!(!blue.contains([10, 1, 3, 1].into()) && !blue.contains("fd00::1".parse().unwrap()));
        let six = subnet("fd00::/64");
        assert_eq!(six.address(5), "fd00::5".parse::<IpAddr>().unwrap());
        assert_eq!(subnet("0.0.0.0/0").last_host(), u64::from(u32::MAX) - 1);
    }

    #[test]
    fn subnets_overlap_in_both_directions() {
        let (large, small) = (subnet("10.1.0.0/16"), subnet("10.1.9.128/25"));
        assert!(large.overlaps(small) && small.overlaps(large));
        assert!(!small.overlaps(subnet("10.1.9.0/25")));
        assert!(!small.overlaps(subnet("fd00::/64")));
    }
}

//! Subnets: `10.1.0.0/24`, `fd00::/64`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use substrate_core::{Error, Result};

/// A network address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    base: IpAddr,
    length: u8,
}

impl Subnet {
    /// Reads what a user wrote.
    ///
    /// # Errors
    /// `InvalidInput` for what is no subnet, and for an address inside one.
    pub(crate) fn new(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::invalid_input(format!("`{}` is no subnet: {why}", text.escape_debug()))
                .with_hint("write it as `10.1.0.0/24`")
        };
        let found = Self::around(text).ok_or_else(|| wrong("not an address and a length of its prefix"))?;
        if text.split_once('/').and_then(|(base, _)| base.parse().ok()) != Some(found.base) {
            return Err(wrong(&format!("the address is one inside {found}")));
        }
        Ok(found)
    }

    /// The subnet around an address: `10.1.2.3/24` is in `10.1.2.0/24`.
    pub(crate) fn around(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let (address, length): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
        let bits = bits_of(address);
        let host = width(address).checked_sub(length)?;
        let masked = bits.checked_shr(host.into()).unwrap_or(0).checked_shl(host.into()).unwrap_or(0);
        Some(Self { base: address_of(masked, address.is_ipv4()), length })
    }

    pub(crate) const fn length(self) -> u8 {
        self.length
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.base.is_ipv4()
            && Self::around(&format!("{address}/{}", self.length)) == Some(self)
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// The address after the network's own.
    pub(crate) fn first_address(self) -> Option<IpAddr> {
        let first = address_of(bits_of(self.base).checked_add(1)?, self.base.is_ipv4());
        self.contains(first).then_some(first)
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.base, self.length)
    }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address_of(bits: u128, is_v4: bool) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if is_v4 => Ipv4Addr::from_bits(bits).into(),
        _ => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_read_or_refused_with_a_reason() {
        for good in ["10.1.2.0/24", "0.0.0.0/0", "10.0.0.1/32", "fd00::/64"] {
            assert_eq!(Subnet::new(good).unwrap().to_string(), good);
        }
        for wrong in ["", "x", "10.0.0.0", "10.0.0.0/33", "10.0.0.5/24", "10.0.0.0/-1", "fd00::1/64"] {
            assert!(Subnet::new(wrong).unwrap_err().is_invalid_input(), "{wrong}");
        }
    }

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        let subnet = |text: &str| Subnet::new(text).unwrap();
        assert!(subnet("10.1.0.0/16").overlaps(subnet("10.1.2.128/25")));
        assert!(subnet("10.1.2.128/25").overlaps(subnet("10.1.0.0/16")));
        assert!(!subnet("10.1.2.0/24").overlaps(subnet("10.1.3.0/24")));
        assert!(!subnet("0.0.0.0/0").overlaps(subnet("fd00::/64")));
        assert_eq!(subnet("10.1.2.0/24").first_address(), Some("10.1.2.1".parse().unwrap()));
        assert_eq!(subnet("10.1.2.1/32").first_address(), None);
    }
}

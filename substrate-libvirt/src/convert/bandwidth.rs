//! Bounds of bandwidth: megabits per second to us, kilobytes per second to libvirt.

use substrate_core::{Error, Outcome, Result};

use super::element::Element;

/// Kilobytes per second in a megabit per second. Both are decimal: libvirt hands the figure to the kernel's traffic
/// control as `kbps`, which are 1000 bytes there.
const KILOBYTES: f64 = 125.0;

/// How fast an interface may be in each direction, in kilobytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bandwidth(u32);

impl Bandwidth {
    /// The nearest that libvirt can tell.
    pub(crate) fn of(megabits: f64) -> Result<Self> {
        let kilobytes = (megabits * KILOBYTES).round();
        // To libvirt, none at all is no bound.
        if !(1.0..=f64::from(u32::MAX)).contains(&kilobytes) {
            return Err(Error::invalid_input(format!(
                "network_mbps must be from 0.008 to {}, not {megabits}",
                (f64::from(u32::MAX) / KILOBYTES).floor()
            )));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within its bounds")]
        Ok(Self(kilobytes as u32))
    }

    pub(crate) fn kilobytes(self) -> u32 {
        self.0
    }

    pub(crate) fn megabits(self) -> f64 {
        f64::from(self.0) / KILOBYTES
    }

    /// What an interface's document says: of the first direction that is bounded.
    pub(crate) fn read(interface: &Element) -> Option<Self> {
        let bandwidth = interface.find("bandwidth")?;
        let average = |direction| bandwidth.attribute_at(direction, "average")?.parse().ok();
        ["inbound", "outbound"].into_iter().find_map(average).filter(|average| *average > 0).map(Self)
    }

    pub(crate) fn to_element(self) -> Element {
        let direction = |name: &str| Element::new(name).with("average", self.0.to_string());
        Element::new("bandwidth").and(direction("inbound")).and(direction("outbound"))
    }
}

/// Bounds every interface of a domain.
pub(crate) fn set_bandwidth(domain: &mut Element, bandwidth: Bandwidth) -> Result<()> {
    let devices = domain.find_mut("devices").map(Element::children_mut).unwrap_or_default();
    let mut has_any = false;
    for interface in devices.iter_mut().filter(|device| device.name() == "interface") {
        interface.replace(bandwidth.to_element());
        has_any = true;
    }
    if has_any {
        return Ok(());
    }
    Err(Error::invalid_input("network_mbps bounds interfaces, and the machine has none")
        .with_outcome(Outcome::Rejected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_megabit_is_125_kilobytes_and_the_nearest_is_taken() {
        for (megabits, kilobytes) in [(1.0, 125), (100.0, 12_500), (2.5, 313), (0.01, 1), (0.5, 63)] {
            assert_eq!(Bandwidth::of(megabits).unwrap().kilobytes(), kilobytes, "{megabits}");
        }
        assert_eq!(Bandwidth::of(100.0).unwrap().megabits(), 100.0);
    }

    #[test]
    fn what_would_be_no_bound_or_has_no_number_is_refused() {
        for megabits in [0.003, 0.0, -1.0, 1e12, f64::NAN, f64::INFINITY] {
            assert!(Bandwidth::of(megabits).unwrap_err().is_invalid_input(), "{megabits}");
        }
    }

    #[test]
    fn both_directions_are_bounded_and_one_is_enough_to_be_told() {
        let bandwidth = Bandwidth::of(8.0).unwrap();
        let document = Element::new("interface").and(bandwidth.to_element());
        let written = document.to_xml();
        assert!(written.contains("<inbound average=\"1000\"/><outbound average=\"1000\"/>"), "{written}");
        assert_eq!(Bandwidth::read(&document), Some(bandwidth));
        let one = "<interface><bandwidth><outbound average='250' peak='9'/></bandwidth></interface>";
        assert_eq!(Bandwidth::read(&Element::parse(one).unwrap()).map(Bandwidth::megabits), Some(2.0));
        for none in ["<interface/>", "<interface><bandwidth><inbound average='0'/></bandwidth></interface>"] {
            assert_eq!(Bandwidth::read(&Element::parse(none).unwrap()), None);
        }
    }

    #[test]
    fn every_interface_is_bounded_and_without_one_nothing_can_be() {
        let document = "<domain><devices><disk/><interface><mac/><bandwidth><inbound average='1' peak='2'/></bandwidth>\
                        </interface><interface/></devices></domain>";
        let mut domain = Element::parse(document).unwrap();
        set_bandwidth(&mut domain, Bandwidth::of(8.0).unwrap()).unwrap();
        let written = domain.to_xml();
        assert_eq!(written.matches("<inbound average=\"1000\"/>").count(), 2, "{written}");
        let mut bare = Element::parse("<domain><devices><disk/></devices></domain>").unwrap();
        assert!(set_bandwidth(&mut bare, Bandwidth::of(8.0).unwrap()).unwrap_err().is_invalid_input());
    }
}

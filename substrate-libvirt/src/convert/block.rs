//! Bounds of disk input and output in a domain's document.

use super::element::Element;
use crate::block_limits::{BlockLimits, Group};

/// What libvirt calls the bounds of a group: in total, of reading, of writing.
const BYTES: [&str; 3] = ["total_bytes_sec", "read_bytes_sec", "write_bytes_sec"];
const OPERATIONS: [&str; 3] = ["total_iops_sec", "read_iops_sec", "write_iops_sec"];

/// Whether a device is a disk that can be written to.
fn is_bounded(device: &Element) -> bool {
    device.name() == "disk"
        && device.attribute("device").is_none_or(|device| device == "disk")
        && device.find("readonly").is_none()
}

/// The targets of the disks that bounds are for.
pub(crate) fn targets(domain: &Element) -> Vec<String> {
    let devices = domain.find("devices").map(Element::children).unwrap_or_default();
    let targets = devices.iter().filter(|device| is_bounded(device));
    targets.filter_map(|disk| disk.attribute_at("target", "dev")).map(str::to_owned).collect()
}

/// Writes bounds into a domain. What they do not speak of stays.
pub(crate) fn write(domain: &mut Element, limits: &BlockLimits) {
    if let Some(devices) = domain.find_mut("devices") {
        for disk in devices.children_mut().iter_mut().filter(|device| is_bounded(device)) {
            let mut tuning = disk.find("iotune").cloned().unwrap_or_else(|| Element::new("iotune"));
            write_group(&mut tuning, BYTES, limits.bytes());
            write_group(&mut tuning, OPERATIONS, limits.operations());
            disk.retain(|element| element.name() != "iotune");
            if !tuning.children().is_empty() {
                disk.push(tuning);
            }
        }
    }
    if let Some(weight) = limits.weight {
        let mut tuning = domain.find("blkiotune").cloned().unwrap_or_else(|| Element::new("blkiotune"));
        tuning.replace(Element::of_text("weight", weight.to_string()));
        domain.replace(tuning);
    }
}

fn write_group(tuning: &mut Element, names: [&str; 3], group: Group) {
    if !group.is_said() {
        return;
    }
    tuning.retain(|element| !names.contains(&element.name()));
    for (name, value) in names.into_iter().zip(group.values()) {
        // To libvirt, none is no bound.
        if value > 0 {
            tuning.push(Element::of_text(name, value.to_string()));
        }
    }
}

/// The bounds of a domain: of its first disk that can be written to, for we give the same to all.
pub(crate) fn read(domain: &Element) -> BlockLimits {
    let devices = domain.find("devices").map(Element::children).unwrap_or_default();
    let tuning = devices.iter().find(|device| is_bounded(device)).and_then(|disk| disk.find("iotune"));
    let number = |name: &str| {
        let number: u64 = tuning?.text_at(name)?.parse().ok()?;
        (number > 0).then_some(number)
    };
    let ([bytes, read_bytes, write_bytes], [operations, reads, writes]) =
        (BYTES.map(number), OPERATIONS.map(number));
    BlockLimits {
        bytes_per_second: bytes,
        read_bytes_per_second: read_bytes,
        write_bytes_per_second: write_bytes,
        operations_per_second: operations,
        read_operations_per_second: reads,
        write_operations_per_second: writes,
        weight: domain.text_at("blkiotune/weight").and_then(|weight| weight.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> Element {
        Element::parse(
            "<domain><blkiotune><weight>800</weight><device><path>/dev/sda</path></device></blkiotune><devices>\
             <disk device='disk'><target dev='vda'/><iotune><total_iops_sec>7</total_iops_sec>\
             <size_iops_sec>4096</size_iops_sec></iotune></disk><disk device='cdrom'><target dev='sda'/></disk>\
             <disk><target dev='vdz'/><readonly/></disk><disk><target dev='vdb'/></disk></devices></domain>",
        )
        .unwrap()
    }

    #[test]
    fn disks_that_can_be_written_to_are_bounded_and_others_are_not() {
        let mut domain = domain();
        write(&mut domain, &BlockLimits::default().with_bytes_per_second(5));
        assert_eq!(targets(&domain), ["vda", "vdb"]);
        assert_eq!(domain.to_xml().matches("<total_bytes_sec>5<").count(), 2);
    }

    #[test]
    fn a_group_is_written_as_a_whole_and_the_rest_stays() {
        let mut domain = domain();
        write(&mut domain, &BlockLimits::default().with_bytes_per_second_apart(1, 2));
        write(&mut domain, &BlockLimits::default().with_bytes_per_second(3).with_weight(100));
        let expected =
            BlockLimits::default().with_bytes_per_second(3).with_operations_per_second(7).with_weight(100);
        assert_eq!(read(&domain), expected);
        let written = domain.to_xml();
        assert!(written.contains("<size_iops_sec>4096<") && written.contains("/dev/sda"), "{written}");
    }

    #[test]
    fn none_at_all_lifts_a_bound() {
        let mut domain = domain();
        write(&mut domain, &BlockLimits::default().with_bytes_per_second(3));
        write(&mut domain, &BlockLimits::default().with_bytes_per_second(0).with_operations_per_second(0));
        assert_eq!(read(&domain), BlockLimits::default().with_weight(800));
        assert!(!domain.to_xml().contains("bytes_sec"));
    }
}

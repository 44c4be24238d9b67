//! Bounds: from the contract's numbers to the servers' words, and back.

use std::collections::BTreeMap;

use substrate_core::{Error, InstanceKind, ResourceLimits, Result};

/// A device: its type and settings.
pub(crate) type Device = BTreeMap<String, String>;

const CPU: &str = "limits.cpu";
const CPU_TIME: &str = "limits.cpu.allowance";
const MEMORY: &str = "limits.memory";
const INGRESS: &str = "limits.ingress";
const EGRESS: &str = "limits.egress";
const BOTH: &str = "limits.max";
/// In which the kernel hands out processor time.
const PERIOD_MILLISECONDS: f64 = 100.0;
/// The longest period that the kernel takes, for shares that are no whole number of hundredths.
const LONGEST_PERIOD_MILLISECONDS: f64 = 1000.0;

/// The keys of a configuration that bound processor and memory.
pub(crate) fn write(kind: InstanceKind, limits: &ResourceLimits) -> Result<BTreeMap<String, String>> {
    let mut config = BTreeMap::new();
    if let Some(cores) = limits.cpu_cores {
        if kind == InstanceKind::VirtualMachine {
            if cores.fract() != 0.0 {
                return Err(Error::invalid_input(format!("a virtual machine has whole cores, not {cores}")));
            }
            config.insert(CPU.to_owned(), format!("{cores:.0}"));
        } else {
            // Time and not a number of processors: that would pin it to some of them, and takes no fractions.
            config.insert(CPU_TIME.to_owned(), allowance(cores)?);
        }
    }
    if let Some(megabytes) = limits.memory_mb {
        config.insert(MEMORY.to_owned(), format!("{megabytes}MiB"));
    }
    Ok(config)
}

fn allowance(cores: f64) -> Result<String> {
    for period in [PERIOD_MILLISECONDS, LONGEST_PERIOD_MILLISECONDS] {
        let time = cores * period;
        if (time - time.round()).abs() < 1e-6 || period == LONGEST_PERIOD_MILLISECONDS {
            if time.round() < 1.0 {
                break;
            }
            return Ok(format!("{:.0}ms/{period:.0}ms", time.round()));
        }
    }
    Err(Error::invalid_input(format!("cpu_cores must be at least 0.001, not {cores}")))
}

/// The settings of a network device that bound its bandwidth.
pub(crate) fn write_bandwidth(device: &mut Device, megabits: f64) -> Result<()> {
    let kilobits = (megabits * 1000.0).round();
    if kilobits < 1.0 {
        return Err(Error::invalid_input(format!("network_mbps must be at least 0.001, not {megabits}")));
    }
    device.remove(BOTH);
    for key in [INGRESS, EGRESS] {
        device.insert(key.to_owned(), format!("{kilobits:.0}kbit"));
    }
    Ok(())
}

/// Copies the bound of one network device to another.
pub(crate) fn copy_bandwidth(from: &Device, to: &mut Device) {
    for key in [INGRESS, EGRESS, BOTH] {
        if let Some(value) = from.get(key) {
            to.insert(key.to_owned(), value.clone());
        }
    }
}

/// The bounds that a configuration and its devices say.
pub(crate) fn read(config: &BTreeMap<String, String>, devices: &BTreeMap<String, Device>) -> ResourceLimits {
    let text = |key: &str| config.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let root = devices.values().find(|device| is_root(device));
    ResourceLimits {
        cpu_cores: text(CPU_TIME).and_then(read_allowance).or_else(|| text(CPU).and_then(read_processors)),
        memory_mb: text(MEMORY).and_then(bytes).map(|bytes| bytes >> 20),
        disk_gb: root.and_then(|root| root.get("size")).and_then(|size| bytes(size)).map(|bytes| bytes >> 30),
        network_mbps: devices
            .values()
            .filter(|device| is_nic(device))
            .find_map(|nic| nic.get(BOTH).or_else(|| nic.get(INGRESS)).or_else(|| nic.get(EGRESS)))
            .and_then(|rate| bits(rate)),
    }
}

pub(crate) fn is_nic(device: &Device) -> bool {
    device.get("type").is_some_and(|kind| kind == "nic")
}

pub(crate) fn is_root(device: &Device) -> bool {
    device.get("type").is_some_and(|kind| kind == "disk")
        && device.get("path").is_some_and(|path| path == "/")
}

/// `50ms/100ms` → 0.5. `50%` is a share against others and no bound.
fn read_allowance(text: &str) -> Option<f64> {
    let (time, period) = text.split_once('/')?;
    let milliseconds = |text: &str| text.trim().strip_suffix("ms")?.trim().parse::<f64>().ok();
    let (time, period) = (milliseconds(time)?, milliseconds(period)?);
    // `inf` is a number for the standard library.
    Some(time / period).filter(|share| share.is_finite() && *share > 0.0)
}

/// `2`, or a set of processors: `0-3,5`.
fn read_processors(text: &str) -> Option<f64> {
    if let Ok(count) = text.trim().parse::<u32>() {
        return Some(f64::from(count));
    }
    // A range can have one more than the largest number, and there can be many ranges.
    let mut count = 0.0;
    for part in text.split(',') {
        count += match part.trim().split_once('-') {
            Some((first, last)) => {
                f64::from(last.trim().parse::<u32>().ok()?.checked_sub(first.trim().parse::<u32>().ok()?)?)
                    + 1.0
            }
            None => part.trim().parse::<u32>().map(|_| 1.0).ok()?,
        };
    }
    Some(count)
}

/// A size with its unit: `96MiB`, `1GB`, a plain number of bytes. A percentage is none.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor: u64 = match unit.trim() {
        "" | "B" | "bytes" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "PB" => 1_000_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "PiB" => 1 << 50,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A rate with its unit, in Mbit/s.
fn bits(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit.trim() {
        "" | "bit" => 1e-6,
        "kbit" => 1e-3,
        "Mbit" => 1.0,
        "Gbit" => 1e3,
        "Tbit" => 1e6,
        "Kibit" => 1024.0 / 1e6,
        "Mibit" => 1_048_576.0 / 1e6,
        "Gibit" => 1_073_741_824.0 / 1e6,
        _ => return None,
    };
    // Of digits enough, it is infinite.
    Some(number.parse::<f64>().ok()? * factor).filter(|rate| rate.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn numbers_that_nobody_has_are_counted_or_left_out() {
        assert_eq!(read_processors("0-4294967295"), Some(4_294_967_296.0));
        assert_eq!(read_processors("0-4294967295,0-4294967295"), Some(8_589_934_592.0));
        assert_eq!(bits(&"9".repeat(400)), None);
        for share in ["infms/100ms", "NaNms/100ms", "1ms/0ms", "-1ms/1ms", "1ms/NaNms"] {
            assert_eq!(read_allowance(share), None, "{share}");
        }
    }

    #[test]
    fn bounds_come_back() {
        for cores in [0.5, 0.75, 1.0, 0.333, 2.5, 16.0] {
            let limits =
                ResourceLimits { cpu_cores: Some(cores), memory_mb: Some(96), ..ResourceLimits::default() };
            let config = write(InstanceKind::Container, &limits).unwrap();
            assert_eq!(read(&config, &BTreeMap::new()), limits, "{config:?}");
        }
        let mut nic = map(&[("type", "nic"), (BOTH, "1Mbit")]);
        write_bandwidth(&mut nic, 2.5).unwrap();
        let devices = BTreeMap::from([("eth0".to_owned(), nic)]);
        assert_eq!(read(&BTreeMap::new(), &devices).network_mbps, Some(2.5));
    }

    #[test]
    fn a_virtual_machine_has_whole_cores() {
        let limits = |cores| ResourceLimits { cpu_cores: Some(cores), ..ResourceLimits::default() };
        assert_eq!(write(InstanceKind::VirtualMachine, &limits(2.0)).unwrap()[CPU], "2");
        assert!(write(InstanceKind::VirtualMachine, &limits(0.5)).unwrap_err().is_invalid_input());
    }

    #[test]
    fn what_others_wrote_is_read_and_what_bounds_nothing_is_none() {
        let cores = |text: &str| read(&map(&[(CPU, text)]), &BTreeMap::new()).cpu_cores;
        assert_eq!(cores("4"), Some(4.0));
        assert_eq!(cores("0-3,5"), Some(5.0));
        assert_eq!(cores("x"), None);
        assert_eq!(read(&map(&[(CPU_TIME, "50%")]), &BTreeMap::new()).cpu_cores, None);
        assert_eq!(read(&map(&[(MEMORY, "50%")]), &BTreeMap::new()).memory_mb, None);
        assert_eq!(bytes("1GB"), Some(1_000_000_000));
        assert_eq!(bytes("18446744073709551615PiB"), None);
        let root = map(&[("type", "disk"), ("path", "/"), ("size", "10GiB")]);
        assert_eq!(read(&BTreeMap::new(), &BTreeMap::from([("root".to_owned(), root)])).disk_gb, Some(10));
    }

    #[test]
    fn too_little_is_refused() {
        assert!(allowance(0.0001).unwrap_err().is_invalid_input());
        assert!(write_bandwidth(&mut Device::new(), 0.0001).unwrap_err().is_invalid_input());
    }
}

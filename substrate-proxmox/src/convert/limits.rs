//! Bounds: cores, memory, the root disk, bandwidth.

use std::collections::BTreeMap;

use substrate_core::{Error, ResourceLimits, Result};

use super::guest::{Guest, GuestKind};
use super::property::Properties;
use super::text::{integer, number, text};

/// The unit of `rate`: megabytes per second.
const MEGABITS: f64 = 8.0;

/// Bytes from `2G`, `64M`, `1024`.
pub(crate) fn size_in_bytes(text: &str) -> Option<u64> {
    let split = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (digits, unit) = split.map_or((text, ""), |at| text.split_at(at));
    let factor = match unit {
        "" => 1_u64,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    match digits.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        Err(_) => digits.parse::<f64>().ok().map(|part| (part * factor as f64) as u64),
    }
}

fn gibibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 30)
}

/// Cores as the API wants them: a number of them, and a share of their time where that is less.
pub(crate) fn cores(cores: f64) -> (u64, f64) {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and `as` saturates"
    )]
    let whole = (cores.ceil() as u64).max(1);
    #[allow(clippy::cast_precision_loss, reason = "no machine has so many cores")]
    let limit = if (whole as f64 - cores).abs() < 1e-9 { 0.0 } else { cores };
    (whole, limit)
}

/// `rate` from Mbit/s.
pub(crate) fn rate(megabits: f64) -> String {
    format!("{}", megabits / MEGABITS)
}

/// What bounds a guest.
pub(crate) fn of(guest: &Guest) -> ResourceLimits {
    let config = &guest.config;
    let share = number(config, "cpulimit").filter(|limit| *limit > 0.0);
    let whole = number(config, "cores").or(match guest.kind {
        GuestKind::Qemu => Some(1.0),
        // Every core of the node.
        GuestKind::Lxc => None,
    });
    let sockets = number(config, "sockets").unwrap_or(1.0);
    // `512` or `current=512`.
    let memory = text(config, "memory").and_then(|memory| {
        let memory = Properties::parse(&memory);
        memory.get("current").or(memory.bare()).and_then(|text| text.parse().ok())
    });
    let default_memory = 512;
    let rates = guest.nets().filter_map(|(_, net)| net.get("rate").and_then(|rate| rate.parse::<f64>().ok()));
    let finite = |number: &f64| number.is_finite();
    ResourceLimits {
        cpu_cores: share.or(whole.map(|cores| cores * sockets)).filter(finite),
        memory_mb: Some(memory.unwrap_or(default_memory)),
        disk_gb: guest.root_disk().map(|(_, bytes)| gibibytes(bytes)),
        network_mbps: rates.map(|rate| rate * MEGABITS).filter(finite).reduce(f64::max),
    }
}

/// The settings that change a guest's bounds, without its disk.
pub(crate) fn settings(guest: &Guest, limits: &ResourceLimits) -> Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    if let Some(wanted) = limits.cpu_cores {
        let (whole, share) = cores(wanted);
        settings.insert("cores".to_owned(), whole.to_string());
        settings.insert("cpulimit".to_owned(), share.to_string());
        if integer(&guest.config, "sockets").is_some_and(|sockets| sockets > 1) {
            settings.insert("sockets".to_owned(), "1".to_owned());
        }
    }
    if let Some(memory) = limits.memory_mb {
        settings.insert("memory".to_owned(), memory.to_string());
        // A balloon above the memory is refused.
        if number(&guest.config, "balloon").is_some_and(|balloon| balloon > 0.0) {
            settings.insert("balloon".to_owned(), "0".to_owned());
        }
    }
    if let Some(megabits) = limits.network_mbps {
        let mut any = false;
        for (key, net) in guest.nets() {
            settings.insert(key, net.with("rate", rate(megabits)).to_string());
            any = true;
        }
        if !any {
            return Err(Error::invalid_input("the guest has no network device to bound"));
        }
    }
    Ok(settings)
}

/// Bounds that no guest here can have.
pub(crate) fn check(limits: &ResourceLimits) -> Result<()> {
    limits.validate()?;
    if let Some(memory) = limits.memory_mb.filter(|memory| *memory < 16) {
        return Err(Error::invalid_input(format!("a guest needs at least 16 MiB of memory, not {memory}")));
    }
    if let Some(cores) = limits.cpu_cores.filter(|cores| *cores > 128.0) {
        return Err(Error::invalid_input(format!("a guest has at most 128 cores, not {cores}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_core_are_a_share_of_the_next_whole_one() {
        assert_eq!(cores(0.5), (1, 0.5));
        assert_eq!(cores(2.0), (2, 0.0));
        assert_eq!(cores(2.5), (3, 2.5));
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(size_in_bytes("2G"), Some(2 << 30));
        assert_eq!(size_in_bytes("64M"), Some(64 << 20));
        assert_eq!(size_in_bytes("1.5G"), Some(3 << 29));
        assert_eq!(size_in_bytes("512"), Some(512));
        assert_eq!(size_in_bytes("big"), None);
        assert_eq!(gibibytes(64 << 20), 1);
    }
}

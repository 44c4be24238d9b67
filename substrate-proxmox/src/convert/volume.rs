//! Volumes: disks that are no guest's.
//!
//! A disk of Proxmox VE carries the number of its guest in its name, and goes when that guest does. So a volume is one
//! of a guest that there never is, [`ProxmoxConfig::volume_vmid`](crate::ProxmoxConfig::volume_vmid). What follows the
//! number is free: the volume's name, and its labels, since a disk has no other place for them.

use std::collections::BTreeMap;

use substrate_core::{Error, Labels, Result, mark};

use super::base64;

/// Marks that every deployment uses: in a name, each character counts.
const SHORT: [(&str, &str); 4] =
    [(mark::DEPLOYMENT, "$d"), (mark::RESOURCE, "$r"), (mark::KEY, "$k"), (mark::LEASE, "$l")];

/// How long the name of a disk can be on a storage of this type.
fn longest(storage_type: &str) -> usize {
    match storage_type {
        "lvm" | "lvmthin" => 126,
        "rbd" => 95,
        _ => 200,
    }
}

/// Whether a volume can be called so: what every storage can call a disk.
pub(crate) fn is_volume_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= 80
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The name of a volume's disk. `format` is what it is: `subvol` is a folder, all else a block device or a file.
pub(crate) fn disk_name(
    owner: u64,
    name: &str,
    labels: &Labels,
    format: &str,
    storage_type: &str,
    is_file: bool,
) -> Result<String> {
    if !is_volume_name(name) {
        return Err(Error::invalid_input(format!(
            "`{}` cannot be the name of a volume of Proxmox VE",
            name.escape_debug()
        ))
        .with_hint("letters, digits, `-` and `_`, up to 80, beginning with a letter or digit"));
    }
    let word = if format == "subvol" { "subvol" } else { "vm" };
    let mut text = format!("{word}-{owner}-{name}");
    if !labels.is_empty() {
        text.push('.');
        text.push_str(&written(labels)?);
    }
    let longest = longest(storage_type);
    if text.len() > longest {
        return Err(Error::invalid_input(format!(
            "name and labels of the volume need {} characters together; a storage of the type `{storage_type}` keeps {longest}",
            text.len()
        ))
        .with_hint("they stand in the disk's name: use fewer or shorter labels"));
    }
    if is_file {
        text.push('.');
        text.push_str(format);
    }
    Ok(text)
}

/// The name and the labels of a volume, from the id of its disk; nothing for what is no volume of this owner.
pub(crate) fn read(volid: &str, owner: u64) -> Option<(String, Labels)> {
    let (_, rest) = volid.split_once(':')?;
    let (is_file, disk) = match rest.rsplit_once('/') {
        Some((_, disk)) => (true, disk),
        None => (false, rest),
    };
    let disk = disk.strip_prefix("vm-").or_else(|| disk.strip_prefix("subvol-"))?;
    let mut text = disk.strip_prefix(&owner.to_string())?.strip_prefix('-')?;
    if is_file {
        text = text.rsplit_once('.')?.0;
    }
    let (name, labels) = match text.split_once('.') {
        Some((name, labels)) => (name, labels_in(labels)?),
        None => (text, Labels::new()),
    };
    is_volume_name(name).then(|| (name.to_owned(), labels))
}

fn written(labels: &Labels) -> Result<String> {
    let short = |key: &str| match SHORT.iter().find(|(long, _)| *long == key) {
        Some((_, short)) => (*short).to_owned(),
        None if key.starts_with('$') => format!("${key}"),
        None => key.to_owned(),
    };
    let all: BTreeMap<String, &str> = labels.iter().map(|(key, value)| (short(key), value)).collect();
    let json = serde_json::to_vec(&all)
        .map_err(|error| Error::internal(format!("the labels cannot be written: {error}")))?;
    Ok(base64::encode(&json).trim_end_matches('=').replace('+', "-").replace('/', "_"))
}

fn labels_in(text: &str) -> Option<Labels> {
    let json = base64::decode(&text.replace('-', "+").replace('_', "/"))?;
    let all: BTreeMap<String, String> = serde_json::from_slice(&json).ok()?;
    let long = |key: String| match SHORT.iter().find(|(_, short)| *short == key) {
        Some((long, _)) => (*long).to_owned(),
        None => key.strip_prefix('$').map_or_else(|| key.clone(), str::to_owned),
    };
    Some(all.into_iter().map(|(key, value)| (long(key), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_comes_back_from_its_disk_with_its_labels() {
        let labels: Labels =
            [("role", "a \"store\" = 1"), ("$odd", "☃"), (mark::DEPLOYMENT, "shop"), ("", "")]
                .into_iter()
                .collect();
        for labels in [labels, Labels::new()] {
            for (format, storage_type, is_file) in
                [("qcow2", "dir", true), ("raw", "zfspool", false), ("subvol", "zfspool", false)]
            {
                let disk = disk_name(999, "data-1", &labels, format, storage_type, is_file).unwrap();
                let folder = if is_file { "999/" } else { "" };
                let volid = format!("store:{folder}{disk}");
                assert_eq!(read(&volid, 999), Some(("data-1".to_owned(), labels.clone())), "{volid}");
                assert_eq!(read(&volid, 99), None);
            }
        }
    }

    #[test]
    fn the_marks_of_a_deployment_fit_on_every_storage() {
        let labels: Labels =
            [(mark::DEPLOYMENT, "shop"), (mark::RESOURCE, "data"), (mark::KEY, "0123456789abcdef")]
                .into_iter()
                .collect();
        for storage_type in ["dir", "zfspool", "lvmthin"] {
            disk_name(999_999_999, "shop-data", &labels, "raw", storage_type, false).unwrap();
        }
        let long: Labels = [("key", "x".repeat(300))].into_iter().collect();
        assert!(disk_name(999, "a", &long, "raw", "dir", true).unwrap_err().is_invalid_input());
    }

    #[test]
    fn names_that_some_storage_cannot_keep_are_refused() {
        for wrong in ["", "a.b", "a/b", "..", "-a", "a b", "größe", &"n".repeat(81)] {
            let refused = disk_name(999, wrong, &Labels::new(), "raw", "dir", true);
            assert!(refused.unwrap_err().is_invalid_input(), "{wrong}");
        }
        for none in
            ["local:100/vm-100-disk-0.qcow2", "x", "local:iso/a.iso", "tank:base-999-a", "tank:vm-999-"]
        {
            assert_eq!(read(none, 999), None, "{none}");
        }
    }
}

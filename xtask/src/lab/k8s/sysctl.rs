//! What the node's agent sets for the whole machine, put back at the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

const SETTINGS: &[&str] = &[
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/conf/all/route_localnet",
];

/// The values before the agent starts; what this machine does not have is left out.
pub fn read() -> BTreeMap<String, String> {
    SETTINGS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), fs::read_to_string(path(name)).ok()?.trim().to_owned())))
        .collect()
}

/// Sets those that differ.
pub fn restore(before: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in before {
        let path = path(name);
        if fs::read_to_string(&path).is_ok_and(|now| now.trim() != value) {
            fs::write(&path, value).with_context(|| format!("cannot put back {}", path.display()))?;
        }
    }
    Ok(())
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

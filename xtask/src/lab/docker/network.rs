//! Bridges: the lab makes its own, so that it meets no `docker0`, and removes those of its networks.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result};

use crate::command::{command, output};

/// Makes the bridge with its address, if it is not there.
pub fn ensure_bridge(name: &str, address: &str) -> Result<()> {
    if !exists(name) {
        ip(&["link", "add", "name", name, "type", "bridge"])?;
    }
    ip(&["address", "replace", address, "dev", name])?;
    ip(&["link", "set", name, "up"])
}

/// Removes the bridge, if it is there.
pub fn remove_bridge(name: &str) -> Result<()> {
    if exists(name) { ip(&["link", "delete", name, "type", "bridge"]) } else { Ok(()) }
}

/// Bridges that a daemon made for its users' networks, from what it stored; also for a daemon that was
/// killed. Networks that were deleted may still be in that file: their bridges are gone, which harms nobody.
pub fn bridges_of(data: &Path) -> Result<BTreeSet<String>> {
    let store = data.join("network/files/local-kv.db");
    match fs::read(&store) {
        Ok(content) => Ok(bridge_names(&String::from_utf8_lossy(&content))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", store.display())),
    }
}

/// The store is a B+ tree of JSON values: the values stand in it as they are.
fn bridge_names(store: &str) -> BTreeSet<String> {
    store
        .split(r#""BridgeName":""#)
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|(name, _)| name.to_owned())
        // The kernel's limit for names of interfaces; more is no name but a torn page.
        .filter(|name| !name.is_empty() && name.len() <= 15 && !name.contains('/'))
        .collect()
}

/// Whether the machine has an interface of this name.
pub fn exists(interface: &str) -> bool {
    // Not by /sys/class/net: that shows the network namespace of whoever mounted it.
    ip(&["link", "show", "dev", interface]).is_ok()
}

fn ip(arguments: &[&str]) -> Result<()> {
    output(command("ip").args(arguments)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridge_names_are_found_in_the_raw_store() {
        let store = "\0\u{1}{\"BridgeName\":\"br-0123456789ab\",\"Mtu\":1500}\0{\"BridgeName\":\"mine\"}\
                     {\"BridgeName\":\"\"}{\"BridgeName\":\"torn and much too long\"}";
        let expected: BTreeSet<String> = ["br-0123456789ab", "mine"].map(str::to_owned).into();
        assert_eq!(bridge_names(store), expected);
    }
}

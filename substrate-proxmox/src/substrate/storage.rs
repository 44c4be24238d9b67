//! What lies on the storages of the nodes: disks and images.

use std::collections::{BTreeMap, BTreeSet};

use substrate_core::Result;

use super::ProxmoxSubstrate;
use crate::convert::inventory::{Content, Storage};

/// Something on a storage, and where.
pub(super) struct Stored {
    pub(super) node: String,
    pub(super) storage: Storage,
    pub(super) content: Content,
}

/// `storage:rest`, as far as it can be one.
pub(super) fn storage_in(volume: &str) -> Option<&str> {
    let (storage, rest) = volume.split_once(':')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_one = storage.starts_with(|first: char| first.is_ascii_alphabetic())
        && storage.bytes().all(plain)
        && !rest.is_empty()
        && !rest.contains("..")
        && rest.bytes().all(|byte| plain(byte) || matches!(byte, b'/' | b'+' | b'='));
    is_one.then_some(storage)
}

impl ProxmoxSubstrate {
    /// What lies on the storages of the nodes that are online, in order of ids; on shared ones once.
    pub(super) async fn contents(&self, kinds: &[&str]) -> Result<Vec<Stored>> {
        let mut found = BTreeMap::new();
        let mut shared = BTreeSet::new();
        for node in self.online_nodes().await? {
            for storage in self.storages(&node.node).await? {
                let wanted: Vec<&&str> = kinds.iter().filter(|kind| storage.is_usable_for(kind)).collect();
                if wanted.is_empty() || (storage.is_shared() && !shared.insert(storage.storage.clone())) {
                    continue;
                }
                for kind in wanted {
                    for content in self.content(&node.node, &storage.storage, kind).await? {
                        let key = (content.volid.clone(), node.node.clone());
                        let (node, storage) = (node.node.clone(), storage.clone());
                        found.entry(key).or_insert(Stored { node, storage, content });
                    }
                }
            }
        }
        Ok(found.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_names_its_storage() {
        assert_eq!(storage_in("local:100/vm-100-disk-0.qcow2"), Some("local"));
        for none in ["web", "../x:y", ":x", "local:", "local:../x", "a;b:c"] {
            assert_eq!(storage_in(none), None, "{none}");
        }
    }
}

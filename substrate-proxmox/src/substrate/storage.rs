//! Disks and images: what lies on the storages.

use std::collections::BTreeMap;

use substrate_core::{Error, Image, Result, Volume, VolumeName};

use super::ProxmoxSubstrate;
use crate::client::{Form, Upid, path};
use crate::convert::guest::time;
use crate::convert::inventory::Content;

/// What images are, on storages.
const IMAGES: [&str; 3] = ["import", "iso", "vztmpl"];

/// `storage:rest`, as far as it can be one.
fn storage_in(volume: &str) -> Option<&str> {
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
    /// What lies on the storages of the nodes that are online, shared ones once.
    async fn contents(&self, kinds: &[&str]) -> Result<BTreeMap<String, (String, Content)>> {
        let mut found = BTreeMap::new();
        for node in self.online_nodes().await? {
            for storage in self.storages(&node.node).await? {
                for kind in kinds.iter().filter(|kind| storage.is_usable_for(kind)) {
                    for content in self.content(&node.node, &storage.storage, kind).await? {
                        found.entry(content.volid.clone()).or_insert((node.node.clone(), content));
                    }
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn volumes(&self) -> Result<Vec<Volume>> {
        let found = self.contents(&["images", "rootdir"]).await?;
        let volumes = found.into_iter().filter_map(|(id, (node, content))| {
            // What no name can be has no place in the list.
            let name = VolumeName::new(&id).ok()?;
            let mut volume = Volume::new(id.clone(), name);
            volume.size_bytes = content.size;
            volume.location = Some(format!("{node}/{}", id.split(':').next().unwrap_or_default()));
            Some(volume)
        });
        Ok(volumes.collect())
    }

    pub(super) async fn drop_volume(&self, volume: &VolumeName) -> Result<()> {
        let id = volume.as_str();
        let none = || Error::not_found(format!("there is no volume called `{}`", id.escape_debug()));
        let storage = storage_in(id).ok_or_else(none)?;
        let found = self.contents(&["images", "rootdir"]).await?;
        let (node, content) = found.get(id).ok_or_else(none)?;
        let owner = content.vmid.as_ref().and_then(|vmid| match vmid {
            serde_json::Value::Number(number) => number.as_u64(),
            serde_json::Value::String(text) => text.parse().ok(),
            _ => None,
        });
        if let Some(vmid) = owner
            && let Some(place) = self.whereabouts(vmid).await?
        {
            // Also one that is not attached: it is the guest's, and a snapshot may need it.
            return Err(Error::conflict(format!("the volume belongs to guest {vmid} on {}", place.node))
                .with_hint("a guest's disks go with it"));
        }
        let attempt = "delete the volume";
        let target = path(&["nodes", node, "storage", storage, "content", id]);
        let data = self.client.delete(attempt, &target, Form::new()).await?;
        if data.is_null() {
            return Ok(());
        }
        self.client.follow(attempt, &Upid::parse(attempt, &data)?).await
    }

    /// Files that guests are made from, and templates.
    pub(super) async fn images(&self) -> Result<Vec<Image>> {
        let mut images: Vec<Image> = self
            .contents(&IMAGES)
            .await?
            .into_iter()
            .filter(|(_, (_, content))| IMAGES.contains(&content.content.as_str()))
            .map(|(id, (_, content))| {
                let mut image = Image::new(id.clone(), vec![id]);
                image.size_bytes = content.size;
                image.created_at = content.ctime.map(time);
                image
            })
            .collect();
        let view = self.nodes_view().await?;
        let (fresh, silent) = &*view;
        if !silent.is_empty() {
            return Err(Error::unavailable(format!(
                "the list of images is not complete: {} does not answer",
                silent.join(", ")
            )));
        }
        for listed in fresh.iter().filter(|listed| listed.template && self.kinds.contains(&listed.place.kind))
        {
            let names = listed.name.iter().cloned().collect();
            images.push(Image::new(listed.place.vmid.to_string(), names));
        }
        Ok(images)
    }

    pub(super) async fn image(&self, reference: &str) -> Result<Image> {
        if reference.is_empty() || reference.chars().any(char::is_control) {
            return Err(Error::invalid_input("the image is empty or contains a control character"));
        }
        let images = self.images().await?;
        let is_it = |image: &Image| image.id == reference || image.names.iter().any(|name| name == reference);
        images.into_iter().find(is_it).ok_or_else(|| {
            Error::not_found(format!("there is no image `{}`", reference.escape_debug()))
                .with_hint("upload it, or make a template of a guest: nothing is fetched from elsewhere")
        })
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

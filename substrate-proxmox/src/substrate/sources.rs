//! What guests can be made from, and where: images, nodes, storages, networks.

use substrate_core::{Error, Result};

use super::ProxmoxSubstrate;
use super::locate::Node;
use crate::client::{Form, path};
use crate::convert::guest::{Guest, GuestKind};
use crate::convert::inventory::{Content, Listed, Storage};

/// What an image's name means.
pub(super) enum Image {
    /// A guest that is a template.
    Template(Box<Guest>),
    /// A file on a storage: `import`, `iso` or `vztmpl`.
    File {
        volume: String,
        content: String,
        /// Where it was found.
        node: String,
    },
    Nothing,
}

fn no_image(name: &str) -> Error {
    Error::not_found(format!("there is no image `{}`", name.escape_debug())).with_hint(
        "name a template, or a file: `local:import/disk.qcow2`, `local:iso/x.iso`, `local:vztmpl/x.tar.zst`",
    )
}

impl ProxmoxSubstrate {
    // ---- images -----------------------------------------------------------------------------------

    pub(super) async fn image_called(
        &self,
        name: &str,
        kind: GuestKind,
        node: Option<&String>,
    ) -> Result<Image> {
        let fits: &[&str] = match kind {
            GuestKind::Qemu => &["import", "iso"],
            GuestKind::Lxc => &["vztmpl"],
        };
        let file = name.split_once(':').and_then(|(storage, rest)| Some((storage, rest.split_once('/')?.0)));
        if let Some((storage, content)) = file {
            if !matches!(content, "import" | "iso" | "vztmpl") {
                return Err(no_image(name));
            }
            if !fits.contains(&content) {
                return Err(Error::invalid_input(format!(
                    "a {} is not made from `{content}` but from {}",
                    kind.instance_kind(),
                    fits.join(" or ")
                )));
            }
            let found = match node {
                Some(node) => {
                    self.has(node, storage, content, name).await.map(|has| has.then(|| node.clone()))
                }
                None => self.node_with(storage, content, name).await,
            };
            let found = match found {
                Err(error) if error.is_not_found() || error.is_invalid_input() => None,
                found => found?,
            };
            let node = found.ok_or_else(|| no_image(name))?;
            return Ok(Image::File { volume: name.to_owned(), content: content.to_owned(), node });
        }
        let view = self.nodes_view().await?;
        let (fresh, _) = &*view;
        let named = |listed: &&Listed| {
            let by_number = name.parse::<u64>().is_ok_and(|vmid| vmid == listed.place.vmid);
            listed.template
                && listed.place.kind == kind
                && (listed.name.as_deref() == Some(name) || by_number)
        };
        let found: Vec<&Listed> = fresh.iter().filter(named).collect();
        match found.as_slice() {
            [] => Err(no_image(name)),
            [one] => Ok(Image::Template(Box::new(self.read(&one.place).await?))),
            several => {
                let ids: Vec<String> = several.iter().map(|one| one.place.vmid.to_string()).collect();
                Err(Error::invalid_input(format!("`{name}` is the name of several templates"))
                    .with_hint(format!("name one by its number: {}", ids.join(", "))))
            }
        }
    }

    pub(super) async fn content(&self, node: &str, storage: &str, content: &str) -> Result<Vec<Content>> {
        let target = path(&["nodes", node, "storage", storage, "content"]);
        self.client.get("list a storage", &target, Form::new().with("content", content)).await
    }

    async fn has(&self, node: &str, storage: &str, content: &str, volume: &str) -> Result<bool> {
        Ok(self.content(node, storage, content).await?.iter().any(|one| one.volid == volume))
    }

    /// The node on which a file is; of several the one with the most free memory.
    async fn node_with(&self, storage: &str, content: &str, volume: &str) -> Result<Option<String>> {
        let mut nodes = self.online_nodes().await?;
        nodes.sort_by_key(|node| std::cmp::Reverse(free_memory(node)));
        for node in nodes {
            let has_storage = self.storages(&node.node).await?.iter().any(|one| one.storage == storage);
            if has_storage && self.has(&node.node, storage, content, volume).await? {
                return Ok(Some(node.node));
            }
        }
        Ok(None)
    }

    // ---- nodes and storages -----------------------------------------------------------------------

    pub(super) async fn online_nodes(&self) -> Result<Vec<Node>> {
        Ok(self.nodes().await?.into_iter().filter(Node::is_online).collect())
    }

    pub(super) async fn roomiest_node(&self) -> Result<String> {
        let nodes = self.online_nodes().await?;
        nodes
            .into_iter()
            .max_by_key(free_memory)
            .map(|node| node.node)
            .ok_or_else(|| Error::unavailable("no node of the cluster is online"))
    }

    pub(super) async fn storages(&self, node: &str) -> Result<Vec<Storage>> {
        let query = Form::new().flag("enabled", true);
        self.client.get("list the storages", &path(&["nodes", node, "storage"]), query).await
    }

    pub(super) async fn storage_for(
        &self,
        node: &str,
        content: &str,
        wanted: Option<&String>,
    ) -> Result<Storage> {
        let all = self.storages(node).await?;
        let found = match wanted {
            Some(name) => all.into_iter().find(|one| one.storage == *name),
            None => all.into_iter().find(|one| one.is_usable_for(content)),
        };
        match found {
            Some(storage) if storage.is_usable_for(content) => Ok(storage),
            Some(storage) => Err(Error::invalid_input(format!(
                "the storage `{}` on {node} is not active or does not hold `{content}`",
                storage.storage
            ))),
            None => Err(Error::not_found(match wanted {
                Some(name) => format!("there is no storage `{name}` on {node}"),
                None => format!("no storage on {node} holds `{content}`"),
            })
            .with_hint("set `storage` in the configuration or in the options")),
        }
    }
}

fn free_memory(node: &Node) -> u64 {
    node.maxmem.unwrap_or_default().saturating_sub(node.mem.unwrap_or_default())
}

//! Lists: guests of the cluster and of a node, storages, content, tasks.

use serde::Deserialize;
use serde_json::Value;

use super::guest::{GuestKind, Place};
use super::text::{integer_of, is_true, text_of};

/// A guest in a list.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) place: Place,
    /// Missing just after a creation, and from nodes that are silent.
    pub(crate) name: Option<String>,
    /// `running`, `stopped`, or `unknown`.
    pub(crate) status: String,
    pub(crate) template: bool,
    pub(crate) lock: Option<String>,
}

/// What is read of a guest in a list. The API tells three times as much, most of it figures of the moment; to keep that
/// would be most of a list's work.
#[derive(Debug, Deserialize)]
pub(crate) struct ListedFields {
    #[serde(rename = "type")]
    kind: Option<Value>,
    node: Option<Value>,
    vmid: Option<Value>,
    name: Option<Value>,
    status: Option<Value>,
    template: Option<Value>,
    lock: Option<Value>,
}

impl Listed {
    /// From `/cluster/resources`; nothing for what is no guest.
    pub(crate) fn of_cluster(entry: &ListedFields) -> Option<Self> {
        let kind = GuestKind::from_word(&text_of(entry.kind.as_ref()?)?)?;
        Self::read(entry, kind, text_of(entry.node.as_ref()?)?)
    }

    /// From `/nodes/{node}/qemu` or `/nodes/{node}/lxc`.
    pub(crate) fn of_node(entry: &ListedFields, kind: GuestKind, node: &str) -> Option<Self> {
        Self::read(entry, kind, node.to_owned())
    }

    fn read(entry: &ListedFields, kind: GuestKind, node: String) -> Option<Self> {
        let words = |value: &Option<Value>| value.as_ref().and_then(text_of).filter(|text| !text.is_empty());
        Some(Self {
            place: Place { vmid: integer_of(entry.vmid.as_ref()?)?, kind, node },
            name: words(&entry.name),
            status: entry.status.as_ref().and_then(text_of).unwrap_or_else(|| "unknown".to_owned()),
            template: entry.template.as_ref().is_some_and(is_true),
            lock: words(&entry.lock),
        })
    }

    pub(crate) fn is_being_made(&self) -> bool {
        matches!(self.lock.as_deref(), Some("create" | "clone"))
    }
}

/// A storage as a node sees it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Storage {
    pub(crate) storage: String,
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) content: String,
    #[serde(default)]
    active: Value,
    #[serde(default)]
    shared: Value,
}

impl Storage {
    pub(crate) fn is_usable_for(&self, content: &str) -> bool {
        truth(&self.active) && self.content.split(',').any(|kind| kind == content)
    }

    pub(crate) fn is_shared(&self) -> bool {
        truth(&self.shared)
    }

    /// Whether the ids of disks end as files do, in their format.
    pub(crate) fn names_files(&self) -> bool {
        self.holds_files() || self.kind == "btrfs"
    }

    /// Whether disks are files: then their format is a choice, and only one of them can be snapshotted.
    pub(crate) fn holds_files(&self) -> bool {
        matches!(self.kind.as_str(), "dir" | "nfs" | "cifs" | "glusterfs")
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => text != "0" && !text.is_empty(),
        _ => true,
    }
}

/// Something on a storage.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Content {
    pub(crate) volid: String,
    #[serde(default)]
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) size: Option<u64>,
    #[serde(default)]
    pub(crate) ctime: Option<u64>,
    #[serde(default)]
    pub(crate) vmid: Option<Value>,
}

impl Content {
    /// The guest after which it is named.
    pub(crate) fn owner(&self) -> Option<u64> {
        match self.vmid.as_ref()? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// A task in a list.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Task {
    pub(crate) upid: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) id: Option<String>,
    pub(crate) starttime: u64,
    #[serde(default)]
    pub(crate) endtime: Option<u64>,
    /// In lists: the result.
    #[serde(default)]
    pub(crate) status: Option<String>,
}

impl Task {
    pub(crate) fn vmid(&self) -> Option<u64> {
        self.id.as_deref()?.parse().ok()
    }
}

//! Saved states of an instance, and copies of it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::label::Labels;
use crate::name::{InstanceName, SnapshotName};

/// A saved state of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its name, unique per instance.
    pub name: SnapshotName,
    /// The instance.
    pub instance: InstanceName,
    /// The technology's own id, where it has one.
    pub id: Option<String>,
    /// When it was taken.
    #[serde(with = "crate::time_format::option")]
    pub created_at: Option<SystemTime>,
    /// Whether it holds memory too.
    pub memory: bool,
    /// What it takes on disk, where the technology says so.
    pub size_bytes: Option<u64>,
    /// What its creator wrote about it.
    pub description: Option<String>,
    /// Its labels, where the substrate has [`Feature::ResourceLabels`](crate::Feature::ResourceLabels).
    pub labels: Labels,
}

impl Snapshot {
    /// A snapshot of which nothing more is known.
    #[must_use]
    pub fn new(name: SnapshotName, instance: InstanceName) -> Self {
        Self {
            name,
            instance,
            id: None,
            created_at: None,
            memory: false,
            size_bytes: None,
            description: None,
            labels: Labels::new(),
        }
    }
}

/// What [`create_snapshot`](crate::Substrate::create_snapshot) takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SnapshotConfig {
    /// Its name, unique per instance.
    pub name: SnapshotName,
    /// Save memory too: needs [`Feature::SnapshotMemory`](crate::Feature::SnapshotMemory).
    #[serde(default)]
    pub memory: bool,
    /// A text about it.
    #[serde(default)]
    pub description: Option<String>,
    /// Labels: need [`Feature::ResourceLabels`](crate::Feature::ResourceLabels).
    #[serde(default)]
    pub labels: Labels,
}

impl SnapshotConfig {
    /// A snapshot of the disks.
    #[must_use]
    pub fn new(name: SnapshotName) -> Self {
        Self { name, memory: false, description: None, labels: Labels::new() }
    }

    /// Saves memory too.
    #[must_use]
    pub fn with_memory(mut self) -> Self {
        self.memory = true;
        self
    }

    /// Sets the text about it.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key, value);
        self
    }
}

/// What [`clone_instance`](crate::Substrate::clone_instance) takes: the copy's identity. Everything else is
/// the source's; labels are **not** copied, because an ownership mark belongs to one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CloneConfig {
    /// The copy's name.
    pub name: InstanceName,
    /// The copy's labels.
    #[serde(default)]
    pub labels: Labels,
    /// Copy from this snapshot instead of the present state.
    #[serde(default)]
    pub snapshot: Option<SnapshotName>,
}

impl CloneConfig {
    /// A copy called `name`, without labels.
    #[must_use]
    pub fn new(name: InstanceName) -> Self {
        Self { name, labels: Labels::new(), snapshot: None }
    }

    /// Sets a label of the copy.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key, value);
        self
    }

    /// Copies from a snapshot.
    #[must_use]
    pub fn from_snapshot(mut self, snapshot: SnapshotName) -> Self {
        self.snapshot = Some(snapshot);
        self
    }
}

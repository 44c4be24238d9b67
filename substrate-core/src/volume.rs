//! Storage that outlives an instance.

use serde::{Deserialize, Serialize};

use crate::label::Labels;
use crate::name::VolumeName;

/// A volume of the substrate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Volume {
    /// The technology's own id, or the name again.
    pub id: String,
    /// Its name.
    pub name: VolumeName,
    /// Its size, where it has one.
    pub size_bytes: Option<u64>,
    /// The technology's word for where it lies: a driver, a pool, a storage class.
    pub location: Option<String>,
    /// Its labels, where the substrate has [`Feature::ResourceLabels`](crate::Feature::ResourceLabels).
    pub labels: Labels,
}

impl Volume {
    /// A volume of which nothing more is known.
    #[must_use]
    pub fn new(id: impl Into<String>, name: VolumeName) -> Self {
        Self { id: id.into(), name, size_bytes: None, location: None, labels: Labels::new() }
    }
}

/// What [`create_volume`](crate::Substrate::create_volume) takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct VolumeSpec {
    /// Its name.
    pub name: VolumeName,
    /// Its size; refused with `Unsupported` where volumes have none.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Where it shall lie; the substrate's default when left out.
    #[serde(default)]
    pub location: Option<String>,
    /// Labels; need [`Feature::ResourceLabels`](crate::Feature::ResourceLabels).
    #[serde(default)]
    pub labels: Labels,
    /// What only one technology has; unknown keys are refused.
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
}

impl VolumeSpec {
    /// A volume with everything left to the substrate.
    #[must_use]
    pub fn new(name: VolumeName) -> Self {
        Self {
            name,
            size_bytes: None,
            location: None,
            labels: Labels::new(),
            options: serde_json::Map::new(),
        }
    }

    /// Sets the size.
    #[must_use]
    pub fn with_size_bytes(mut self, bytes: u64) -> Self {
        self.size_bytes = Some(bytes);
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key, value);
        self
    }
}

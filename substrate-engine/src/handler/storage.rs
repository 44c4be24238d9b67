//! `type: storage`: a volume.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use substrate_core::config::{ConfigError, Problem, bytes_size};
use substrate_core::{Feature, Operation, VolumeName, VolumeSpec};

use super::interpretation::{Interpretation, Need, Subject};
use super::registry::ResourceHandler;

/// A volume.
#[derive(Debug, Clone, Copy)]
pub struct StorageHandler;

/// The specs of a `storage` resource.
///
/// | key | |
/// |---|---|
/// | `size` | with a unit: `1TB`, `20GiB` |
/// | `location` | the technology's word for where it lies: a driver, a pool, a storage class |
/// | `type`, `encryption` | what kind of storage is wished for |
/// | `labels`, `options` | maps |
///
/// No substrate has a portable word for `type` and `encryption`, so they do not change what is made: they are written
/// into the volume's labels (`storage.type`, `storage.encryption`). To have a volume encrypted, choose a `location` or
/// `options` that encrypt.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSpecs {
    #[serde(default, with = "bytes_size::optional")]
    size: Option<u64>,
    #[serde(default)]
    location: Option<String>,
    #[serde(default, rename = "type")]
    storage_type: Option<String>,
    #[serde(default)]
    encryption: Option<bool>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    options: Map<String, Value>,
}

impl StorageSpecs {
    /// The volume that these specs describe. Ownership marks are not in it: the deployment adds them.
    #[must_use]
    pub fn volume_spec(&self, name: VolumeName) -> VolumeSpec {
        let mut volume = VolumeSpec::new(name);
        volume.size_bytes = self.size;
        volume.location.clone_from(&self.location);
        if let Some(kind) = &self.storage_type {
            volume.labels.insert("storage.type", kind);
        }
        if let Some(encryption) = self.encryption {
            volume.labels.insert("storage.encryption", encryption.to_string());
        }
        volume.labels.extend(self.labels.clone());
        volume.options.clone_from(&self.options);
        volume
    }
}

impl ResourceHandler for StorageHandler {
    fn kind(&self) -> &str {
        "storage"
    }

    fn interpret(&self, subject: Subject<'_>) -> Result<Interpretation, ConfigError> {
        let specs = subject.specs;
        let typed: StorageSpecs = specs.parse()?;
        if let Some(size) = typed.size.filter(|size| *size < 1024 * 1024) {
            let place = specs.location_of("size").cloned();
            let message =
                format!("`size` is {size} bytes, less than 1 MiB: write the unit, such as `{size}GiB`");
            return Err(Problem::new(format!("{}.size", specs.name()), message).at(place).into());
        }
        let name =
            subject.name.parse::<VolumeName>().map_err(|error| specs.problem(error.message().to_owned()))?;
        let mut needs =
            vec![Need::at(specs, "", Operation::CreateVolume), Need::at(specs, "", Operation::DeleteVolume)];
        let labelled = [
            ("labels", !typed.labels.is_empty()),
            ("type", typed.storage_type.is_some()),
            ("encryption", typed.encryption.is_some()),
        ];
        if let Some((path, _)) = labelled.into_iter().find(|(_, asked)| *asked) {
            needs.push(Need::at(specs, path, Feature::ResourceLabels));
        }
        let mut properties = serde_json::to_value(typed.volume_spec(name)).unwrap_or_default();
        if let Value::Object(fields) = &mut properties {
            fields.remove("name");
        }
        Ok(Interpretation { needs, ..Interpretation::new(properties) })
    }
}

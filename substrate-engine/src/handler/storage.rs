//! `type: storage`: a volume.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use substrate_core::config::{ConfigError, Problem, bytes_size};
use substrate_core::mark;
use substrate_core::{Feature, Operation, Result, Volume, VolumeName, VolumeSpec};

use super::instance::configured;
use super::interpretation::{Interpretation, Need, Subject};
use super::registry::ResourceHandler;
use super::site::{Found, Site};

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

#[async_trait]
impl ResourceHandler for StorageHandler {
    fn kind(&self) -> &str {
        "storage"
    }

    fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
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

    async fn read(&self, site: &Site<'_>) -> Result<Option<Found>> {
        if let Some(lists) = site.lists() {
            return Ok(lists.volumes().await?.get(site.name).map(|volume| found(site, volume)));
        }
        let volumes = site.substrate()?.list_volumes().await?;
        Ok(volumes.iter().find(|one| one.name.as_str() == site.name).map(|volume| found(site, volume)))
    }

    async fn create(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        let volume = site.substrate()?.create_volume(&volume_spec(site, properties)?).await?;
        Ok(found(site, &volume))
    }

    async fn delete(&self, site: &Site<'_>) -> Result<()> {
        match site.substrate()?.delete_volume(&site.name.parse()?).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

/// The volume that the properties describe, with the marks.
fn volume_spec(site: &Site<'_>, properties: &Value) -> Result<VolumeSpec> {
    let mut fields: Map<String, Value> = properties.as_object().cloned().unwrap_or_default();
    fields.remove("resource");
    fields.insert("name".to_owned(), site.name.into());
    let mut volume: VolumeSpec = configured(site, Value::Object(fields))?;
    if site.has(Feature::ResourceLabels) {
        volume.labels.extend(site.marks.clone());
    }
    Ok(volume)
}

fn found(site: &Site<'_>, volume: &Volume) -> Found {
    let has_labels = site.has(Feature::ResourceLabels);
    let labels: BTreeMap<&str, &str> = volume.labels.iter().filter(|(key, _)| *key != mark::KEY).collect();
    let mut found = Found::new(json!({
        "size_bytes": volume.size_bytes,
        "location": volume.location,
        "labels": labels,
    }));
    found.identity = Some(volume.id.clone());
    found.labels = has_labels.then(|| volume.labels.clone());
    found.complete_below = if has_labels { vec!["labels".to_owned()] } else { Vec::new() };
    found.with_output("id", volume.id.as_str()).with_output("name", volume.name.as_str())
}

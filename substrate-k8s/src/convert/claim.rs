//! Volumes: claims.

use serde::Deserialize;
use serde_json::{Value, json};
use substrate_core::{Error, Result, Volume, VolumeName, VolumeSpec};

use super::labels;
use super::meta::Meta;
use super::pod::Resources;
use super::quantity;
use crate::client::Resource;
use crate::name;
use crate::options::{self, K8sVolumeOptions};

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Claim {
    pub(crate) metadata: Meta,
    pub(crate) spec: ClaimSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClaimSpec {
    pub(crate) storage_class_name: Option<String>,
    pub(crate) resources: Resources,
}

const ACCESS_MODES: [&str; 4] = ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"];

/// Checks a volume that shall be made, and gives the claim.
///
/// # Errors
/// `InvalidInput` for what nobody can mean.
pub(crate) fn of_spec(spec: &VolumeSpec, default_size: u64) -> Result<Value> {
    name::check_new_claim(spec.name.as_str())?;
    labels::check(&spec.labels)?;
    let asked: K8sVolumeOptions = options::parse("volume", &spec.options)?;
    let mode = asked.access_mode.as_deref().unwrap_or("ReadWriteOnce");
    if !ACCESS_MODES.contains(&mode) {
        return Err(Error::invalid_input(format!("`{}` is no access mode", mode.escape_debug()))
            .with_hint(format!("known: {}", ACCESS_MODES.join(", "))));
    }
    let size = spec.size_bytes.unwrap_or(default_size);
    if size == 0 {
        return Err(Error::invalid_input("the size of a volume must be at least 1 byte"));
    }
    let written = labels::write(&spec.labels, &std::collections::BTreeMap::new());
    let mut claim = json!({
        "accessModes": [mode],
        "resources": {"requests": {"storage": size.to_string()}},
    });
    // Left out is the cluster's default class, empty is none at all.
    if let (Value::Object(claim), Some(class)) = (&mut claim, &spec.location) {
        claim.insert("storageClassName".to_owned(), json!(class));
    }
    if let (Value::Object(claim), Some(snapshot)) = (&mut claim, &asked.snapshot) {
        let (group, _) = Resource::Snapshots.group().split_once('/').unwrap_or_default();
        let source = json!({"apiGroup": group, "kind": Resource::Snapshots.kind(), "name": snapshot});
        claim.insert("dataSource".to_owned(), source);
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": spec.name, "labels": written.labels, "annotations": written.annotations},
        "spec": claim,
    }))
}

impl Claim {
    pub(crate) fn volume(&self) -> Result<Volume> {
        let name = VolumeName::new(&self.metadata.name).map_err(|error| Error::protocol(error.message()))?;
        let mut volume = Volume::new(&self.metadata.uid, name);
        volume.size_bytes =
            self.spec.resources.requests.get("storage").and_then(|text| quantity::bytes(text));
        volume.location = self.spec.storage_class_name.clone();
        volume.labels = labels::read(&self.metadata);
        Ok(volume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_as_it_was_made() {
        let spec =
            VolumeSpec::new("data".parse().unwrap()).with_size_bytes(1 << 30).with_label("role", "a \"b\"");
        let claim: Claim = serde_json::from_value(of_spec(&spec, 1).unwrap()).unwrap();
        let volume = claim.volume().unwrap();
        assert_eq!((volume.size_bytes, volume.labels.get("role")), (Some(1 << 30), Some("a \"b\"")));
    }

    #[test]
    fn a_claim_begins_with_the_content_of_a_snapshot() {
        let mut spec = VolumeSpec::new("data".parse().unwrap());
        spec.options.insert("snapshot".to_owned(), json!("web.before.0"));
        let source =
            json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "web.before.0"});
        assert_eq!(of_spec(&spec, 1).unwrap()["spec"]["dataSource"], source);
    }

    #[test]
    fn unknown_modes_and_options_are_refused() {
        let mut spec = VolumeSpec::new("data".parse().unwrap());
        spec.options.insert("access_mode".to_owned(), json!("Sometimes"));
        assert!(of_spec(&spec, 1).unwrap_err().is_invalid_input());
        spec.options.insert("acess_mode".to_owned(), json!("x"));
        assert!(of_spec(&spec, 1).unwrap_err().is_invalid_input());
    }
}

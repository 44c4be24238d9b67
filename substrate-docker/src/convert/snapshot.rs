//! Snapshots as images: names, labels, and back.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;
use std::time::SystemTime;
use substrate_core::{InstanceName, Labels, Snapshot, SnapshotConfig, SnapshotName};

/// The snapshot's name, exactly as given.
pub(crate) const NAME: &str = "substrate.snapshot.name";
/// The instance's name when it was taken.
pub(crate) const INSTANCE: &str = "substrate.snapshot.instance";
/// The line of containers that it belongs to.
pub(crate) const LINEAGE: &str = "substrate.snapshot.lineage";
const DESCRIPTION: &str = "substrate.snapshot.description";
const LABELS: &str = "substrate.snapshot.labels";
/// Marks the image that a copy was made from, which lives and dies with the copy.
pub(crate) const CLONE: &str = "substrate.snapshot.clone";
/// On such an image: the line that was copied. When the copying is broken off before there is a copy, the
/// image has no other owner and goes with the source.
pub(crate) const SOURCE: &str = "substrate.snapshot.source";
/// All images of snapshots are called by this, so that a person who lists images knows what they are.
const REPOSITORY: &str = "substrate-snapshot";
/// The longest tag.
const TAG_LIMIT: usize = 128;
/// Names of containers that a restore makes on its way.
const TEMPORARY: &str = ".substrate-";

/// The repository of a line's snapshots.
pub(crate) fn repository(lineage: &str) -> String {
    format!("{REPOSITORY}/{lineage}")
}

/// The tag of a snapshot: its name where the grammar of tags allows, with everything else as `_` and two
/// hexadecimal digits. The true name stands in a label.
pub(crate) fn tag(name: &SnapshotName) -> String {
    let mut tag = String::new();
    for (position, byte) in name.as_str().bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || (position > 0 && matches!(byte, b'.' | b'-'));
        if plain {
            tag.push(char::from(byte));
        } else {
            let _ = write!(tag, "_{byte:02x}");
        }
    }
    if tag.len() > TAG_LIMIT {
        // Too long to be spelled out: its beginning, and 128 bits of the whole.
        let hash =
            name.as_str().bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
                (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
            });
        tag.truncate(TAG_LIMIT - 34);
        let _ = write!(tag, "__{hash:032x}");
    }
    tag
}

/// The full reference of a snapshot's image.
pub(crate) fn reference(lineage: &str, name: &SnapshotName) -> String {
    format!("{}:{}", repository(lineage), tag(name))
}

/// The labels of a snapshot's image.
pub(crate) fn image_labels(
    lineage: &str,
    instance: &str,
    config: &SnapshotConfig,
) -> HashMap<String, String> {
    let labels: BTreeMap<&str, &str> = config.labels.iter().collect();
    let mut all = HashMap::from([
        (NAME.to_owned(), config.name.to_string()),
        (INSTANCE.to_owned(), instance.to_owned()),
        (LINEAGE.to_owned(), lineage.to_owned()),
        (LABELS.to_owned(), serde_json::to_string(&labels).unwrap_or_default()),
        // Overrides what a container that was made from a snapshot would hand down.
        (CLONE.to_owned(), String::new()),
        (SOURCE.to_owned(), String::new()),
        (DESCRIPTION.to_owned(), String::new()),
    ]);
    if let Some(description) = &config.description {
        all.insert(DESCRIPTION.to_owned(), description.clone());
    }
    all
}

/// The labels of an image that a copy is made from.
pub(crate) fn clone_labels(source: &str, copy: &str) -> HashMap<String, String> {
    HashMap::from([
        (CLONE.to_owned(), copy.to_owned()),
        (SOURCE.to_owned(), source.to_owned()),
        (NAME.to_owned(), String::new()),
        (INSTANCE.to_owned(), String::new()),
        (LINEAGE.to_owned(), String::new()),
    ])
}

/// One entry of `/images/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImageSummary {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) repo_digests: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) created: Option<Value>,
    #[serde(default)]
    pub(crate) size: Option<i64>,
    #[serde(default)]
    pub(crate) labels: Option<Labels>,
}

impl ImageSummary {
    /// The names under which it can be asked for.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let tags = self.repo_tags.iter().flatten();
        tags.map(String::as_str).filter(|tag| !tag.contains("<none>"))
    }

    pub(crate) fn created_at(&self) -> Option<SystemTime> {
        match self.created.as_ref()? {
            Value::Number(seconds) => super::time::from_seconds(seconds.as_u64()?),
            Value::String(text) => super::time::parse(text),
            _ => None,
        }
    }

    /// The snapshot that this image is, if it still is one: an image whose tag was taken away only stays
    /// for the containers that were made from it.
    pub(crate) fn snapshot(&self, lineage: &str, instance: &InstanceName) -> Option<Snapshot> {
        let labels = self.labels.as_ref()?;
        if labels.get(LINEAGE) != Some(lineage) {
            return None;
        }
        let name = SnapshotName::new(labels.get(NAME)?).ok()?;
        let wanted = reference(lineage, &name);
        // Podman puts `localhost/` in front of names without a registry.
        if !self.names().any(|tag| tag == wanted || tag.strip_prefix("localhost/") == Some(&wanted)) {
            return None;
        }
        let mut snapshot = Snapshot::new(name, instance.clone());
        snapshot.id = Some(self.id.clone());
        snapshot.created_at = self.created_at();
        snapshot.size_bytes = self.size.and_then(|size| u64::try_from(size).ok());
        snapshot.description = labels.get(DESCRIPTION).filter(|text| !text.is_empty()).map(str::to_owned);
        snapshot.labels =
            labels.get(LABELS).and_then(|json| serde_json::from_str::<Labels>(json).ok()).unwrap_or_default();
        Some(snapshot)
    }
}

/// The name under which a restore builds the new container, or puts the old one aside.
pub(crate) fn temporary_name(name: &str, role: &str, id: &str) -> String {
    let short: String = id.chars().take(12).collect();
    format!("{name}{TEMPORARY}{role}-{short}")
}

/// Whether a name is one of those.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.contains(TEMPORARY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SnapshotName {
        SnapshotName::new(text).unwrap()
    }

    #[test]
    fn every_name_becomes_a_legal_tag_of_its_own() {
        let long = "x".repeat(255);
        let longer = format!("{}y", "x".repeat(254));
        let names = [
            "before-upgrade",
            "a b",
            "a_b",
            "-a",
            ".a",
            "../x",
            "ä",
            "A",
            "a",
            "_20",
            " ",
            &long,
            &longer,
            "%2e",
        ];
        let mut tags: Vec<String> = names.iter().map(|text| tag(&name(text))).collect();
        for tag in &tags {
            assert!(tag.len() <= TAG_LIMIT && !tag.starts_with(['.', '-']), "{tag}");
            assert!(tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)), "{tag}");
        }
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), names.len());
        assert_eq!(tag(&name("before-upgrade")), "before-upgrade");
    }

    fn image(labels: HashMap<String, String>, tags: &[&str]) -> ImageSummary {
        ImageSummary {
            id: "sha256:1".to_owned(),
            repo_tags: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()),
            repo_digests: None,
            created: Some(Value::from(5)),
            size: Some(10),
            labels: Some(labels.into_iter().collect()),
        }
    }

    #[test]
    fn a_snapshot_comes_back_as_it_was_written() {
        let mut config = SnapshotConfig::new(name("a b/ä")).with_label("k", "v");
        config.description = Some("before".to_owned());
        let labels = image_labels("f0", "web", &config);
        let image = image(labels, &[&reference("f0", &config.name)]);
        let snapshot = image.snapshot("f0", &"web".parse().unwrap()).unwrap();
        assert_eq!(snapshot.name, config.name);
        assert_eq!(snapshot.description.as_deref(), Some("before"));
        assert_eq!(snapshot.labels, config.labels);
        assert_eq!(image.snapshot("f1", &"web".parse().unwrap()), None, "another container's");
    }

    #[test]
    fn an_image_without_its_tag_is_no_snapshot_any_more() {
        let config = SnapshotConfig::new(name("s"));
        let image = image(image_labels("f0", "web", &config), &["<none>:<none>"]);
        assert_eq!(image.snapshot("f0", &"web".parse().unwrap()), None);
    }
}

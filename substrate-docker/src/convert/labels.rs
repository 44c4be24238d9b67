//! What this provider keeps in Docker labels for itself.
//!
//! Docker's labels cannot be changed after the creation, and a commit copies a container's labels into the
//! image, from where every container made of it inherits them. So what must not be inherited is overridden
//! with an empty value and listed in [`MASKED`].

use std::collections::BTreeMap;

use serde_json::Value;
use substrate_core::{Error, Labels, Result};

/// `metadata` of the configuration, as JSON.
pub(crate) const METADATA: &str = "substrate.metadata";
/// Everything about snapshots, on images and inherited by containers made of them.
pub(crate) const SNAPSHOT_PREFIX: &str = "substrate.snapshot.";
/// Everything that this provider keeps on containers.
pub(crate) const PRIVATE_PREFIX: &str = "substrate.docker.";
/// Whose snapshots a container's are: the id of the first container of its line. A restore makes a new
/// container, and its snapshots stay its own.
pub(crate) const LINEAGE: &str = "substrate.docker.lineage";
/// The image that a restored or cloned container was originally made from.
pub(crate) const ORIGINAL_IMAGE: &str = "substrate.docker.image";
/// Inherited labels that are not the container's own, as a JSON list.
pub(crate) const MASKED: &str = "substrate.docker.masked";
/// The snapshot that a container was restored from.
pub(crate) const RESTORED_FROM: &str = "substrate.docker.restored";
/// The container that a restored one takes the place of, while both exist.
pub(crate) const REPLACES: &str = "substrate.docker.replaces";

/// Whether a key is this provider's own: never shown, never accepted from a caller.
pub(crate) fn is_private(key: &str) -> bool {
    key == METADATA || key.starts_with(SNAPSHOT_PREFIX) || key.starts_with(PRIVATE_PREFIX)
}

/// Refuses labels that would change the meaning of our own.
pub(crate) fn check(labels: &Labels) -> Result<()> {
    match labels.iter().find(|(key, _)| is_private(key)) {
        Some((key, _)) => {
            Err(Error::invalid_input(format!("the label `{key}` is reserved for this library's own notes")))
        }
        None => Ok(()),
    }
}

/// What a container's labels say: to the caller, and to us.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Read {
    pub(crate) labels: Labels,
    pub(crate) metadata: BTreeMap<String, Value>,
    pub(crate) original_image: Option<String>,
}

/// Takes our own notes out of a container's labels.
pub(crate) fn read(mut labels: Labels) -> Read {
    // Nearly every container has none of ours: one look, no copies.
    if !labels.iter().any(|(key, _)| is_private(key)) {
        return Read { labels, ..Read::default() };
    }
    let metadata = labels.get(METADATA).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let original_image = labels.get(ORIGINAL_IMAGE).filter(|image| !image.is_empty()).map(str::to_owned);
    let masked: Vec<String> =
        labels.get(MASKED).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    for key in masked {
        if labels.get(&key) == Some("") {
            labels.remove(&key);
        }
    }
    let labels = labels.into_iter().filter(|(key, _)| !is_private(key)).collect();
    Read { labels, metadata, original_image }
}

/// The labels of a copy: its own, and everything inherited masked.
pub(crate) fn of_clone(
    own: &Labels,
    inherited: &BTreeMap<String, String>,
    original_image: &str,
) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> =
        own.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let masked: Vec<&String> =
        inherited.keys().filter(|key| !labels.contains_key(*key) && !is_private(key)).collect();
    let note = Value::from(masked.iter().map(|key| Value::from(key.as_str())).collect::<Vec<_>>());
    let masked: Vec<String> = masked.into_iter().cloned().collect();
    labels.extend(masked.into_iter().map(|key| (key, String::new())));
    // Our notes on the source speak of the source: its line of snapshots is not the copy's.
    for key in [LINEAGE, RESTORED_FROM, REPLACES] {
        if inherited.contains_key(key) {
            labels.insert(key.to_owned(), String::new());
        }
    }
    labels.insert(MASKED.to_owned(), note.to_string());
    labels.insert(ORIGINAL_IMAGE.to_owned(), original_image.to_owned());
    if let Some(metadata) = inherited.get(METADATA) {
        labels.insert(METADATA.to_owned(), metadata.clone());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_notes_are_taken_out() {
        let labels: Labels = [
            ("role", "web"),
            ("substrate.key", "k"),
            (METADATA, r#"{"a":1}"#),
            ("substrate.snapshot.name", "s"),
            (LINEAGE, "x"),
        ]
        .into_iter()
        .collect();
        let read = read(labels);
        assert_eq!(read.labels, [("role", "web"), ("substrate.key", "k")].into_iter().collect());
        assert_eq!(read.metadata["a"], 1);
    }

    #[test]
    fn a_copy_shows_its_own_labels_and_none_of_the_source() {
        let inherited = BTreeMap::from([
            ("role".to_owned(), "web".to_owned()),
            ("substrate.key".to_owned(), "source".to_owned()),
            (LINEAGE.to_owned(), "source".to_owned()),
        ]);
        let own: Labels = [("role", "copy")].into_iter().collect();
        let labels = of_clone(&own, &inherited, "busybox");
        assert_eq!(labels["substrate.key"], "", "the server's filter must not find the source's mark");
        let read = read(labels.into_iter().collect());
        assert_eq!(read.labels, own);
        assert_eq!(read.original_image.as_deref(), Some("busybox"));
    }

    #[test]
    fn a_label_that_is_really_empty_is_shown() {
        let labels: Labels = [("empty", ""), (LINEAGE, "x")].into_iter().collect();
        assert_eq!(read(labels).labels.get("empty"), Some(""));
    }

    #[test]
    fn a_caller_cannot_set_our_notes() {
        assert!(check(&[(LINEAGE, "x")].into_iter().collect()).unwrap_err().is_invalid_input());
        assert!(check(&[("substrate.key", "x")].into_iter().collect()).is_ok());
    }
}

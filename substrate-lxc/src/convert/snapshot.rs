//! Snapshots.
//!
//! A snapshot has no labels and no text of its own: it inherits the instance's configuration. So what it is given
//! is put there as a note just before, with the snapshot's name in it: a snapshot that somebody else takes later
//! inherits the note too, and its name tells that it is not meant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use substrate_core::{InstanceName, Labels, Result, Snapshot, SnapshotConfig, SnapshotName};

use super::{labels, time};

/// A snapshot as the servers describe it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SnapshotDocument {
    pub(crate) name: String,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    pub(crate) stateful: bool,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default)]
    config: Option<BTreeMap<String, String>>,
}

/// What a snapshot was given.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Note {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
}

/// The note for a snapshot that is about to be taken; nothing when it is given nothing.
pub(crate) fn note(config: &SnapshotConfig) -> Option<String> {
    if config.description.is_none() && config.labels.is_empty() {
        return None;
    }
    let note = Note {
        name: config.name.to_string(),
        description: config.description.clone(),
        labels: config.labels.clone(),
    };
    serde_json::to_string(&note).ok()
}

impl SnapshotDocument {
    pub(crate) fn into_snapshot(self, instance: &InstanceName) -> Result<Snapshot> {
        // Older servers write `instance/snapshot`.
        let name = self.name.rsplit('/').next().unwrap_or_default();
        let mut snapshot = Snapshot::new(SnapshotName::new(name)?, instance.clone());
        snapshot.created_at = time::parse(&self.created_at);
        snapshot.memory = self.stateful;
        snapshot.size_bytes = self.size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0);
        let note: Option<Note> =
            self.config.as_ref().and_then(|config| serde_json::from_str(config.get(labels::SNAPSHOT)?).ok());
        if let Some(note) = note.filter(|note| note.name == name) {
            snapshot.description = note.description;
            snapshot.labels = note.labels;
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, note: &str) -> Snapshot {
        let document: SnapshotDocument = serde_json::from_value(serde_json::json!({
            "name": name, "created_at": "2026-11-21T06:44:23Z", "config": {labels::SNAPSHOT: note}
        }))
        .unwrap();
        document.into_snapshot(&"web".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_snapshot_shows_what_it_was_given_and_not_what_another_was() {
        let config = SnapshotConfig::new("one".parse().unwrap())
            .with_description("before the \"upgrade\" ☃")
            .with_label("why", "risk");
        let note = note(&config).unwrap();
        let one = read("web/one", &note);
        assert_eq!((one.description, one.labels), (config.description, config.labels));
        let two = read("two", &note);
        assert_eq!((two.description, two.labels), (None, Labels::new()));
    }

    #[test]
    fn a_snapshot_that_is_given_nothing_needs_no_note() {
        assert_eq!(note(&SnapshotConfig::new("one".parse().unwrap())), None);
    }
}

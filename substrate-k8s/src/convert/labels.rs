//! Labels of any text on a server that takes few characters.
//!
//! What Kubernetes takes as a label is one: anybody can select by it. The rest is kept in an annotation, as JSON. So are
//! metadata, for which Kubernetes has no place of its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use substrate_core::{Error, Labels, Result};

use super::meta::Meta;
use crate::name::{is_label_key, is_label_value};

/// Every key of this crate's own begins with it, or ends its domain with `.substrate`.
const PREFIX: &str = "substrate/";
/// Which pods are an instance's; never the caller's to change.
pub(crate) const INSTANCE: &str = "substrate/instance";
/// An instance for which the cluster picks ports, and the service by which it does.
pub(crate) const PORTS: &str = "substrate/ports";
/// Labels that Kubernetes does not take.
const OTHER_LABELS: &str = "substrate/labels";
const METADATA: &str = "substrate/metadata";
/// Membership of a network: followed by the network's name.
pub(crate) const NETWORK_PREFIX: &str = "network.substrate/";

/// The label that makes a pod a member of a network.
pub(crate) fn membership(network: &str) -> String {
    format!("{NETWORK_PREFIX}{network}")
}

pub(crate) fn is_private(key: &str) -> bool {
    key.starts_with(PREFIX) || key.starts_with(NETWORK_PREFIX)
}

/// Whether Kubernetes can keep it as a label.
fn is_native(key: &str, value: &str) -> bool {
    is_label_key(key) && is_label_value(value)
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

/// Labels and annotations to write.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Written {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

pub(crate) fn write(labels: &Labels, metadata: &BTreeMap<String, Value>) -> Written {
    let mut written = Written::default();
    let mut others = BTreeMap::new();
    for (key, value) in labels.iter() {
        if is_native(key, value) {
            written.labels.insert(key.to_owned(), value.to_owned());
        } else {
            others.insert(key, value);
        }
    }
    if !others.is_empty() {
        written.annotations.insert(OTHER_LABELS.to_owned(), json!(others).to_string());
    }
    if !metadata.is_empty() {
        written.annotations.insert(METADATA.to_owned(), json!(metadata).to_string());
    }
    written
}

pub(crate) fn read(meta: &Meta) -> Labels {
    let mut labels: Labels = meta
        .labels
        .iter()
        .filter(|(key, _)| !is_private(key))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    if let Some(text) = meta.annotations.get(OTHER_LABELS) {
        let others: BTreeMap<String, String> = serde_json::from_str(text).unwrap_or_default();
        labels.extend(others);
    }
    labels
}

pub(crate) fn read_metadata(meta: &Meta) -> BTreeMap<String, Value> {
    meta.annotations.get(METADATA).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The part of a filter by labels that the server can apply; what it lets through is looked at again.
pub(crate) fn selector(labels: &Labels) -> Option<String> {
    let terms: Vec<String> = labels
        .iter()
        .filter(|(key, value)| is_native(key, value))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    (!terms.is_empty()).then(|| terms.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_comes_back_and_what_kubernetes_takes_is_a_label_of_its_own() {
        let labels: Labels =
            [("role", "web"), ("empty", ""), ("odd", "a \"b\""), ("rolé", "x"), ("substrate.key", "k-1")]
                .into_iter()
                .collect();
        let metadata = BTreeMap::from([("note".to_owned(), json!({"a": [1, null]}))]);
        let written = write(&labels, &metadata);
        assert_eq!(written.labels.keys().collect::<Vec<_>>(), ["empty", "role", "substrate.key"]);
        let meta = Meta { labels: written.labels, annotations: written.annotations, ..Meta::default() };
        assert_eq!(read(&meta), labels);
        assert_eq!(read_metadata(&meta), metadata);
    }

    #[test]
    fn the_server_filters_by_what_it_knows_as_labels() {
        let labels: Labels = [("role", "web"), ("odd", "a b"), ("empty", "")].into_iter().collect();
        assert_eq!(selector(&labels).as_deref(), Some("empty=,role=web"));
        assert_eq!(selector(&[("odd", "a b")].into_iter().collect()), None);
    }

    #[test]
    fn our_own_notes_are_neither_shown_nor_taken() {
        let meta =
            Meta { labels: BTreeMap::from([(INSTANCE.to_owned(), "a".to_owned())]), ..Meta::default() };
        assert!(read(&meta).is_empty());
        assert!(check(&[(INSTANCE, "b")].into_iter().collect()).unwrap_err().is_invalid_input());
        assert!(check(&[(membership("x"), "")].into_iter().collect()).is_err());
        assert!(check(&[("substrate.deployment", "b")].into_iter().collect()).is_ok());
    }
}

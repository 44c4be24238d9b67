//! Labels are `user.*` keys of a configuration: what the servers' own tools show and filter by.
//!
//! A server takes a key with an empty value for one to be removed. So labels that are really empty are listed in
//! a note beside the others.

use std::collections::BTreeMap;

use serde_json::Value;
use substrate_core::{Error, Labels, Result};

/// What all keys of ours begin with.
const USER: &str = "user.";
/// This provider's own notes: never shown, never accepted from a caller.
const PRIVATE: &str = "user.substrate.lxc.";
/// Labels with an empty value, as a JSON list.
const EMPTY: &str = "user.substrate.lxc.empty";
/// `metadata` of the configuration, as JSON.
pub(crate) const METADATA: &str = "user.substrate.lxc.metadata";
/// The image as it was asked for.
pub(crate) const IMAGE: &str = "user.substrate.lxc.image";
/// What the next snapshot is given: it inherits the configuration, and has none of its own.
pub(crate) const SNAPSHOT: &str = "user.substrate.lxc.snapshot";
/// The network's name, where its bridge could not have it.
pub(crate) const NETWORK: &str = "user.substrate.lxc.name";
/// Keys that older cloud-init reads. They can hold secrets, and are nobody's labels.
const CLOUD_INIT: [&str; 4] = ["user.user-data", "user.vendor-data", "user.meta-data", "user.network-config"];

fn is_label(key: &str) -> bool {
    key.starts_with(USER) && !key.starts_with(PRIVATE) && !CLOUD_INIT.contains(&key)
}

/// Refuses labels that would change the meaning of something else.
pub(crate) fn check(labels: &Labels) -> Result<()> {
    match labels.iter().find(|(key, _)| !is_label(&format!("{USER}{key}"))) {
        Some((key, _)) => Err(Error::invalid_input(format!(
            "the label `{}` is reserved: cloud-init or this library reads it",
            key.escape_debug()
        ))),
        None => Ok(()),
    }
}

/// The keys of a configuration that are these labels.
pub(crate) fn write(labels: &Labels) -> BTreeMap<String, String> {
    let mut config: BTreeMap<String, String> = BTreeMap::new();
    let mut empty = Vec::new();
    for (key, value) in labels.iter() {
        if value.is_empty() {
            empty.push(Value::from(key));
        } else {
            config.insert(format!("{USER}{key}"), value.to_owned());
        }
    }
    if !empty.is_empty() {
        config.insert(EMPTY.to_owned(), Value::from(empty).to_string());
    }
    config
}

/// The labels of a configuration.
pub(crate) fn read(config: &BTreeMap<String, String>) -> Labels {
    let mut labels: Labels = config
        .range(USER.to_owned()..)
        .take_while(|(key, _)| key.starts_with(USER))
        .filter(|(key, _)| is_label(key))
        .filter_map(|(key, value)| Some((key.strip_prefix(USER)?, value.as_str())))
        .collect();
    if let Some(note) = config.get(EMPTY) {
        let empty: Vec<String> = serde_json::from_str(note).unwrap_or_default();
        labels.extend(empty.into_iter().map(|key| (key, String::new())));
    }
    labels
}

/// Whether a key is a label, or a note about labels: what a copy must not inherit.
pub(crate) fn is_of_labels(key: &str) -> bool {
    is_label(key) || key == EMPTY || key == SNAPSHOT
}

/// Free data of a configuration.
pub(crate) fn metadata(config: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    config.get(METADATA).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

/// A condition of the server's own filter, for a label that its grammar takes without quoting. What it cannot
/// express is filtered here alone.
pub(crate) fn condition(key: &str, value: &str) -> Option<String> {
    let plain = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    // A number or a truth value would be compared as one.
    let is_text = value.bytes().any(|byte| byte.is_ascii_alphabetic()) && value != "true" && value != "false";
    (plain(key) && plain(value) && is_text).then(|| format!("config.{USER}{key} eq {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_exactly_empty_ones_too() {
        let labels: Labels = [("role", "web"), ("empty", ""), ("größe ☃", " a=b "), ("substrate.key", "k")]
            .into_iter()
            .collect();
        let config = write(&labels);
        assert_eq!(config["user.role"], "web");
        assert!(config.values().all(|value| !value.is_empty()), "an empty value would be removed");
        assert_eq!(read(&config), labels);
    }

    #[test]
    fn notes_and_cloud_init_are_no_labels() {
        let config: BTreeMap<String, String> = [
            ("user.role", "web"),
            ("user.user-data", "#cloud-config"),
            (METADATA, "{}"),
            ("volatile.uuid", "x"),
            ("limits.memory", "1GiB"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        assert_eq!(read(&config), [("role", "web")].into_iter().collect());
    }

    #[test]
    fn reserved_labels_are_refused() {
        for key in ["user-data", "substrate.lxc.empty"] {
            assert!(check(&[(key, "x")].into_iter().collect()).unwrap_err().is_invalid_input(), "{key}");
        }
        assert!(check(&[("substrate.key", "x")].into_iter().collect()).is_ok());
    }

    #[test]
    fn only_plain_labels_are_filtered_by_the_server() {
        assert_eq!(condition("role", "web").as_deref(), Some("config.user.role eq web"));
        for (key, value) in
            [("role", ""), ("role", "a b"), ("a b", "x"), ("n", "1"), ("b", "true"), ("q", "a\"")]
        {
            assert_eq!(condition(key, value), None, "{key}={value}");
        }
    }
}

//! What Proxmox VE calls a valid name.

use substrate_core::{Error, InstanceName, Result, SnapshotName};

/// The longest part of a name between two dots: what DNS allows. The API itself is more lenient, and then a
/// container of that name does not start.
const LONGEST_LABEL: usize = 63;
/// The longest name of a snapshot.
const LONGEST_SNAPSHOT: usize = 40;

/// Whether `text` is a name that a guest can be given.
pub(crate) fn is_guest_name(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let dash_at_edge = label.starts_with('-') || label.ends_with('-');
    (1..=LONGEST_LABEL).contains(&label.len())
        && !dash_at_edge
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Refuses a name that no guest can be given.
pub(crate) fn check_new_guest(name: &InstanceName) -> Result<()> {
    if is_guest_name(name.as_str()) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{}` cannot be the name of a guest of Proxmox VE",
        name.as_str().escape_debug()
    ))
    .with_hint("use letters, digits and `-`, as in a DNS name; parts up to 63 characters"))
}

/// Refuses a name that no snapshot can be given.
pub(crate) fn check_new_snapshot(name: &SnapshotName) -> Result<()> {
    let text = name.as_str();
    if is_snapshot_name(text) {
        return Ok(());
    }
    let why = if text == "current" { "Proxmox VE keeps it for the present state" } else { "its grammar" };
    Err(Error::invalid_input(format!("`{}` cannot be the name of a snapshot: {why}", text.escape_debug()))
        .with_hint("begin with a letter, then letters, digits, `_` and `-`; 2 to 40 characters"))
}

/// Whether a snapshot can have this name.
pub(crate) fn is_snapshot_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && (2..=LONGEST_SNAPSHOT).contains(&text.len())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && text != "current"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_named_like_hosts() {
        for good in ["web", "web-1", "a.b", "1", "Web"] {
            assert!(is_guest_name(good), "{good}");
        }
        for bad in ["", "a_b", "-a", "a-", "a..b", ".a", "größe", "a b", "a/b", &"n".repeat(64)] {
            assert!(!is_guest_name(bad), "{bad}");
        }
    }

    #[test]
    fn snapshots_begin_with_a_letter_and_are_not_called_current() {
        for good in ["s1", "before-upgrade", "a_b"] {
            assert!(is_snapshot_name(good), "{good}");
        }
        for bad in ["s", "1bad", "current", "a b", "", &"n".repeat(41)] {
            assert!(!is_snapshot_name(bad), "{bad}");
        }
    }
}

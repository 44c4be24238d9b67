//! Events: what the servers call a lifecycle.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;
use substrate_core::{Event, EventKind, EventOrigin, InstanceName};

use super::time;

/// An event as the servers send it.
#[derive(Debug, Deserialize)]
pub(crate) struct NativeEvent {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    metadata: Lifecycle,
}

#[derive(Debug, Default, Deserialize)]
struct Lifecycle {
    #[serde(default)]
    action: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    context: Option<Value>,
}

/// What an action of the servers means. Those that are not here change nothing that the contract shows.
fn kind_of(action: &str) -> Option<EventKind> {
    Some(match action {
        "instance-created" => EventKind::Created,
        "instance-started" | "instance-ready" => EventKind::Started,
        // Asked to stop, and stopped by itself.
        "instance-stopped" | "instance-shutdown" => EventKind::Stopped,
        "instance-paused" => EventKind::Paused,
        "instance-resumed" => EventKind::Resumed,
        "instance-restarted" => EventKind::Restarted,
        "instance-deleted" => EventKind::Deleted,
        "instance-restored" => EventKind::SnapshotRestored,
        "instance-snapshot-created" => EventKind::SnapshotCreated,
        "instance-snapshot-deleted" => EventKind::SnapshotDeleted,
        "instance-exec" => EventKind::CommandExecuted,
        "instance-updated"
        | "instance-renamed"
        | "instance-snapshot-renamed"
        | "instance-snapshot-updated" => EventKind::Changed,
        "network-created" => EventKind::NetworkCreated,
        "network-deleted" => EventKind::NetworkDeleted,
        "storage-volume-created" => EventKind::VolumeCreated,
        "storage-volume-deleted" => EventKind::VolumeDeleted,
        "image-created" | "image-retrieved" => EventKind::ImageAvailable,
        _ => return None,
    })
}

impl NativeEvent {
    /// The contract's event; nothing for what it has no word for.
    pub(crate) fn into_event(self, substrate: &Arc<str>) -> Option<Event> {
        if self.kind != "lifecycle" {
            return None;
        }
        let kind = kind_of(&self.metadata.action)?;
        // A ready guest is a running instance that was started before.
        if self.metadata.action == "instance-ready" {
            return None;
        }
        // Every event has a time; one that cannot be read is no reason to lose the event.
        let time = time::parse(&self.timestamp).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut event = Event::new(time, substrate.clone(), kind, EventOrigin::Observed);
        let source = Source::parse(&self.metadata.source);
        match source.instance.as_ref().map(InstanceName::new) {
            Some(Ok(instance)) => event = event.with_instance(instance),
            // An instance without a name is nobody's news.
            _ if self.metadata.action.starts_with("instance-") => return None,
            _ => {}
        }
        match self.detail(&source) {
            Some(detail) => Some(event.with_detail(detail)),
            None => Some(event),
        }
    }

    fn detail(&self, source: &Source) -> Option<String> {
        let context = |key: &str| self.metadata.context.as_ref()?.get(key)?.as_str().map(str::to_owned);
        match self.metadata.action.as_str() {
            "instance-restored" => {
                let snapshot = context("snapshot")?;
                Some(snapshot.rsplit_once('/').map_or(snapshot.clone(), |(_, name)| name.to_owned()))
            }
            "instance-shutdown" => Some("it ended by itself or as it was asked to".to_owned()),
            "instance-updated" => Some("its configuration changed".to_owned()),
            // A command's words can hold secrets: that there was one is enough.
            "instance-exec" => None,
            _ => source.rest.clone(),
        }
    }
}

/// What an event is about: `/1.0/instances/web/snapshots/one?project=x`.
#[derive(Debug, Default)]
struct Source {
    instance: Option<String>,
    /// The last name, where it is not the instance's.
    rest: Option<String>,
}

impl Source {
    fn parse(text: &str) -> Self {
        let path = text.split('?').next().unwrap_or_default();
        let mut parts = path.trim_start_matches("/1.0/").split('/').map(decoded);
        match (parts.next().as_deref(), parts.next()) {
            (Some("instances" | "containers" | "virtual-machines"), Some(name)) => {
                Self { instance: Some(name), rest: parts.nth(1) }
            }
            (Some("storage-pools"), Some(_)) => Self { instance: None, rest: parts.next_back() },
            (_, rest) => Self { instance: None, rest },
        }
    }
}

fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let escape = others.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = others.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str, source: &str) -> Option<Event> {
        let native: NativeEvent = serde_json::from_value(serde_json::json!({
            "type": "lifecycle", "timestamp": "2026-11-21T07:01:40.266956077Z",
            "metadata": {"action": action, "source": source, "context": {"snapshot": "e1/one", "command": ["secret"]}}
        }))
        .unwrap();
        native.into_event(&"lab".into())
    }

    #[test]
    fn the_servers_words_are_the_contracts() {
        for (action, kind) in [
            ("instance-created", EventKind::Created),
            ("instance-started", EventKind::Started),
            ("instance-shutdown", EventKind::Stopped),
            ("instance-deleted", EventKind::Deleted),
        ] {
            let event = event(action, "/1.0/instances/e1?project=p").unwrap();
            assert_eq!((event.kind, event.instance.unwrap().as_str()), (kind, "e1"));
        }
    }

    #[test]
    fn a_detail_names_what_else_it_was_about_and_never_a_command() {
        let detail = |action: &str, source: &str| event(action, source).unwrap().detail;
        let snapshot = "/1.0/instances/e1/snapshots/o%20ne";
        assert_eq!(detail("instance-snapshot-created", snapshot).as_deref(), Some("o ne"));
        assert_eq!(detail("instance-restored", "/1.0/instances/e1").as_deref(), Some("one"));
        let volume = "/1.0/storage-pools/default/volumes/custom/v9";
        assert_eq!(detail("storage-volume-created", volume).as_deref(), Some("v9"));
        assert_eq!(detail("instance-exec", "/1.0/instances/e1"), None);
    }

    #[test]
    fn what_the_contract_has_no_word_for_is_left_out() {
        assert!(event("certificate-created", "/1.0/certificates/x").is_none());
        assert!(event("instance-created", "").is_none());
    }
}

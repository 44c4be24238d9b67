//! Native events, and positions in their stream.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use serde::Deserialize;
use substrate_core::{Event, EventKind, EventOrigin, InstanceName, WatchCursor};

use super::{labels, snapshot, time};

/// An event as the daemon writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct NativeEvent {
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor", default)]
    actor: Actor,
    #[serde(rename = "time", default)]
    seconds: u64,
    #[serde(rename = "timeNano", default)]
    nanoseconds: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: Option<BTreeMap<String, String>>,
}

impl NativeEvent {
    /// When it happened, in nanoseconds since 1970. Podman's older releases only send seconds.
    pub(crate) fn nanoseconds(&self) -> u64 {
        if self.nanoseconds > 0 { self.nanoseconds } else { self.seconds.saturating_mul(1_000_000_000) }
    }

    fn attribute(&self, key: &str) -> Option<&str> {
        self.actor.attributes.as_ref()?.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A container's id and name, where the event tells both.
    pub(crate) fn container(&self) -> Option<(&str, &str)> {
        let name = self.attribute("name").filter(|_| self.kind == "container")?;
        Some((self.actor.id.as_str(), name))
    }

    /// A number that is the same whenever the same event is told again.
    pub(crate) fn fingerprint(&self) -> u64 {
        // FNV-1a: small, and the same in every build, since it goes into cursors that outlive a process.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let nanoseconds = self.nanoseconds().to_be_bytes();
        let attached = self.attribute("container").unwrap_or_default();
        for part in [
            &nanoseconds[..],
            self.kind.as_bytes(),
            self.action.as_bytes(),
            self.actor.id.as_bytes(),
            attached.as_bytes(),
        ] {
            for byte in part.iter().chain(&[0]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash
    }

    /// The event in our words; `None` for what is not about anything that we know.
    pub(crate) fn into_event(self, substrate: &Arc<str>) -> Option<Event> {
        let (kind, instance, detail) = self.meaning()?;
        let mut event = Event::new(
            time::from_nanoseconds(self.nanoseconds()),
            substrate.clone(),
            kind,
            EventOrigin::Observed,
        );
        event.instance = instance.and_then(|name| InstanceName::new(name).ok());
        event.detail = detail;
        Some(event)
    }

    fn meaning(&self) -> Option<(EventKind, Option<&str>, Option<String>)> {
        match self.kind.as_str() {
            "container" => self.container_meaning(),
            "network" => self.network_meaning(),
            "volume" => {
                let kind = match self.action.as_str() {
                    "create" => EventKind::VolumeCreated,
                    "destroy" | "remove" => EventKind::VolumeDeleted,
                    _ => return None,
                };
                Some((kind, None, Some(format!("volume {}", self.actor.id))))
            }
            "image" => self.image_meaning(),
            _ => None,
        }
    }

    fn container_meaning(&self) -> Option<(EventKind, Option<&str>, Option<String>)> {
        let name = self.attribute("name").or(Some(self.actor.id.as_str()));
        // `exec_start: sh -c x` and `health_status: healthy` put their data into the action.
        let (action, data) = match self.action.split_once(':') {
            Some((action, data)) => (action, Some(data.trim().to_owned())),
            None => (self.action.as_str(), None),
        };
        let (kind, detail) = match action {
            "create" => (EventKind::Created, None),
            "start" => (EventKind::Started, None),
            // A process that ends by itself or by a signal, and one that is stopped: `stop` follows on `die`,
            // and in a restart's pause it comes alone.
            "die" | "died" => (EventKind::Stopped, self.exit_detail()),
            "stop" => (EventKind::Stopped, Some("stop".to_owned())),
            "pause" => (EventKind::Paused, None),
            "unpause" => (EventKind::Resumed, None),
            "restart" => (EventKind::Restarted, None),
            "destroy" | "remove" => (EventKind::Deleted, None),
            // A child can be killed for memory while the container goes on: no `die` need follow.
            "oom" => (EventKind::Failed, Some("out of memory".to_owned())),
            "update" => (EventKind::LimitsChanged, None),
            // The command itself is left out: arguments hold secrets.
            "exec_start" => (EventKind::CommandExecuted, None),
            "rename" if self.attribute(labels::RESTORED_FROM).is_some() && self.is_final_rename() => {
                (EventKind::SnapshotRestored, self.attribute(labels::RESTORED_FROM).map(str::to_owned))
            }
            "rename" => {
                let old = self.attribute("oldName").unwrap_or_default().trim_start_matches('/');
                (EventKind::Changed, Some(format!("renamed from {old}")))
            }
            "kill" => {
                let signal = self.attribute("signal").unwrap_or("?");
                (EventKind::Changed, Some(format!("signal {signal}")))
            }
            "health_status" => {
                let status = data.unwrap_or_default();
                (EventKind::Changed, Some(format!("health {status}")))
            }
            // Every snapshot is told by its image's tag too, with its name.
            "commit" => (EventKind::Changed, Some("commit".to_owned())),
            // The reading side of what we do all the time.
            "exec_create" | "exec_die" | "exec_detach" | "attach" | "detach" | "resize" | "top"
            | "archive-path" | "extract-to-dir" | "copy" | "export" => return None,
            other => (EventKind::Changed, Some(other.to_owned())),
        };
        Some((kind, name, detail))
    }

    fn is_final_rename(&self) -> bool {
        self.attribute("oldName").is_some_and(|old| snapshot::is_temporary(old.trim_start_matches('/')))
    }

    fn exit_detail(&self) -> Option<String> {
        let code = self.attribute("exitCode").or_else(|| self.attribute("containerExitCode"))?;
        Some(format!("exit code {code}"))
    }

    fn network_meaning(&self) -> Option<(EventKind, Option<&str>, Option<String>)> {
        let network = self.attribute("name").unwrap_or(&self.actor.id);
        let mut detail = format!("network {network}");
        let kind = match self.action.as_str() {
            "create" => EventKind::NetworkCreated,
            "destroy" | "remove" => EventKind::NetworkDeleted,
            "connect" | "disconnect" => {
                // The daemon only tells the container's id here.
                if let Some(container) = self.attribute("container") {
                    let _ = write!(detail, ", container {container}");
                }
                if self.action == "connect" { EventKind::NetworkAttached } else { EventKind::NetworkDetached }
            }
            _ => return None,
        };
        Some((kind, self.attribute("container"), Some(detail)))
    }

    fn image_meaning(&self) -> Option<(EventKind, Option<&str>, Option<String>)> {
        let name = self.attribute("name").unwrap_or(&self.actor.id);
        // Labels of the image come as attributes: a snapshot says itself whose it is.
        let of_snapshot = |kind| {
            let instance = self.attribute(snapshot::INSTANCE);
            Some((kind, instance, self.attribute(snapshot::NAME).map(str::to_owned)))
        };
        let is_snapshot = self.attribute(snapshot::NAME).is_some();
        match self.action.as_str() {
            "tag" if is_snapshot => of_snapshot(EventKind::SnapshotCreated),
            "untag" if is_snapshot => of_snapshot(EventKind::SnapshotDeleted),
            "pull" | "tag" | "import" | "load" | "loadfromarchive" => {
                Some((EventKind::ImageAvailable, None, Some(format!("image {name}"))))
            }
            "untag" | "delete" | "remove" | "prune" => {
                Some((EventKind::Changed, None, Some(format!("image {name} {}", self.action))))
            }
            _ => None,
        }
    }
}

/// How far back a resumed stream asks beyond the cursor: the daemon takes an event's time before it puts the
/// event into its history, so neighbours can stand there the wrong way round.
const OVERLAP_NANOSECONDS: u64 = 100_000_000;
/// How many events of the overlap a cursor remembers.
const REMEMBERED: usize = 64;

/// A position in the stream: the latest time, and what was already told around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The time of the latest event told, or of the beginning.
    latest: u64,
    /// From when on anything was told: what is older was never asked for.
    floor: u64,
    told: VecDeque<(u64, u64)>,
}

impl Position {
    /// A position before everything that happens from `nanoseconds` on.
    pub(crate) fn at(nanoseconds: u64) -> Self {
        Self { latest: nanoseconds, floor: nanoseconds, told: VecDeque::new() }
    }

    /// Reads a cursor.
    pub(crate) fn parse(cursor: &WatchCursor) -> Option<Self> {
        let mut parts = cursor.0.split('.');
        let (latest, reach) = parts.next()?.split_once('~')?;
        let latest: u64 = latest.parse().ok()?;
        let floor = latest.checked_sub(reach.parse().ok()?)?;
        let mut told = VecDeque::new();
        for part in parts {
            let (before, fingerprint) = part.split_once('-')?;
            let before: u64 = before.parse().ok()?;
            told.push_back((latest.checked_sub(before)?, u64::from_str_radix(fingerprint, 16).ok()?));
        }
        Some(Self { latest, floor, told })
    }

    /// Writes the cursor.
    pub(crate) fn cursor(&self) -> WatchCursor {
        let mut text = format!("{}~{}", self.latest, self.latest.saturating_sub(self.since()));
        for (time, fingerprint) in &self.told {
            let _ = write!(text, ".{}-{fingerprint:x}", self.latest.saturating_sub(*time));
        }
        WatchCursor(text)
    }

    /// From where to ask the daemon.
    pub(crate) fn since(&self) -> u64 {
        self.floor.max(self.latest.saturating_sub(OVERLAP_NANOSECONDS))
    }

    /// Takes note of an event; `false` when it was told before.
    pub(crate) fn advance(&mut self, event: &NativeEvent) -> bool {
        let told = (event.nanoseconds(), event.fingerprint());
        if self.told.contains(&told) || told.0 < self.since() {
            return false;
        }
        self.latest = self.latest.max(told.0);
        self.told.push_back(told);
        let oldest = self.latest.saturating_sub(OVERLAP_NANOSECONDS);
        while self.told.len() > REMEMBERED || self.told.front().is_some_and(|(time, _)| *time < oldest) {
            self.told.pop_front();
        }
        true
    }

    /// Whether the daemon's `history` still reaches back to this position: it must hold an event that was
    /// told at the position. A position without any was taken "now" and has nothing to prove itself by.
    pub(crate) fn is_covered_by<'a>(&self, mut history: impl Iterator<Item = &'a NativeEvent>) -> bool {
        history.any(|event| self.told.contains(&(event.nanoseconds(), event.fingerprint())))
    }

    /// Whether this position can be looked for in a history at all.
    pub(crate) fn has_evidence(&self) -> bool {
        !self.told.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(json: &str) -> NativeEvent {
        serde_json::from_str(json).unwrap()
    }

    fn container(action: &str, attributes: &str, nanoseconds: u64) -> NativeEvent {
        native(&format!(
            r#"{{"status":"x","Type":"container","Action":"{action}","Actor":{{"ID":"f0","Attributes":{{"image":"i","name":"web"{attributes}}}}},
            "scope":"local","time":1,"timeNano":{nanoseconds}}}"#
        ))
    }

    fn told(event: NativeEvent) -> Option<Event> {
        event.into_event(&Arc::from("docker"))
    }

    #[test]
    fn container_actions_have_our_names() {
        for (action, kind) in [
            ("create", EventKind::Created),
            ("start", EventKind::Started),
            ("die", EventKind::Stopped),
            ("stop", EventKind::Stopped),
            ("pause", EventKind::Paused),
            ("unpause", EventKind::Resumed),
            ("restart", EventKind::Restarted),
            ("destroy", EventKind::Deleted),
            ("oom", EventKind::Failed),
            ("update", EventKind::LimitsChanged),
            ("exec_start: sh -c true", EventKind::CommandExecuted),
            ("health_status: healthy", EventKind::Changed),
            ("rename", EventKind::Changed),
        ] {
            let event = told(container(action, "", 1)).unwrap();
            assert_eq!((event.kind, event.instance.unwrap().as_str()), (kind, "web"), "{action}");
        }
        assert_eq!(told(container("exec_die", "", 1)), None);
    }

    #[test]
    fn data_in_the_action_is_read_and_arguments_of_commands_are_not_told() {
        let health = told(container("health_status: unhealthy", "", 1)).unwrap();
        assert_eq!(health.detail.as_deref(), Some("health unhealthy"));
        assert_eq!(told(container("exec_start: login --password hunter2", "", 1)).unwrap().detail, None);
        let died = told(container("die", r#","exitCode":"137""#, 1)).unwrap();
        assert_eq!(died.detail.as_deref(), Some("exit code 137"));
    }

    #[test]
    fn snapshots_are_told_by_their_image_s_tag() {
        let tagged = told(native(
            r#"{"Type":"image","Action":"tag","Actor":{"ID":"sha256:1","Attributes":{"name":"substrate-snapshot/f0:s",
            "substrate.snapshot.name":"s","substrate.snapshot.instance":"web"}},"time":1,"timeNano":1000000000}"#,
        ))
        .unwrap();
        assert_eq!((tagged.kind, tagged.detail.as_deref()), (EventKind::SnapshotCreated, Some("s")));
        assert_eq!(tagged.instance.unwrap(), "web");
    }

    #[test]
    fn an_event_is_told_once_across_a_resume() {
        let mut position = Position::at(0);
        assert!(position.advance(&container("create", "", 500)));
        assert!(position.advance(&container("start", "", 500)));
        let mut resumed = Position::parse(&position.cursor()).unwrap();
        assert_eq!(resumed.cursor(), position.cursor());
        assert!(!resumed.advance(&container("create", "", 500)));
        assert!(!resumed.advance(&container("start", "", 500)));
        assert!(resumed.advance(&container("die", "", 499)), "a neighbour that came late");
        assert!(resumed.advance(&container("die", "", 501)));
    }

    #[test]
    fn what_happened_before_the_watch_began_is_not_told_by_a_resume() {
        let mut position = Position::at(1_000);
        assert!(position.advance(&container("start", "", 1_500)));
        let mut resumed = Position::parse(&position.cursor()).unwrap();
        assert_eq!(resumed.since(), 1_000);
        assert!(!resumed.advance(&container("create", "", 999)));
    }

    #[test]
    fn a_position_is_bounded() {
        let mut position = Position::at(0);
        for time in 0..10_000 {
            position.advance(&container("start", "", 1_000 + time));
        }
        assert!(position.cursor().0.len() < 4_096);
        assert_eq!(position.told.len(), REMEMBERED);
    }

    #[test]
    fn a_history_that_forgot_the_position_does_not_cover_it() {
        let mut position = Position::at(0);
        position.advance(&container("create", "", 500));
        assert!(position.is_covered_by([container("create", "", 500), container("die", "", 600)].iter()));
        assert!(!position.is_covered_by([container("die", "", 600)].iter()));
        assert!(!position.is_covered_by(std::iter::empty()));
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        for text in ["", "abc", "1", "1~2", "1~0.2", "1~0.9-zz", "5~0.6-1"] {
            assert_eq!(Position::parse(&WatchCursor(text.to_owned())), None, "{text}");
        }
    }
}

//! Snapshots.

use std::time::{Duration, SystemTime};

use substrate_core::{Error, InstanceName, Result, Snapshot, SnapshotName};

use super::element::Element;

/// The line by which we remember that only the disks were asked for. libvirt cannot take an internal snapshot of
/// a running machine without its memory, and has no other place for a note of ours.
const DISKS_ONLY: &str = "[substrate: disks only]";

/// The document of a new snapshot.
pub(crate) fn document(name: &str, description: Option<&str>, disks_only: bool) -> Element {
    let mut text = description.unwrap_or_default().to_owned();
    if disks_only {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(DISKS_ONLY);
    }
    Element::new("domainsnapshot")
        .and(Element::of_text("name", name))
        .and_maybe((!text.is_empty()).then(|| Element::of_text("description", text)))
}

/// A disk of a machine, and what becomes of it at an external snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalDisk {
    /// Its name in the machine: `vda`.
    pub(crate) target: String,
    pub(crate) place: ExternalPlace,
}

/// Where is written from an external snapshot on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExternalPlace {
    /// The disk is not part of it: nothing can be written to it.
    Nowhere,
    /// Beside the disk, by a name that libvirt finds.
    Beside,
    /// This file.
    File(String),
}

/// The document of a new external snapshot.
pub(crate) fn external_document(
    name: &str,
    description: Option<&str>,
    disks: &[ExternalDisk],
    memory: Option<&str>,
) -> Element {
    let of_memory = match memory {
        Some(file) => Element::new("memory").with("snapshot", "external").with("file", file),
        None => Element::new("memory").with("snapshot", "no"),
    };
    let of_disk = |disk: &ExternalDisk| {
        let element = Element::new("disk").with("name", &disk.target);
        match &disk.place {
            ExternalPlace::Nowhere => element.with("snapshot", "no"),
            ExternalPlace::Beside => element.with("snapshot", "external"),
            ExternalPlace::File(file) => element
                .with("snapshot", "external")
                .and(Element::new("driver").with("type", "qcow2"))
                .and(Element::new("source").with("file", file)),
        }
    };
    document(name, description, false)
        .and(of_memory)
        .and(Element::new("disks").and_all(disks.iter().map(of_disk)))
}

/// What a snapshot's document says.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFacts {
    pub(crate) name: String,
    description: Option<String>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// Whether it holds the memory of a machine that ran or was paused.
    pub(crate) holds_memory: bool,
    /// Whether that memory was asked for.
    pub(crate) disks_only: bool,
    /// Whether the machine was paused.
    pub(crate) was_paused: bool,
    /// Whether it is in files beside the disk.
    pub(crate) is_external: bool,
    /// The files of the machine's disks at that moment, by their names in the machine.
    disks: Vec<(String, String)>,
}

impl SnapshotFacts {
    pub(crate) fn read(xml: &str) -> Result<Self> {
        let document = Element::parse(xml)?;
        let name = document.text_at("name").unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(Error::protocol("libvirt described a snapshot without a name"));
        }
        let state = document.text_at("state").unwrap_or_default();
        let text = document.find("description").map(Element::text).unwrap_or_default();
        let (text, disks_only) = match text.strip_suffix(DISKS_ONLY) {
            Some(rest) => (rest.strip_suffix('\n').unwrap_or(rest), true),
            None => (text, false),
        };
        Ok(Self {
            name,
            description: (!text.is_empty()).then(|| text.to_owned()),
            created: document.text_at("creationTime").and_then(|time| time.parse().ok()).unwrap_or(0),
            holds_memory: matches!(state, "running" | "paused" | "blocked")
                && document.attribute_at("memory", "snapshot") != Some("no"),
            disks_only,
            was_paused: state == "paused",
            is_external: is_external(&document),
            disks: disks_at(&document),
        })
    }

    /// The file that held a disk at that moment.
    pub(crate) fn disk(&self, target: &str) -> Option<&str> {
        self.disks.iter().find(|(known, _)| known == target).map(|(_, file)| file.as_str())
    }

    pub(crate) fn snapshot(&self, instance: &InstanceName) -> Result<Snapshot> {
        let name = SnapshotName::new(&self.name).map_err(|error| Error::protocol(error.message()))?;
        let mut snapshot = Snapshot::new(name, instance.clone());
        snapshot.created_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.created));
        snapshot.memory = self.has_asked_memory();
        snapshot.description.clone_from(&self.description);
        Ok(snapshot)
    }

    /// Whether the memory is part of what was asked for, so that a restore brings it back.
    pub(crate) fn has_asked_memory(&self) -> bool {
        self.holds_memory && !self.disks_only
    }
}

fn is_external(document: &Element) -> bool {
    let is = |element: &Element| element.attribute("snapshot") == Some("external");
    document.find("memory").is_some_and(is)
        || document.find("disks").is_some_and(|disks| disks.children().iter().any(is))
}

/// The disks of the machine's document that a snapshot holds: what is defined, where it differs from what ran.
fn disks_at(document: &Element) -> Vec<(String, String)> {
    let domain = document.find("inactiveDomain").or_else(|| document.find("domain"));
    let devices = domain.and_then(|domain| domain.find("devices"));
    let disks = devices.into_iter().flat_map(|devices| devices.all("disk"));
    disks
        .filter_map(|disk| {
            let target = disk.attribute_at("target", "dev")?;
            Some((target.to_owned(), disk.attribute_at("source", "file")?.to_owned()))
        })
        .collect()
}

/// A snapshot of one machine's copied disk, described for the copy: its disks only, as of a machine that was shut
/// off.
pub(crate) fn for_copy(facts: &SnapshotFacts, domain: Element, disk: &str) -> Element {
    Element::new("domainsnapshot")
        .and(Element::of_text("name", &facts.name))
        .and(Element::of_text("state", "shutoff"))
        .and(Element::of_text("creationTime", facts.created.to_string()))
        .and(Element::new("memory").with("snapshot", "no"))
        .and(Element::new("disks").and(Element::new("disk").with("name", disk).with("snapshot", "internal")))
        .and(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(description: Option<&str>, disks_only: bool, state: &str) -> SnapshotFacts {
        let document = document("one", description, disks_only).and(Element::of_text("state", state));
        SnapshotFacts::read(&document.to_xml()).unwrap()
    }

    #[test]
    fn a_description_comes_back_without_our_note() {
        for text in [Some("before the \"upgrade\" ☃"), Some("two\nlines"), None] {
            for disks_only in [true, false] {
                let facts = read(text, disks_only, "running");
                assert_eq!((facts.description.as_deref(), facts.disks_only), (text, disks_only));
            }
        }
    }

    #[test]
    fn an_external_snapshot_says_where_is_written_and_is_known_as_one() {
        let disks = [
            ExternalDisk { target: "vda".into(), place: ExternalPlace::File("/pool/a&b".into()) },
            ExternalDisk { target: "vdb".into(), place: ExternalPlace::Beside },
            ExternalDisk { target: "vdz".into(), place: ExternalPlace::Nowhere },
        ];
        let document = external_document("one", Some("before"), &disks, None);
        let written = document.to_xml();
        for part in [
            "<memory snapshot=\"no\"/>",
            "<source file=\"/pool/a&amp;b\"/>",
            "<disk name=\"vdb\" snapshot=\"external\"/>",
            "<disk name=\"vdz\" snapshot=\"no\"/>",
        ] {
            assert!(written.contains(part), "{part}: {written}");
        }
        let facts = SnapshotFacts::read(&written).unwrap();
        assert!(facts.is_external && !facts.has_asked_memory());
        assert!(!read(None, false, "running").is_external);
        let memory = external_document("one", None, &disks, Some("/pool/memory"));
        let memory = memory.and(Element::of_text("state", "running"));
        assert!(SnapshotFacts::read(&memory.to_xml()).unwrap().has_asked_memory());
    }

    #[test]
    fn the_files_of_that_moment_are_told() {
        let xml = "<domainsnapshot><name>a</name><domain><devices><disk><source file='/x'/><target dev='vda'/></disk>\
                   </devices></domain></domainsnapshot>";
        let facts = SnapshotFacts::read(xml).unwrap();
        assert_eq!((facts.disk("vda"), facts.disk("vdb")), (Some("/x"), None));
    }

    #[test]
    fn memory_is_told_only_where_it_was_asked_for() {
        assert!(read(None, false, "running").has_asked_memory());
        assert!(!read(None, true, "running").has_asked_memory());
        assert!(!read(None, false, "shutoff").has_asked_memory());
    }
}

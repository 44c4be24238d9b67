//! Documents that no libvirt gives: such as it gives, damaged. Whatever comes, it is read or refused.

use substrate_conformance::hostile::Hostile;
use substrate_core::{Error, InstanceName, Labels};

use super::captured::{self, events};
use super::host::offers_kvm;
use crate::convert::domain::Domain;
use crate::convert::element::Element;
use crate::convert::lines::Lines;
use crate::convert::network::{NetworkFacts, Subnet};
use crate::convert::note::Note;
use crate::convert::snapshot::{self, SnapshotFacts};
use crate::convert::volume::VolumeFacts;
use crate::error::shown;

const DOMAIN: &str = include_str!("../../tests/corpus/domain.xml");
const NETWORK: &str = include_str!("../../tests/corpus/network.xml");
const VOLUME: &str = include_str!("../../tests/corpus/volume.xml");
const SNAPSHOT: &str = include_str!("../../tests/corpus/snapshot.xml");
const CAPABILITIES: &str = include_str!("../../tests/corpus/capabilities.xml");

#[test]
fn domains() {
    Hostile::new([DOMAIN]).check_text(|text| {
        let domain = Domain::read(text)?;
        let _ = (domain.disks(), domain.most_memory_mb(), domain.uses("/x"), domain.has_agent());
        let instance = domain.instance((1, 1))?;
        assert!(instance.limits.cpu_cores.is_none_or(f64::is_finite), "{:?}", instance.limits);
        serde_json::to_string(&instance).expect("an instance as JSON");
        Ok::<_, Error>(())
    });
}

#[test]
fn networks() {
    Hostile::new([NETWORK]).check_text(|text| {
        let facts = NetworkFacts::read(text)?;
        let _ = (
            facts.holder_of([10, 1, 2, 9].into()),
            facts.reservation_of("52:54:00:00:00:01"),
            facts.has_dhcp(),
        );
        for subnet in facts.subnets() {
            assert!(subnet.overlaps(subnet));
        }
        facts.network()
    });
    Hostile::new(["10.1.0.0/24", "10.0.0.0/8", "10.1.2.128/30"]).check_text(|text| {
        let subnet = Subnet::parse(text)?;
        assert_eq!(Subnet::parse(&subnet.to_string())?, subnet);
        Ok::<_, Error>(())
    });
}

#[test]
fn volumes_snapshots_and_capabilities() {
    Hostile::new([VOLUME]).check_text(VolumeFacts::read);
    let instance = InstanceName::new("web").unwrap();
    Hostile::new([SNAPSHOT]).check_text(|text| {
        let _ = SnapshotFacts::read(text)?.snapshot(&instance)?;
        Ok::<_, Error>(())
    });
    Hostile::new([CAPABILITIES]).check_text(offers_kvm);
}

#[test]
fn a_document_that_was_read_is_written_as_it_was() {
    Hostile::new([DOMAIN, NETWORK, VOLUME, SNAPSHOT]).check_text(|text| {
        // What XML cannot hold is left out of the first writing.
        let written = Element::parse(&Element::parse(text)?.to_xml())?.to_xml();
        assert_eq!(Element::parse(&written)?.to_xml(), written);
        Ok::<_, Error>(())
    });
}

#[test]
fn texts_come_back_from_documents_as_they_were() {
    Hostile::texts().check_text(|word| {
        let labels: Labels = [(word, word)].into_iter().collect();
        let note = Note { labels, image: Some(word.to_owned()), ..Note::default() };
        let written = Element::new("domain").and(Element::new("metadata").and(note.to_element())).to_xml();
        assert_eq!(Note::of(&Element::parse(&written)?), note);
        let document = snapshot::document("one", Some(word), true);
        let facts = SnapshotFacts::read(&document.and(Element::of_text("state", "shutoff")).to_xml())?;
        assert!(facts.disks_only);
        Ok::<_, Error>(())
    });
}

#[test]
fn answers_of_the_agent() {
    let corpus = [
        r#"{"exited":true,"exitcode":3,"out-data":"aGkK","err-data":"/w==","out-truncated":false}"#,
        r#"{"exited":true,"signal":9}"#,
    ];
    Hostile::new(corpus).check(|body| {
        let status: captured::Status = serde_json::from_slice(body)
            .map_err(|error| Error::protocol(format!("the guest agent's answer cannot be read: {error}")))?;
        events(status)
    });
}

#[test]
fn consoles_in_any_pieces() {
    Hostile::new(["one\r\ntwo\n\nthree"]).check(|bytes| {
        let read = |size: usize| {
            let mut lines = Lines::default();
            let mut all: Vec<_> = bytes.chunks(size).flat_map(|piece| lines.push(piece)).collect();
            all.extend(lines.rest());
            all
        };
        assert_eq!(read(7), read(bytes.len().max(1)));
        Ok::<_, String>(())
    });
}

#[test]
fn addresses_of_servers() {
    Hostile::new(["qemu+ssh://root:secret@host.example:22/system?keyfile=x", "qemu:///system"]).check_text(
        |text| {
            assert!(shown(text).len() <= text.len() + 1);
            Ok::<_, String>(())
        },
    );
}

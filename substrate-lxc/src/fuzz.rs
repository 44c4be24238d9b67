//! Answers that neither LXD nor Incus gives: the real ones, damaged. Whatever comes, it is read or refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use substrate_conformance::hostile::Hostile;
use substrate_core::{Error, InstanceName, Labels};

use crate::client::{Operation, message_of};
use crate::convert::event::NativeEvent;
use crate::convert::image::ImageDocument;
use crate::convert::instance::{Document, StateDocument};
use crate::convert::network::{NetworkDocument, Subnet};
use crate::convert::snapshot::SnapshotDocument;
use crate::convert::{console, init, labels, limits, time, usage};
use crate::error::{from_operation, from_status};
use crate::name::{ImageReference, bridge_of, device_of, network_of};

macro_rules! answers {
    ($($shape:literal),*) => {
        Hostile::new([$(include_str!(concat!("../tests/corpus/", $shape, ".txt"))),*].into_iter().flat_map(str::lines))
    };
}

#[allow(clippy::needless_pass_by_value, reason = "as `map_err` hands it on")]
fn unreadable(error: serde_json::Error) -> Error {
    Error::protocol(format!("the answer is not what the API promises: {error}"))
}

#[test]
fn instances_and_what_is_inside() {
    let inside: StateDocument =
        serde_json::from_str(include_str!("../tests/corpus/states.txt").trim()).unwrap();
    answers!("instances").check(|body| {
        let document: Document = serde_json::from_slice(body).map_err(unreadable)?;
        let _ = (document.nic_on("incusbr0"), document.is_being_cleaned_up(), document.is_ephemeral());
        let instance = document.into_instance(Some(&inside))?;
        assert!(instance.limits.cpu_cores.is_none_or(f64::is_finite));
        serde_json::to_string(&instance).expect("an instance as JSON");
        Ok::<_, Error>(())
    });
    let document: Document =
        serde_json::from_str(include_str!("../tests/corpus/instances.txt").trim()).unwrap();
    answers!("states").check(|body| {
        let inside: StateDocument = serde_json::from_slice(body).map_err(unreadable)?;
        let _ = (usage::counters(&inside, tokio::time::Instant::now()), usage::usage(&inside));
        document.clone().into_instance(Some(&inside))?;
        Ok::<_, Error>(())
    });
}

#[test]
fn networks_snapshots_and_images() {
    let instance = InstanceName::new("web").unwrap();
    answers!("inventory").check(|body| {
        if let Ok(network) = serde_json::from_slice::<NetworkDocument>(body) {
            network.into_network()?;
        }
        if let Ok(snapshot) = serde_json::from_slice::<SnapshotDocument>(body) {
            snapshot.into_snapshot(&instance)?;
        }
        serde_json::from_slice::<ImageDocument>(body).map(ImageDocument::into_image).map_err(unreadable)
    });
    Hostile::new(["10.77.0.1/24", "0.0.0.0/0", "255.255.255.255/32"]).check_text(|text| {
        let subnet = Subnet::parse(text).ok_or("no subnet")?;
        let again = Subnet::parse(&subnet.cidr()).unwrap();
        assert_eq!(again.cidr(), subnet.cidr());
        assert!(subnet.overlaps(again) && again.contains(subnet.address));
        Ok::<_, &str>(())
    });
}

#[test]
fn events() {
    let substrate: Arc<str> = Arc::from("lab");
    answers!("events").check(|body| {
        let event: NativeEvent = serde_json::from_slice(body).map_err(unreadable)?;
        if let Some(event) = event.into_event(&substrate) {
            serde_json::to_string(&event).expect("an event as JSON");
        }
        Ok::<_, Error>(())
    });
}

#[test]
fn operations_and_refusals() {
    answers!("operations").check(|body| {
        for status in [404, 409, 412] {
            from_status("start the instance", status, &message_of(body));
        }
        let operation: Operation = serde_json::from_slice(body).map_err(unreadable)?;
        operation.progress();
        let operation = operation.checked("start the instance")?;
        assert!(!operation.id.contains('/'));
        Err::<(), _>(from_operation("start the instance", &operation.err))
    });
    Hostile::new([r#"{"type":"error","error":"not found"}"#, "<html>502 Bad Gateway</html>"])
        .check(|body| Err::<(), _>(from_status("start the instance", 500, &message_of(body))));
}

#[test]
fn bounds_and_times() {
    let corpus = ["50ms/100ms", "0-3,5", "96MiB", "10Mbit", "100000kB", "2", "50%"];
    Hostile::new(corpus).check_text(|text| {
        for key in ["limits.cpu", "limits.cpu.allowance", "limits.memory"] {
            let config = BTreeMap::from([(key.to_owned(), text.to_owned())]);
            let nic = BTreeMap::from([
                ("type".to_owned(), "nic".to_owned()),
                ("limits.max".to_owned(), text.to_owned()),
            ]);
            let read = limits::read(&config, &BTreeMap::from([("eth0".to_owned(), nic)]));
            assert!(
                [read.cpu_cores, read.network_mbps].into_iter().flatten().all(f64::is_finite),
                "{read:?}"
            );
        }
        limits::bytes(text).ok_or("no size")
    });
    Hostile::new(["2026-11-21T07:01:40.266956077+01:00", "2026-11-21T07:01:40Z", "0001-01-01T00:00:00Z"])
        .check_text(|text| time::parse(text).ok_or("no time"));
}

#[test]
fn consoles_in_any_pieces() {
    Hostile::new(["one\r\ntwo\n\nthree"]).check(|bytes| {
        let (whole, all) = console::lines(bytes, true);
        assert_eq!(all, bytes.len());
        let (mut lines, end) = console::lines(bytes, false);
        lines.extend(console::lines(&bytes[end..], true).0);
        assert_eq!(lines, whole);
        Ok::<_, String>(())
    });
}

#[test]
fn labels_come_back_as_they_were() {
    Hostile::texts().check_text(|word| {
        let given: Labels = [(word, word), ("key", word), ("empty", "")].into_iter().collect();
        labels::check(&given)?;
        assert_eq!(labels::read(&labels::write(&given)), given);
        Ok::<_, Error>(())
    });
}

#[test]
fn names_of_networks_and_images() {
    Hostile::texts().check_text(|word| {
        let bridge = bridge_of(word);
        assert!(bridge.len() <= 15, "a name of a network interface: {bridge}");
        assert_eq!(network_of(&device_of(word), &bridge), word);
        Ok::<_, String>(())
    });
    Hostile::new(["images:debian/12", "f306346ba008", "bb"]).check_text(|text| {
        let reference = ImageReference::parse(text)?;
        assert!(!reference.name.split('/').any(|part| part == ".."));
        Ok::<_, Error>(reference.may_be_fingerprint())
    });
}

#[test]
fn words_of_a_command_stay_in_their_line() {
    Hostile::texts().check_text(|word| {
        let text = init::lines(&["/bin/echo".to_owned(), word.to_owned()]);
        assert_eq!(text.lines().count(), 2, "{text}");
        Ok::<_, String>(())
    });
}

//! Answers and streams that no Docker gives: the real ones, damaged. Whatever comes, it is read or refused.

use std::sync::Arc;

use bytes::BytesMut;
use substrate_conformance::hostile::Hostile;
use substrate_core::{Error, InstanceName, Labels, SnapshotName, WatchCursor};

use crate::convert::event::{NativeEvent, Position};
use crate::convert::frame::Demultiplexer;
use crate::convert::instance::{Inspection, Summary};
use crate::convert::inventory::{NetworkDocument, VolumeList};
use crate::convert::lines::LineAssembler;
use crate::convert::snapshot::{self, ImageSummary};
use crate::convert::stats::Statistics;
use crate::convert::{labels, time};
use crate::error::{from_status, message_of};
use crate::name::ImageReference;
use crate::substrate::take_event;

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
fn containers_in_lists_and_by_themselves() {
    answers!("containers", "inspections").check(|body| {
        if let Ok(inspection) = serde_json::from_slice::<Inspection>(body) {
            let _ = (inspection.lineage(), inspection.label("a"), inspection.instance_state());
            let instance = inspection.into_instance()?;
            serde_json::to_string(&instance).expect("an instance as JSON");
        }
        for summary in serde_json::from_slice::<Vec<Summary>>(body).map_err(unreadable)? {
            let _ = summary.is_called("probe");
            // A time behind the year 9999 cannot be written, and is refused in words.
            let _ = serde_json::to_string(&summary.into_instance()?);
        }
        Ok::<_, Error>(())
    });
}

#[test]
fn networks_volumes_and_images() {
    answers!("inventory").check(|body| {
        if let Ok(network) = serde_json::from_slice::<NetworkDocument>(body) {
            network.into_network()?;
        }
        if let Ok(list) = serde_json::from_slice::<VolumeList>(body) {
            for volume in list.volumes.into_iter().flatten() {
                volume.into_volume()?;
            }
        }
        let image = serde_json::from_slice::<ImageSummary>(body).map_err(unreadable)?;
        image.snapshot("f0", &InstanceName::new("web")?);
        image.into_image();
        Ok::<_, Error>(())
    });
}

#[test]
fn statistics() {
    answers!("statistics").check(|body| {
        let statistics: Statistics = serde_json::from_slice(body).map_err(unreadable)?;
        let usage = statistics.reading().usage();
        assert!(usage.cpu_percent.is_none_or(f64::is_finite));
        Ok::<_, Error>(())
    });
}

#[test]
fn events_in_any_pieces() {
    let substrate: Arc<str> = Arc::from("lab");
    answers!("events").check(|body| {
        let mut position = Position::at(1);
        let mut buffer = BytesMut::new();
        for piece in body.chunks(body.len().div_ceil(7).max(1)) {
            buffer.extend_from_slice(piece);
            while let Some(event) = take_event(&mut buffer)? {
                position.advance(&event);
                let again = Position::parse(&position.cursor()).unwrap();
                assert_eq!((again.cursor(), again.since()), (position.cursor(), position.since()));
                event.into_event(&substrate);
            }
        }
        Ok::<_, Error>(())
    });
}

#[test]
fn cursors() {
    let event = |nanoseconds: u64| -> NativeEvent {
        serde_json::from_value(serde_json::json!({"Type": "container", "timeNano": nanoseconds})).unwrap()
    };
    let mut position = Position::at(1_795_234_383_000_000_000);
    position.advance(&event(1_795_234_383_000_000_001));
    position.advance(&event(1_795_234_383_000_000_009));
    Hostile::new([position.cursor().0]).check_text(|text| {
        let mut position = Position::parse(&WatchCursor(text.to_owned())).ok_or("no cursor")?;
        position.advance(&event(u64::MAX));
        position.advance(&event(0));
        Ok::<_, &str>(())
    });
}

#[test]
fn logs_with_and_without_a_terminal() {
    let mut framed = Vec::new();
    for (source, text) in
        [(1_u8, "2026-11-21T04:13:03.806612134Z one\n"), (2, "2026-11-21T04:13:03Z two\r\n"), (1, "")]
    {
        framed.extend_from_slice(&[source, 0, 0, 0, 0, 0, 0, u8::try_from(text.len()).unwrap()]);
        framed.extend_from_slice(text.as_bytes());
    }
    // Each line is an entry of its own beside its text.
    Hostile::new([framed, b"2026-11-21T04:13:03Z one\n\n2026-11-21T04:13:03Z two".to_vec()])
        .memory_factor(600)
        .check(|bytes| {
            for terminal in [true, false] {
                let mut assembler = LineAssembler::new(terminal);
                for piece in bytes.chunks(bytes.len().div_ceil(5).max(1)) {
                    assembler.push(piece)?;
                }
                assembler.finish();
                let mut length = 0;
                while let Some(assembled) = assembler.next() {
                    length += assembled.line.message.len();
                }
                // A byte that is no text is shown as a sign of three.
                assert!(length <= 3 * bytes.len());
            }
            Ok::<_, Error>(())
        });
}

#[test]
fn streams_of_commands() {
    Hostile::new([b"\x01\0\0\0\0\0\0\x05hello\x02\0\0\0\0\0\0\x03err".as_slice()]).check(|bytes| {
        let mut frames = Demultiplexer::default();
        let mut length = 0;
        for piece in bytes.chunks(bytes.len().div_ceil(5).max(1)) {
            frames.buffer().extend_from_slice(piece);
            while let Some(piece) = frames.next()? {
                assert!(!piece.data.is_empty());
                length += piece.data.len();
            }
        }
        assert!(length <= bytes.len());
        Ok::<_, Error>(frames.is_at_boundary())
    });
}

#[test]
fn refusals() {
    Hostile::new([r#"{"message":"No such container: web"}"#, "<html><body>502 Bad Gateway</body></html>"])
        .check(|body| {
            for status in [304, 404, 409, 418] {
                from_status("start the container", status, &message_of(body));
            }
            Err::<(), _>(from_status("start the container", 500, &message_of(body)))
        });
}

#[test]
fn times() {
    Hostile::new(["2026-11-21T04:13:03.806612134Z", "2026-11-21 04:13:03+01:00", "0001-01-01T00:00:00Z"])
        .check_text(|text| {
            let time = time::parse(text).ok_or("no time")?;
            // Nanoseconds in 64 bits end in the year 2554.
            let nanoseconds = time::to_nanoseconds(time);
            assert!(nanoseconds == u64::MAX || time::from_nanoseconds(nanoseconds) == time);
            Ok::<_, &str>(time::to_query(time))
        });
}

#[test]
fn names_of_images_and_snapshots() {
    Hostile::new(["registry.example:5000/team/web:1.0", "web@sha256:0123456789abcdef", "busybox"])
        .check_text(|text| {
            let reference = ImageReference::parse(text)?;
            assert!(text.starts_with(&reference.repository) && !reference.tag_or_digest().is_empty());
            reference.registry();
            Ok::<_, Error>(())
        });
    Hostile::texts().check_text(|text| {
        let name = SnapshotName::new(text)?;
        let tag = snapshot::tag(&name);
        assert!(
            tag.len() <= 128
                && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        );
        Ok::<_, Error>(())
    });
}

#[test]
fn labels_stay_as_they_are() {
    Hostile::texts().check_text(|word| {
        let given: Labels = [(word, word), ("key", word)].into_iter().collect();
        labels::check(&given)?;
        let read = labels::read(given.clone());
        assert_eq!(read.labels, given);
        Ok::<_, Error>(())
    });
}

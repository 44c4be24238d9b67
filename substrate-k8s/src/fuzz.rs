//! Answers and streams that no Kubernetes gives: the real ones, damaged. Whatever comes, it is read or refused.
//!
//! Those of KubeVirt, of snapshots and of the metrics API are no recordings, but written after their documentation.

use std::collections::BTreeMap;
use std::time::SystemTime;

use kube::core::Status;
use serde::de::DeserializeOwned;
use substrate_conformance::hostile::Hostile;
use substrate_core::{Error, InstanceName, Labels, WatchCursor};

use crate::client::{Change, Frame, Target, change, frame, status_of};
use crate::config::Workload as Kind;
use crate::convert::claim::Claim;
use crate::convert::lines::LineAssembler;
use crate::convert::meta::{Meta, Versioned};
use crate::convert::picture::{Difference, Picture};
use crate::convert::pod::Pod;
use crate::convert::service::Service;
use crate::convert::snapshot::{Part, Restoration, snapshots};
use crate::convert::usage::{PodMetrics, Summary};
use crate::convert::workload::Workload;
use crate::convert::{create, exit, labels, quantity, time};
use crate::error::{from_status, is_expired};
use crate::name;
use crate::substrate::Versions;

macro_rules! answers {
    ($($shape:literal),*) => {
        Hostile::new([$(include_str!(concat!("../tests/corpus/", $shape, ".txt"))),*].into_iter().flat_map(str::lines))
    };
}

const KINDS: [Kind; 4] = [Kind::Stateful, Kind::Deployment, Kind::Pod, Kind::VirtualMachine];

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|cause| Error::protocol(format!("the answer cannot be read: {cause}")))
}

fn sample<T: DeserializeOwned>(corpus: &str, line: usize) -> T {
    serde_json::from_str(corpus.lines().nth(line).unwrap()).unwrap()
}

#[test]
fn workloads_and_machines_with_any_pods() {
    let pod: Pod = sample(include_str!("../tests/corpus/pods.txt"), 0);
    let running: Pod = sample(include_str!("../tests/corpus/machines.txt"), 1);
    answers!("workloads", "machines").check(|body| {
        let workload: Workload = read(body)?;
        for kind in KINDS {
            for pods in [&[][..], &[&pod], &[&running], &[&pod, &running]] {
                let instance = workload.instance(kind, pods)?;
                assert!(instance.limits.cpu_cores.is_none_or(f64::is_finite));
                serde_json::to_string(&instance).expect("an instance as JSON");
            }
            let _ = (workload.owns(kind, &pod), create::port_service(&workload, kind));
        }
        let _ =
            (workload.spec.selector.to_query(), workload.claims().count(), workload.claim_volumes().count());
        Ok::<_, Error>(())
    });
}

#[test]
fn pods_and_machine_instances() {
    let workload: Workload = sample(include_str!("../tests/corpus/workloads.txt"), 0);
    let machine: Workload = sample(include_str!("../tests/corpus/machines.txt"), 0);
    answers!("pods", "machines").check(|body| {
        let pod: Pod = read(body)?;
        workload.instance(Kind::Stateful, &[&pod])?;
        workload.instance(Kind::Deployment, &[&pod])?;
        machine.instance(Kind::VirtualMachine, &[&pod])?;
        let _ = (pod.log_status().is_some(), pod.log_container(), pod.finished_at(), pod.node());
        Workload::of_pod(&pod).instance(Kind::Pod, &[&pod])?;
        Ok::<_, Error>(())
    });
}

#[test]
fn what_is_watched_makes_a_picture_of_whatever_comes() {
    answers!("pods", "workloads", "machines").check(|body| {
        for kind in KINDS {
            let mut picture = Picture::new(kind, Vec::new(), Vec::new());
            let (pod, workload): (Pod, Workload) = (read(body)?, read(body)?);
            picture.pod(Difference::Is(pod.clone()));
            picture.workload(Difference::Is(workload.clone()));
            picture.catch_up(vec![workload.clone()], vec![pod.clone()]);
            picture.workload(Difference::Gone(workload));
            picture.pod(Difference::Gone(pod));
        }
        Ok::<_, Error>(())
    });
}

#[test]
fn changes_in_a_watch() {
    answers!("changes").check(|line| match change::<Workload>(line)? {
        Change::Added(workload) | Change::Modified(workload) | Change::Deleted(workload) => {
            workload.instance(Kind::Stateful, &[]).map(drop)
        }
        Change::Bookmark(_) | Change::Expired | Change::Ended => Ok(()),
    });
}

#[test]
fn claims_services_and_snapshots() {
    let instance = InstanceName::new("web").unwrap();
    answers!("inventory", "snapshots").check(|body| {
        read::<Claim>(body)?.volume()?;
        let _ = (read::<Service>(body)?.network(), read::<Versioned>(body)?.metadata.holders().len());
        let restoration: Restoration = read(body)?;
        let _ = (restoration.is_complete(), restoration.failure());
        let part: Part = read(body)?;
        let _ = (part.complaint(), part.has_failed(), part.lacks(["main"].into_iter()));
        for snapshot in snapshots(&instance, &[part.clone(), part])? {
            serde_json::to_string(&snapshot).expect("a snapshot as JSON");
        }
        Ok::<_, Error>(())
    });
}

#[test]
fn measurements() {
    answers!("usage", "metrics").check(|body| {
        let uid = "e82e01c7-f6eb-4613-afad-c0272139e9fa";
        let measured = [read::<Summary>(body)?.measured(uid), Some(read::<PodMetrics>(body)?.measured())];
        for one in measured.into_iter().flatten() {
            assert!(one.cpu_percent.is_none_or(f64::is_finite) && one.memory_mb.is_none_or(f64::is_finite));
        }
        Ok::<_, Error>(())
    });
}

#[test]
fn refusals_and_the_ends_of_commands() {
    Hostile::new([
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"a\" not found","reason":"NotFound","details":{"name":"a","kind":"pods","retryAfterSeconds":3},"code":404}"#,
        r#"{"metadata":{},"status":"Failure","message":"command terminated","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#,
        "<html><body>502 Bad Gateway</body></html>",
    ])
    .check(|body| {
        for code in [200, 404, 409, 500] {
            let status = status_of(code, body);
            let _ = is_expired(&status);
            from_status("look", &status, Some(u32::MAX));
        }
        let _ = exit::of_status(body, b"OCI runtime exec failed: x");
        exit::of_status(body, b"")?;
        read::<Status>(body).map(drop)
    });
}

#[test]
fn frames_of_commands() {
    Hostile::new([&b"\x01hello"[..], b"\x02err", b"\x03{\"status\":\"Success\"}", b"\xff\x01", b""]).check(
        |bytes| {
            let content = match frame(bytes::Bytes::copy_from_slice(bytes)).ok_or("nothing")? {
                Frame::Stdout(content) | Frame::Stderr(content) | Frame::Status(content) => content,
                Frame::Closed | Frame::Answered(_) => return Err("a message of a channel is none of these"),
            };
            assert_eq!(content, bytes.get(1..).unwrap());
            Ok::<_, &str>(())
        },
    );
}

#[test]
fn logs_in_any_pieces() {
    Hostile::new(["2026-11-21T04:13:03.806612134Z one\n2026-11-21T05:13:03+01:00 two\r\n\nno time\n2026-11-21T04:13:03Z"])
        .memory_factor(600)
        .check(|bytes| {
            let all = |pieces: usize| {
                let mut assembler = LineAssembler::default();
                let mut lines = Vec::new();
                for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
                    assembler.push(piece);
                    lines.extend(std::iter::from_fn(|| assembler.next()));
                }
                lines.extend(assembler.finish());
                lines
            };
            let lines = all(5);
            assert_eq!(lines, all(1), "however it comes");
            let length: usize = lines.iter().map(|line| line.message.len()).sum();
            // A byte that is no text is shown as a sign of three.
            assert!(length <= 3 * bytes.len());
            Ok::<_, Error>(())
        });
}

#[test]
fn quantities_and_times() {
    Hostile::new(["500m", "1Gi", "1G", "1e3", "1E", "0", "-5", "250000n"]).check_text(|text| {
        let value = quantity::parse(text).ok_or("no quantity")?;
        assert!(value.is_finite(), "{value}");
        let _ = (quantity::bytes(text), quantity::to_mebibytes(text));
        Ok::<_, &str>(())
    });
    Hostile::new(["2026-11-21T04:13:03.806612134Z", "2026-11-21T04:13:03Z", "0001-01-01T00:00:00Z"])
        .check_text(|text| {
            let time: SystemTime = time::parse(text).ok_or("no time")?;
            Ok::<_, &str>(time::format(time))
        });
}

#[test]
fn cursors() {
    Hostile::new(["k8s/1/12/34", "k8s/1/a1/b2"]).check_text(|text| {
        let versions = Versions::parse(&WatchCursor(text.to_owned()))?;
        assert_eq!(Versions::parse(&versions.cursor())?, versions);
        Ok::<_, Error>(())
    });
}

#[test]
fn no_name_can_leave_its_place_in_a_path() {
    Hostile::texts().check_text(|text| {
        let uri = Target::new("/api/v1").segment(text).with(text, text).uri();
        let (path, _) = uri.split_once('?').unwrap();
        assert_eq!(path.matches('/').count(), 3, "{uri:.200}");
        // The HTTP library takes none that is longer, whatever is in it.
        assert!(uri.len() > usize::from(u16::MAX - 1) || uri.parse::<http::Uri>().is_ok(), "{uri:.200}");
        assert!(!name::is_object_name(text) || !text.contains(['/', '?', '#', '%']));
        let _ = (name::is_label_key(text), name::is_label_value(text), name::is_uid(text));
        name::check_image(text)
    });
}

#[test]
fn labels_come_back_as_they_were() {
    Hostile::texts().check_text(|word| {
        let given: Labels = [(word, word), ("key", word), ("empty", "")].into_iter().collect();
        labels::check(&given)?;
        let metadata = BTreeMap::from([(word.to_owned(), serde_json::json!(word))]);
        let written = labels::write(&given, &metadata);
        let meta = Meta { labels: written.labels, annotations: written.annotations, ..Meta::default() };
        assert_eq!(labels::read(&meta), given);
        assert_eq!(labels::read_metadata(&meta), metadata);
        Ok::<_, Error>(())
    });
}

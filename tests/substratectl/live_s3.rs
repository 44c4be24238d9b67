//! Journals in a bucket, on a server that speaks S3.

use rustix::process::Signal;
use serde_json::json;

use crate::blueprints::one_document;
use crate::facility::Facility;
use crate::interruptions::{Deploying, SLOW};

const SHOP: &str = "name: shop\nresources:\n  - {type: storage, name: data}\n  - {type: compute, name: web, specs: \
                    {image: 'busybox:local', volumes: ['data:/srv']}}\n";

/// A facility whose commands find this server.
fn facility(test: &str, server: String) -> Facility {
    Facility::new(test).with_environment([
        ("AWS_ENDPOINT_URL", server),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "lab".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "hunter2".to_owned()),
    ])
}

fn lab(test: &str) -> (Facility, String) {
    let variable =
        |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set: is the lab up?"));
    let place = format!("s3://{}/{test}-{}", variable("SUBSTRATES_LAB_S3_BUCKET"), std::process::id());
    (facility(test, variable("SUBSTRATES_LAB_S3")), place)
}

#[test]
#[ignore = "live: s3"]
fn a_journal_in_a_bucket_remembers_from_one_process_to_the_next() {
    let (facility, journal) = lab("s3_remembers");
    facility.write("shop.yaml", SHOP);
    let report = facility.report(&["deploy", "shop.yaml", "--yes", "--journal", &journal]);
    assert_eq!(report["created"], json!(["shop/data", "shop/web"]), "{report}");
    let plan = facility.json(&["plan", "shop.yaml", "--journal", &journal]);
    assert_eq!(plan["steps"], json!([]), "{plan}");
    let report = facility.report(&["destroy", "shop", "--yes", "--journal", &journal]);
    assert_eq!(report["status"], "done", "{report}");
    assert_eq!(facility.instances(), [""; 0]);
}

#[test]
#[ignore = "live: s3"]
fn of_two_engines_on_one_bucket_the_second_is_told_who_is_the_first_and_takes_over_when_that_is_killed() {
    let (facility, journal) = lab("s3_two_at_once");
    facility.write("slow.yaml", SLOW);
    let deploy = ["deploy", "slow.yaml", "--yes", "--journal", &journal];
    let mut first = Deploying::begin(facility.command(&deploy));
    first.until("slow/second: waits");
    let answer = facility.run(&[&deploy[..], &["-o", "json"]].concat());
    assert_eq!(answer.status, Some(1), "{answer:?}");
    let error = one_document(&answer)["error"].clone();
    assert_eq!(error["kind"], "conflict", "{error}");
    let owner = format!("process {}", first.child.id());
    assert!(error["message"].as_str().unwrap().contains(&owner), "{error}");
    first.signal(Signal::KILL);
    assert_eq!(first.end().status, None);
    facility.write("slow.yaml", &SLOW.replace("'false'", "'true'"));
    facility.report(&deploy);
    assert_eq!(facility.instances(), ["first", "second", "third"]);
}

#[test]
fn a_bucket_that_cannot_be_reached_is_an_error_before_anything_is_made() {
    let facility = facility("s3_nowhere", "http://127.0.0.1:9".to_owned());
    facility.write("shop.yaml", SHOP);
    let answer =
        facility.run(&["deploy", "shop.yaml", "--yes", "--journal", "s3://journals/x", "-o", "json"]);
    assert_eq!(answer.status, Some(1), "{answer:?}");
    let error = one_document(&answer)["error"].clone();
    assert_eq!(error["kind"], "unavailable", "{error}");
    assert!(error["message"].as_str().unwrap().contains("s3://journals/x"), "{error}");
    assert!(!answer.stderr.contains("hunter2"), "{answer:?}");
    assert_eq!(facility.instances(), [""; 0]);
}

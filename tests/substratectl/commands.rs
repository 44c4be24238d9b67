//! `exec`: exit status, bytes, arguments.

use serde_json::{Value, json};

use crate::facility::Facility;

#[test]
fn exec_exits_as_the_command_does() {
    let facility = Facility::new("exec_status");
    facility.running("web");
    for (argv, status) in [
        (&["true"][..], 0),
        (&["false"], 1),
        (&["exit", "7"], 7),
        (&["exit", "255"], 255),
        (&["kill-self", "9"], 128 + 9),
    ] {
        for front in
            [&["exec", "web", "--"][..], &["-o", "json", "exec", "web", "--"], &["exec", "-i", "web", "--"]]
        {
            let words = [front, argv].concat();
            assert_eq!(facility.run(&words).status, Some(status), "{words:?}");
        }
    }
}

#[test]
fn exec_keeps_both_streams_apart_and_every_byte() {
    let facility = Facility::new("exec_streams");
    facility.running("web");
    let answer = facility.run(&["exec", "web", "--", "emit", "out", "err\n\n", "3"]);
    assert_eq!(
        (answer.status, answer.stdout.as_slice(), answer.stderr.as_str()),
        (Some(3), &b"out"[..], "err\n\n")
    );
    let bytes: Vec<u8> =
        (0..1_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let answer = facility.run_with_input(&["exec", "web", "-i", "--", "cat"], &bytes);
    assert_eq!((answer.status, answer.stderr.as_str()), (Some(0), ""));
    assert!(answer.stdout == bytes, "{} bytes came back of {}", answer.stdout.len(), bytes.len());
    let flood = facility.run(&["exec", "web", "--", "flood", "3000000", "2000000"]);
    assert_eq!((flood.stdout.len(), flood.stderr.len()), (3_000_000, 2_000_000));
}

#[test]
fn exec_without_i_reads_no_input() {
    let facility = Facility::new("exec_no_input");
    facility.running("web");
    let answer = facility.run_with_input(&["exec", "web", "--", "cat"], b"not for you");
    assert_eq!(answer.text(), "");
}

#[test]
fn what_stands_behind_the_dashes_belongs_to_the_command() {
    let facility = Facility::new("exec_arguments");
    facility.running("web");
    let odd = ["-o", "json", "--help", "-s", "a b", "", "\"$HOME\"", ";", "two\nlines", "--", "☃"];
    let words = [&["exec", "web", "--", "arguments"][..], &odd].concat();
    assert_eq!(facility.run(&words).text(), odd.map(|word| format!("{word}\n")).concat());
}

#[test]
fn exec_in_json_is_one_document_and_interactive_one_per_piece() {
    let facility = Facility::new("exec_json");
    facility.running("web");
    let answer = facility.run(&["exec", "web", "-o", "json", "--", "emit", "out", "err", "3"]);
    assert_eq!((answer.status, answer.stderr.as_str()), (Some(3), ""));
    let document: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(document, json!({"status": {"code": 3}, "stdout": "out", "stderr": "err"}));
    let answer = facility.run_with_input(&["exec", "web", "-i", "-o", "json", "--", "cat"], b"hello");
    let items: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(items, [json!({"stdout": "hello"}), json!({"exited": {"code": 0}})]);
}

//! How failures are told.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::facility::{Answer, Facility};

#[test]
fn failures_are_one_line_and_one_document() {
    let facility = Facility::new("failures");
    facility.running("web");
    let told = facility.fails(&["get", "nobody"], 1, "not_found", json!("get_instance"));
    assert!(told.contains("nobody"), "{told}");
    facility.fails(&["delete", "web"], 1, "conflict", json!("delete_instance"));
    let again = ["create", "web", "--image", "busybox:local"];
    facility.fails(&again, 1, "already_exists", json!("create_instance"));
    facility.fails(&["snapshot", "restore", "web", "none"], 1, "not_found", json!("restore_snapshot"));
    facility.fails(&["exec", "web", "--", "/no/such/program"], 1, "invalid_input", json!("open_command"));
    facility.says(&["delete", "web", "--force"], "deleted web\n");
}

#[test]
fn wrong_usage_exits_with_two() {
    let facility = Facility::new("usage");
    for words in [
        &["lst"][..],
        &["get"],
        &["get", "web", "more"],
        &["create", "web"],
        &["create", "--image", "busybox:local"],
        &["exec", "web"],
        &["exec", "web", "true"],
        &["stop", "web", "--force", "--timeout", "1s"],
        &["stop", "web", "--timeout", "soon"],
        &["create", "web", "--image", "x", "--memory", "plenty"],
        &["create", "web", "--image", "x", "--kind", "toaster"],
        &["create", "web", "--image", "x", "-f", "file"],
        &["create", "web", "--image", "x", "--env", "NOT_THERE"],
        &["watch", "--for", "ever"],
        &["get", ".."],
    ] {
        facility.fails(words, 2, "invalid_input", Value::Null);
    }
    let yaml = facility.run(&["-o", "yaml", "list"]);
    assert_eq!((yaml.status, yaml.stderr.lines().count()), (Some(2), 1), "{yaml:?}");
}

#[test]
fn help_is_an_answer() {
    let facility = Facility::new("help");
    for words in [&["--help"][..], &["create", "--help"], &["snapshot", "--help"], &["--version"]] {
        assert!(facility.run(words).text().contains("substratectl"), "{words:?}");
    }
    let create = facility.run(&["create", "--help"]).text();
    assert!(create.contains("can be seen by everybody"), "{create}");
}

#[test]
fn what_is_wrong_in_a_file_is_shown_in_its_place() {
    let facility = Facility::new("wrong_file");
    let yaml = facility.write("web.yaml", "name: web\nimgae: busybox\n");
    let told = facility.fails(&["create", "-f", &yaml], 1, "invalid_input", Value::Null);
    assert!(told.contains("web.yaml:2:1: ") && told.contains("did you mean `image`"), "{told}");
    facility.fails(&["create", "-f", "no-such-file"], 1, "invalid_input", Value::Null);
    let wrong = facility.write("wrong.yaml", "fake: {state_fiel: x, other: y}\n");
    facility.fails(&["-c", &wrong, "list"], 1, "invalid_input", Value::Null);
    facility.fails(&["-c", "no-such-file", "list"], 1, "invalid_input", Value::Null);
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let facility = Facility::new("pipe");
    facility.running("web");
    for words in
        [&["list"][..], &["get", "nobody", "-o", "json"], &["exec", "web", "--", "flood", "1000000", "0"]]
    {
        let mut child =
            facility.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let answer = Answer::from(child.wait_with_output().unwrap());
        if words.first() == Some(&"get") {
            assert_eq!((answer.status, answer.stderr.lines().count()), (Some(1), 1), "{answer:?}");
        } else {
            assert_eq!((answer.status, answer.stderr.as_str()), (Some(141), ""), "{words:?}");
        }
    }
}

//! Which substrate is meant, and where options stand.

use serde_json::{Value, json};

use crate::facility::{Answer, Facility};

#[test]
fn types_are_listed_without_any_configuration() {
    let facility = Facility::new("types");
    let text = Answer::from(facility.bare().arg("types").output().unwrap()).text();
    assert!(text.lines().any(|line| line == "fake"), "{text}");
    let types = Answer::from(facility.bare().args(["types", "-o", "json"]).output().unwrap()).document();
    assert!(types.as_array().unwrap().contains(&json!("fake")), "{types}");
}

#[test]
fn a_type_is_enough_where_nothing_is_configured() {
    let facility = Facility::new("local_default");
    let answer = Answer::from(facility.bare().args(["-s", "fake", "list", "-o", "json"]).output().unwrap());
    assert_eq!(answer.document(), json!([]));
}

#[test]
fn without_configuration_and_type_it_is_wrong_usage_and_the_types_are_told() {
    let facility = Facility::new("no_configuration");
    let answer = Answer::from(facility.bare().args(["list", "-o", "json"]).output().unwrap());
    assert_eq!(answer.status, Some(2));
    assert!(answer.stderr.contains("fake") && answer.stderr.lines().count() == 1, "{answer:?}");
    let document: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(document["error"]["kind"], "invalid_input");
}

#[test]
fn of_several_substrates_one_must_be_chosen() {
    let facility = Facility::new("several");
    let several = facility.write("several.yaml", "substrates: {one: {type: fake}, two: {type: fake}}");
    let told = facility.fails(&["-c", &several, "list"], 1, "invalid_input", Value::Null);
    assert!(told.contains("one, two"), "{told}");
    facility.fails(&["-c", &several, "-s", "fake", "list"], 1, "invalid_input", Value::Null);
    facility.fails(&["-c", &several, "-s", "three", "list"], 1, "invalid_input", Value::Null);
    assert_eq!(facility.json(&["-c", &several, "-s", "two", "list"]), json!([]));
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    let facility = Facility::new("positions");
    facility.running("web");
    let file = facility.path("substrate.yaml");
    let file = file.to_str().unwrap();
    for words in [
        ["-c", file, "-s", "fake", "-o", "json", "get", "web"],
        ["get", "web", "-c", file, "-s", "fake", "-o", "json"],
        ["-o", "json", "get", "-s", "fake", "web", "-c", file],
        ["--output", "json", "--substrate", "fake", "get", "web", "--config", file],
    ] {
        let answer = Answer::from(facility.bare().args(words).output().unwrap());
        assert_eq!(answer.document()["name"], "web", "{words:?}");
    }
    // In a group of commands too.
    let words = ["snapshot", "-c", file, "list", "web", "-o", "json"];
    assert_eq!(Answer::from(facility.bare().args(words).output().unwrap()).document(), json!([]));
}

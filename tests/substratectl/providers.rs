//! Which substrates a blueprint opens, and what it may say about them.

use serde_json::{Value, json};

use crate::blueprints::one_document;
use crate::facility::{Answer, Facility};

fn one(provider: &str, engine_config: &str) -> String {
    format!(
        "name: one\nresources:\n  - {{type: compute, name: a, {provider}specs: {{image: 'busybox:local'}}}}\n\
         metadata:\n  engine_config: {engine_config}\n"
    )
}

fn problems(answer: &Answer) -> Vec<(u64, String)> {
    assert_eq!(answer.status, Some(1), "{answer:?}");
    let problems = one_document(answer)["problems"].clone();
    let told = problems.as_array().unwrap().iter();
    told.map(|one| (one["line"].as_u64().unwrap_or(0), one["message"].as_str().unwrap().to_owned())).collect()
}

impl Facility {
    fn checked(&self, words: &[&str]) -> Answer {
        self.run(&[&["-o", "json", "-c", "several.yaml", "validate"], words].concat())
    }
}

#[test]
fn a_type_without_configuration_opens_with_its_defaults() {
    let facility = Facility::new("provider_default");
    facility.write("one.yaml", &one("provider: fake, ", "{}"));
    let answer = Answer::from(facility.bare().args(["deploy", "one.yaml", "--yes"]).output().unwrap());
    assert_eq!(answer.status, Some(0), "{answer:?}");
    // What the journal names is open too, and no choice for what names nothing.
    facility.write("one.yaml", &one("", "{}"));
    let answer = Answer::from(facility.bare().args(["validate", "one.yaml", "-o", "json"]).output().unwrap());
    let told = problems(&answer);
    assert!(told[0].1.contains("`provider` is missing") && told[0].1.contains("`fake`"), "{told:?}");
    facility.write("several.yaml", "substrates: {mine: {type: fake}}");
    assert_eq!(facility.checked(&["one.yaml"]).document(), json!({ "problems": [] }));
}

#[test]
fn of_several_only_those_that_are_named_are_opened() {
    let facility = Facility::new("provider_several");
    // The settings of `broken` would be refused.
    facility.write("several.yaml", "substrates: {good: {type: fake}, broken: {type: fake, latency: never}}");
    facility.write("one.yaml", &one("provider: good, ", "{}"));
    assert_eq!(facility.checked(&["one.yaml"]).document(), json!({ "problems": [] }));
    facility.write("one.yaml", &one("", "{}"));
    let told = problems(&facility.checked(&["one.yaml"]));
    assert!(told[0].0 == 3 && told[0].1.contains("`broken`") && told[0].1.contains("`good`"), "{told:?}");
    facility.write("one.yaml", &one("provider: fake, ", "{}"));
    let told = problems(&facility.checked(&["one.yaml"]));
    assert!(told[0].0 == 3 && told[0].1.contains("several"), "{told:?}");
    facility.write("one.yaml", &one("provider: broekn, ", "{}"));
    let told = problems(&facility.checked(&["one.yaml"]));
    assert!(told[0].0 == 3 && told[0].1.contains("did you mean `broken`"), "{told:?}");
    facility.write("one.yaml", &one("provider: broken, ", "{}"));
    let answer = facility.checked(&["one.yaml"]);
    assert_eq!(one_document(&answer)["problems"][0]["file"], "several.yaml", "{answer:?}");
}

#[test]
fn the_engine_config_is_laid_over_the_configuration() {
    let facility = Facility::new("provider_layover");
    facility.write("one.yaml", &one("", "{fake: {fail_on_create: [a]}}"));
    let failed = facility.run(&["deploy", "one.yaml", "--yes", "-o", "json"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert_eq!(one_document(&failed)["failed"][0]["resource"], "one/a");
    // It comes after the environment.
    let mut command = facility.command(&["deploy", "one.yaml", "--yes", "-o", "json"]);
    let failed = Answer::from(command.env("SUBSTRATE_FAKE_FAIL_ON_CREATE", "false").output().unwrap());
    assert_eq!(failed.status, Some(1), "{failed:?}");
    facility.write("one.yaml", &one("", "{fake: {latency: 1ms}, global: {enable_caching: false}}"));
    facility.report(&["deploy", "one.yaml", "--yes"]);
    // A substrate of the blueprint's own.
    facility.write("one.yaml", &one("provider: mine, ", "{substrates: {mine: {type: fake}}}"));
    assert_eq!(facility.json(&["validate", "one.yaml"]), json!({ "problems": [] }));
}

#[test]
fn what_is_wrong_in_an_engine_config_is_told_in_its_place() {
    let facility = Facility::new("provider_wrong");
    for (config, word) in [
        ("{fake: {latencey: 1s}}", "did you mean `latency`"),
        ("{fkae: {latency: 1s}}", "did you mean `fake`"),
        ("{fake: 7}", "map"),
        ("{fake: {type: docker}}", "cannot be changed"),
        ("{global: {retry: {retries: many}}}", "many"),
        ("[]", "map"),
    ] {
        facility.write("one.yaml", &one("", config));
        let told = problems(&facility.run(&["validate", "one.yaml", "-o", "json"]));
        assert!(told.len() == 1 && told[0].0 == 5 && told[0].1.contains(word), "{config}: {told:?}");
    }
}

#[test]
fn blueprints_that_do_not_agree_are_refused_together_and_work_alone() {
    let facility = Facility::new("provider_disagreement");
    facility.write("one.yaml", &one("", "{fake: {latency: 1ms}}"));
    let two = |latency: &str| {
        one("", &format!("{{fake: {{latency: {latency}}}}}"))
            .replace("one", "two")
            .replace("name: a", "name: b")
    };
    facility.write("two.yaml", &two("2ms"));
    let told = problems(&facility.run(&["validate", "one.yaml", "two.yaml", "-o", "json"]));
    assert!(told.len() == 1 && told[0].0 == 5 && told[0].1.contains("`one` and `two`"), "{told:?}");
    facility.says(&["validate", "two.yaml"], "1 resource, no problems\n");
    facility.write("two.yaml", &two("1ms"));
    facility.says(&["validate", "one.yaml", "two.yaml"], "2 resources, no problems\n");
    let deployed = facility.report(&["deploy", "one.yaml", "two.yaml", "--yes"]);
    assert_eq!(deployed["created"], json!(["one/a", "two/b"]));
    let told = facility.fails(&["-s", "fake", "plan", "one.yaml"], 2, "invalid_input", Value::Null);
    assert!(told.contains("provider"), "{told}");
}

#[test]
fn a_resource_that_moves_is_removed_from_where_it_was() {
    let facility = Facility::new("provider_move");
    let (here, there) = (json!(facility.path("here.json")), json!(facility.path("there.json")));
    facility.write(
        "several.yaml",
        &format!(
            "substrates:\n  here: {{type: fake, state_file: {here}}}\n  there: {{type: fake, state_file: {there}}}\n"
        ),
    );
    let deploy = ["-c", "several.yaml", "deploy", "one.yaml", "--yes"];
    facility.write("one.yaml", &one("provider: here, ", "{}"));
    facility.report(&deploy);
    facility.write("one.yaml", &one("provider: there, ", "{}"));
    facility.report(&deploy);
    assert_eq!(facility.json(&["-c", "several.yaml", "-s", "here", "list"]), json!([]));
    assert_eq!(facility.json(&["-c", "several.yaml", "-s", "there", "list"])[0]["name"], "a");
}

//! Deployments that are stopped in the middle, and those that meet another.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::blueprints::one_document;
use crate::facility::{Answer, Facility};

/// One resource whose deployment does not end by itself.
pub(crate) const SLOW: &str = r"
name: slow
resources:
  - {type: compute, name: first, specs: {image: 'busybox:local'}}
  - type: compute
    name: second
    dependencies: [first]
    specs: {image: 'busybox:local'}
    readiness: {command: ['false'], timeout: 1h, interval: 50ms}
  - {type: compute, name: third, dependencies: [second], specs: {image: 'busybox:local'}}
";

/// A deployment in the background.
pub(crate) struct Deploying {
    pub(crate) child: Child,
    progress: BufReader<ChildStderr>,
}

impl Deploying {
    pub(crate) fn begin(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let progress = BufReader::new(child.stderr.take().unwrap());
        Self { child, progress }
    }

    /// Waits for a word of progress.
    pub(crate) fn until(&mut self, word: &str) {
        let mut told = String::new();
        while !told.contains(word) {
            let before = told.len();
            self.progress.read_line(&mut told).unwrap();
            assert!(told.len() > before, "it ended before `{word}`: {told}");
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn end(mut self) -> Answer {
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut self.progress, &mut stderr).unwrap();
        let answer = Answer::from(self.child.wait_with_output().unwrap());
        Answer { stderr, ..answer }
    }
}

#[test]
fn of_two_deployments_at_once_the_second_is_told_who_has_the_first() {
    let facility = Facility::new("two_at_once");
    facility.write("slow.yaml", SLOW);
    let mut first = Deploying::begin(facility.command(&["deploy", "slow.yaml", "--yes"]));
    first.until("slow/second: waits");
    let answer = facility.run(&["deploy", "slow.yaml", "--yes", "-o", "json"]);
    assert_eq!(answer.status, Some(1), "{answer:?}");
    let error = one_document(&answer)["error"].clone();
    assert_eq!(error["kind"], "conflict", "{error}");
    let owner = format!("process {}", first.child.id());
    assert!(error["message"].as_str().unwrap().contains(&owner), "{error}");
    let state = facility.run(&["state", "slow"]).text();
    assert!(state.contains(&format!("being changed by {owner}")), "{state}");
    first.signal(Signal::KILL);
    assert_eq!(first.end().status, None);
    let state = facility.run(&["state", "slow"]).text();
    assert!(state.contains(&format!("left unfinished by {owner}")), "{state}");
}

#[test]
fn an_interrupt_finishes_what_was_begun_and_says_how_to_go_on() {
    let facility = Facility::new("blueprint_interrupt");
    facility.write("slow.yaml", SLOW);
    let mut deploying = Deploying::begin(facility.command(&["deploy", "slow.yaml", "--yes", "-o", "json"]));
    deploying.until("slow/second: waits");
    deploying.signal(Signal::INT);
    let answer = deploying.end();
    assert_eq!(answer.status, Some(130), "{answer:?}");
    let report = one_document(&answer);
    assert_eq!(
        (&report["status"], &report["created"]),
        (&json!("cancelled"), &json!(["slow/first"])),
        "{report}"
    );
    assert!(report["message"].as_str().unwrap().contains("run the same again"), "{report}");
    let state = facility.json(&["state", "slow"])["deployments"][0].clone();
    assert_eq!((&state["owner"], &state["runs"][0]["status"]), (&Value::Null, &json!("cancelled")));
    facility.write("slow.yaml", &SLOW.replace("'false'", "'true'"));
    facility.report(&["deploy", "slow.yaml", "--yes"]);
    assert_eq!(facility.instances(), ["first", "second", "third"]);
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    let facility = Facility::new("blueprint_interrupt_twice");
    // A directive is finished, and this one takes its time.
    let text = SLOW.replace(
        "readiness: {command: ['false'], timeout: 1h, interval: 50ms}",
        "directives: [exec: {command: [sleep, '3600'], timeout: 2h}]",
    );
    facility.write("slow.yaml", &text);
    let mut deploying = Deploying::begin(facility.command(&["deploy", "slow.yaml", "--yes"]));
    deploying.until("slow/second: started");
    deploying.signal(Signal::INT);
    deploying.until("interrupt again");
    deploying.signal(Signal::INT);
    let answer = deploying.end();
    assert_eq!(answer.status, Some(130), "{answer:?}");
    assert!(answer.stderr.contains("run the same again"), "{answer:?}");
    facility.write("slow.yaml", &text.replace("3600", "0"));
    facility.report(&["deploy", "slow.yaml", "--yes"]);
    assert_eq!(facility.instances(), ["first", "second", "third"]);
}

#[test]
fn a_killed_deployment_is_finished_by_the_next_one() {
    let facility = Facility::new("blueprint_kill");
    let state = json!(facility.path("state.json"));
    // Slow enough to be in the middle of something.
    facility.write("slow-calls.yaml", &format!("fake: {{state_file: {state}, latency: 30ms}}\n"));
    let text = "name: farm\nresources:\n  - {type: network, name: front}\n  \
                - {type: compute, name: web, count: 8, specs: {image: 'busybox:local', networks: [front]}}\n  \
                - {type: compute, name: last, specs: {image: 'busybox:local'}, dependencies: [web]}\n";
    facility.write("farm.yaml", text);
    let deploy = ["-c", "slow-calls.yaml", "deploy", "farm.yaml", "--yes", "--parallel", "2"];
    for word in ["front: started", "web[0]: started", "[2/", "[3/", "last: started"] {
        let mut deploying = Deploying::begin(facility.command(&deploy));
        deploying.until(word);
        deploying.signal(Signal::KILL);
        assert_eq!(deploying.end().status, None, "{word}");
    }
    facility.report(&["deploy", "farm.yaml", "--yes"]);
    assert_eq!(facility.json(&["plan", "farm.yaml"])["steps"], json!([]));
    assert_eq!(facility.instances().len(), 9);
    assert_eq!(facility.json(&["sweep", "farm.yaml"]), json!({ "orphans": [] }));
    facility.report(&["destroy", "farm", "--yes"]);
    assert!(facility.instances().is_empty());
}

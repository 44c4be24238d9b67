//! What goes on: logs and events.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::facility::{Answer, Facility};

/// A program that goes on until it is interrupted.
struct Following {
    child: Child,
}

impl Following {
    fn begin(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child }
    }

    /// Waits until it would hear an interrupt.
    fn listens(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let caught = || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
            u64::from_str_radix(mask, 16).unwrap() & (1 << 1) != 0
        };
        while !caught() {
            assert!(Instant::now() < deadline, "it does not listen to interrupts");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn interrupt(self) -> Answer {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        self.child.wait_with_output().unwrap().into()
    }
}

#[test]
fn logs_are_the_last_lines_and_one_document_each() {
    let facility = Facility::new("logs");
    let words = ["create", "web", "--image", "busybox:local", "--", "serve", "one", "two", "three"];
    facility.says(&words, "created web (stopped)\n");
    facility.says(&["start", "web"], "started web\n");
    facility.says(&["logs", "web"], "one\ntwo\nthree\n");
    facility.says(&["logs", "web", "-n", "2"], "two\nthree\n");
    let answer = facility.run(&["logs", "web", "-n1", "-o", "json"]).document();
    assert_eq!((&answer["message"], &answer["source"]), (&json!("three"), &json!("stdout")));
    facility.fails(&["logs", "nobody"], 1, "not_found", json!("get_logs"));
}

#[test]
fn watching_ends_after_its_time() {
    let facility = Facility::new("watch");
    facility.says(&["watch", "--for", "100ms"], "");
    facility.says(&["watch", "--for", "100ms", "-o", "json"], "");
}

#[test]
fn an_interrupted_follower_ends_quietly() {
    let facility = Facility::new("interrupt");
    facility.says(
        &["create", "web", "--image", "busybox:local", "--", "serve", "one"],
        "created web (stopped)\n",
    );
    facility.says(&["start", "web"], "started web\n");
    let mut logs = Following::begin(facility.command(&["logs", "web", "-f"]));
    let mut line = String::new();
    BufReader::new(logs.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    let answer = logs.interrupt();
    assert_eq!((answer.status, answer.stderr.as_str()), (Some(130), ""));

    let watch = Following::begin(facility.command(&["watch"]));
    watch.listens();
    let answer = watch.interrupt();
    assert_eq!((answer.status, answer.stderr.as_str(), answer.stdout.len()), (Some(130), "", 0));
}

//! On a real daemon: what the fake cannot show, events of somebody else among it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::facility::{Answer, program};

fn docker(words: &[&str]) -> Command {
    let lab = std::env::var("SUBSTRATES_LAB_DOCKER").expect("SUBSTRATES_LAB_DOCKER is set: is the lab up?");
    let mut command = Command::new(program());
    command.env_clear().env("DOCKER_HOST", lab).args(["-s", "docker"]).args(words).stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Answer {
    docker(words).output().unwrap().into()
}

/// Deletes the container however the test ends.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        let _ = docker(&["delete", "--force", &self.0]).output();
    }
}

#[test]
#[ignore = "live: docker"]
fn a_container_lives_and_is_watched() {
    let image = std::env::var("SUBSTRATES_LAB_DOCKER_IMAGE").expect("SUBSTRATES_LAB_DOCKER_IMAGE is set");
    let name = format!("sc-ctl-{}", std::process::id());
    let container = Container(name.clone());
    let serve = r#"echo ready; trap "exit 0" TERM; while :; do sleep 0.1; done"#;
    run(&["create", &name, "--image", &image, "--", "sh", "-c", serve]).text();
    run(&["start", &name]).text();

    // Nothing says that a watcher listens: pauses until it has seen one.
    let mut watch = docker(&["watch", "-o", "json", "--for", "30s"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let (name_of_watched, seen) = (name.clone(), std::sync::mpsc::channel());
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let item: Value = serde_json::from_str(&line).unwrap();
            let event = &item["event"]["event"];
            if event["instance"] == name_of_watched.as_str() && event["kind"] == "paused" {
                return seen.0.send(()).is_ok();
            }
        }
        false
    });
    while !reader.is_finished() && seen.1.try_recv().is_err() {
        run(&["pause", &name]).text();
        run(&["resume", &name]).text();
    }
    assert!(reader.join().unwrap(), "the watcher saw no pause");
    let _ = watch.kill();
    let _ = watch.wait();

    let answer = run(&["exec", &name, "--", "sh", "-c", "printf out; printf err >&2; exit 7"]);
    assert_eq!(
        (answer.status, answer.stdout.as_slice(), answer.stderr.as_str()),
        (Some(7), &b"out"[..], "err")
    );
    assert_eq!(run(&["logs", &name, "-n", "1"]).text(), "ready\n");
    assert_eq!(run(&["stop", &name, "--timeout", "10s"]).text(), format!("stopped {name}\n"));
    assert_eq!(run(&["delete", &name]).text(), format!("deleted {name}\n"));
    drop(container);
}

//! Instances and what they need, in text and in JSON.

use serde_json::{Value, json};

use crate::facility::{Answer, Facility};

#[test]
fn a_life_in_text() {
    let facility = Facility::new("life_in_text");
    facility.says(
        &[
            "create",
            "web",
            "--image",
            "busybox:local",
            "--label",
            "role=web",
            "--cpu",
            "0.5",
            "--memory",
            "64MiB",
        ],
        "created web (stopped)\n",
    );
    facility.says(&["start", "web"], "started web\n");
    facility.says(&["start", "web"], "started web\n");
    let list = facility.run(&["list"]).text();
    let mut lines = list.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["NAME", "STATE", "KIND", "IMAGE", "ADDRESSES"]
    );
    assert!(lines.next().unwrap().starts_with("web   running  container  busybox:local"), "{list}");
    let shown = facility.run(&["get", "web"]).text();
    for line in ["name       web", "state      running (", "image      busybox:local", "labels     role=web"]
    {
        assert!(shown.lines().any(|shown| shown.starts_with(line)), "{shown}");
    }
    facility.says(&["pause", "web"], "paused web\n");
    facility.says(&["resume", "web"], "resumed web\n");
    facility.says(&["restart", "web"], "restarted web\n");
    facility
        .says(&["limits", "web"], "cpu_cores     0.5\nmemory_mb     64\ndisk_gb       -\nnetwork_mbps  -\n");
    assert!(facility.run(&["metrics", "web"]).text().contains("memory_mb"));
    assert!(facility.run(&["health"]).text().starts_with("status     healthy\n"));
    facility.says(&["stop", "web"], "stopped web\n");
    facility.says(&["delete", "web"], "deleted web\n");
    facility.says(&["list"], "NAME  STATE  KIND  IMAGE  ADDRESSES\n");
}

#[test]
fn a_life_in_json() {
    let facility = Facility::new("life_in_json");
    let made =
        facility.json(&["create", "web", "--image", "busybox:local", "--label", "role=web", "--", "serve"]);
    assert_eq!(
        (&made["name"], &made["state"], &made["labels"]["role"]),
        (&json!("web"), &json!("stopped"), &json!("web"))
    );
    assert_eq!(facility.json(&["start", "web"]), Value::Null);
    let shown = facility.json(&["get", "web"]);
    assert_eq!((&shown["state"], &shown["id"]), (&json!("running"), &made["id"]));
    assert_eq!(facility.json(&["list"])[0]["name"], "web");
    for change in ["pause", "resume", "restart"] {
        assert_eq!(facility.json(&[change, "web"]), Value::Null, "{change}");
    }
    assert!(facility.json(&["metrics", "web"]).as_object().unwrap().contains_key("cpu_percent"));
    let limits = facility.json(&["limits", "web", "--memory", "128MiB"]);
    assert_eq!((&limits["memory_mb"], &limits["cpu_cores"]), (&json!(128), &Value::Null));
    assert_eq!(facility.json(&["limits", "web"])["memory_mb"], 128);
    assert_eq!(facility.json(&["health"])["status"], "healthy");
    assert_eq!(facility.json(&["stop", "web"]), Value::Null);
    assert_eq!(facility.json(&["delete", "web"]), Value::Null);
    assert_eq!(facility.json(&["list"]), json!([]));
}

#[test]
fn a_list_is_filtered() {
    let facility = Facility::new("filters");
    facility.running("up");
    facility.says(
        &["create", "down", "--image", "busybox:local", "--label", "role=web", "--label", "tier=1"],
        "created down (stopped)\n",
    );
    let names = |words: &[&str]| -> Vec<Value> {
        let list = facility.json(words);
        list.as_array().unwrap().iter().map(|one| one["name"].clone()).collect()
    };
    assert_eq!(names(&["list"]), ["down", "up"]);
    assert_eq!(names(&["list", "--label", "role=web"]), ["down"]);
    assert_eq!(names(&["list", "--label", "role=web", "--label", "tier=2"]).len(), 0);
    assert_eq!(names(&["list", "--state", "running"]), ["up"]);
    assert_eq!(names(&["list", "--state", "running", "--state", "stopped"]), ["down", "up"]);
    facility.fails(&["list", "--state", "runing"], 2, "invalid_input", Value::Null);
    facility.fails(&["list", "--label", "role"], 2, "invalid_input", Value::Null);
}

#[test]
fn a_stop_with_a_time_never_cuts_off() {
    let facility = Facility::new("stop");
    facility.says(&["create", "deaf", "--image", "busybox:local", "--", "deaf"], "created deaf (stopped)\n");
    facility.says(&["start", "deaf"], "started deaf\n");
    facility.fails(&["stop", "deaf", "--timeout", "50ms"], 1, "timeout", json!("stop_instance"));
    assert_eq!(facility.json(&["get", "deaf"])["state"], "running");
    facility.says(&["stop", "deaf", "--force"], "stopped deaf\n");
    facility.running("polite");
    facility.says(&["stop", "polite", "--timeout", "5s"], "stopped polite\n");
}

#[test]
fn the_environment_comes_from_the_line_or_from_our_own() {
    let facility = Facility::new("environment");
    let words = [
        "create",
        "web",
        "--image",
        "busybox:local",
        "--env",
        "PLAIN=a=b",
        "--env",
        "TOKEN",
        "--env",
        "EMPTY=",
    ];
    let created = facility.command(&words).env("TOKEN", "hunter2").output().unwrap();
    Answer::from(created).text();
    facility.says(&["start", "web"], "started web\n");
    for (name, value) in [("PLAIN", "a=b\n"), ("TOKEN", "hunter2\n"), ("EMPTY", "\n")] {
        facility.says(&["exec", "web", "--", "printenv", name], value);
    }
    let words = ["create", "bad", "--image", "busybox:local", "--env", "=hunter2"];
    let told = facility.fails(&words, 1, "invalid_input", json!("create_instance"));
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn an_instance_comes_from_a_file() {
    let facility = Facility::new("from_file");
    let yaml = facility.write(
        "web.yaml",
        "---\nname: web\nimage: busybox:local\ncommand: [serve, one, two]\nlimits: {cpu_cores: 0.5, memory_mb: 64}\n\
         environment:\n  TOKEN: ${TOKEN}\n  PORT: 8080\nlabels: {role: \"${ROLE:-web}\"}\n",
    );
    let created = facility.command(&["create", "-f", &yaml, "-o", "json"]).env("TOKEN", "hunter2").output();
    let made = Answer::from(created.unwrap()).document();
    assert_eq!((&made["name"], &made["labels"]["role"]), (&json!("web"), &json!("web")));
    facility.says(&["start", "web"], "started web\n");
    facility.says(&["exec", "web", "--", "printenv", "TOKEN"], "hunter2\n");
    facility.says(&["exec", "web", "--", "printenv", "PORT"], "8080\n");
    facility.says(&["logs", "web"], "one\ntwo\n");
    let json = facility.write("db.json", "{\n\"name\": \"db\",\n\"image\": \"busybox:local\"\n}\n");
    facility.says(&["create", "--file", &json], "created db (stopped)\n");
    let answer = facility.run_with_input(&["create", "-f", "-"], b"{name: piped, image: busybox:local}");
    assert_eq!(answer.text(), "created piped (stopped)\n");
}

#[test]
fn snapshots_bring_the_content_back() {
    let facility = Facility::new("snapshots");
    facility.running("web");
    facility.says(&["exec", "web", "--", "write", "/note", "good"], "");
    facility.says(&["snapshot", "create", "web", "first"], "saved web as first\n");
    facility.says(&["exec", "web", "--", "write", "/note", "bad"], "");
    facility.says(&["snapshot", "restore", "web", "first"], "restored web to first\n");
    facility.says(&["exec", "web", "--", "cat", "/note"], "good");
    assert_eq!(facility.json(&["snapshot", "create", "web", "second"])["instance"], "web");
    let list = facility.json(&["snapshot", "list", "web"]);
    assert_eq!((&list[0]["name"], &list[1]["name"]), (&json!("first"), &json!("second")));
    let list = facility.run(&["snapshot", "list", "web"]).text();
    assert!(list.starts_with("NAME    CREATED") && list.lines().count() == 3, "{list}");
    assert_eq!(facility.json(&["snapshot", "restore", "web", "second"]), Value::Null);
    assert_eq!(facility.json(&["snapshot", "delete", "web", "second"]), Value::Null);
    facility.says(&["snapshot", "delete", "web", "first"], "deleted first of web\n");
}

#[test]
fn a_clone_is_a_stopped_copy() {
    let facility = Facility::new("clone");
    facility.running("web");
    facility.says(&["exec", "web", "--", "write", "/note", "good"], "");
    facility.says(&["clone", "web", "copy"], "created copy (stopped), a copy of web\n");
    assert_eq!(facility.json(&["clone", "web", "other"])["name"], "other");
    facility.says(&["start", "copy"], "started copy\n");
    facility.says(&["exec", "copy", "--", "cat", "/note"], "good");
}

#[test]
fn networks_volumes_and_images() {
    let facility = Facility::new("inventory");
    facility.running("web");
    facility.says(&["network", "create", "blue"], "created blue\n");
    facility.says(&["network", "attach", "web", "blue"], "attached web to blue\n");
    let ends = facility.json(&["get", "web"])["networks"].clone();
    assert!(ends.as_array().unwrap().iter().any(|end| end["network_name"] == "blue"), "{ends}");
    facility.says(&["network", "detach", "web", "blue"], "detached web from blue\n");
    assert!(facility.run(&["network", "list"]).text().lines().any(|line| line.starts_with("blue")));
    assert_eq!(facility.json(&["network", "create", "red"])["name"], "red");
    let words = ["create", "db", "--image", "busybox:local", "--network", "red", "--network", "blue"];
    let ends = facility.json(&words)["networks"].clone();
    assert_eq!(ends.as_array().unwrap().len(), 2, "{ends}");
    facility.fails(&["network", "delete", "red"], 1, "conflict", json!("delete_network"));
    facility.says(&["delete", "db"], "deleted db\n");
    facility.says(&["network", "delete", "red"], "deleted red\n");
    assert_eq!(facility.json(&["network", "delete", "blue"]), Value::Null);

    facility.says(&["volume", "create", "data"], "created data\n");
    assert_eq!(facility.json(&["volume", "list"])[0]["name"], "data");
    assert!(facility.run(&["volume", "list"]).text().starts_with("NAME  LOCATION"));
    facility.says(&["volume", "delete", "data"], "deleted data\n");

    let ensured = facility.json(&["image", "ensure", "busybox:local"]);
    assert!(ensured["id"].is_string(), "{ensured}");
    assert!(
        facility.run(&["image", "ensure", "busybox:local"]).text().starts_with("busybox:local is at hand (")
    );
    assert!(facility.json(&["image", "list"]).is_array());
    assert!(facility.run(&["image", "list"]).text().starts_with("NAMES"));
}

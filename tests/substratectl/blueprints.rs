//! Blueprints: looked at, deployed, changed, brought back, removed.

use serde_json::{Value, json};

use crate::facility::{Answer, Facility};

const SHOP: &str = r#"
name: shop
variables: {memory: 64MiB}
resources:
  - {type: network, name: front}
  - {type: storage, name: data, specs: {size: 1GiB}}
  - type: compute
    name: db
    specs: {image: "busybox:local", memory: "${var.memory}", volumes: ["data:/var/lib"], networks: [front]}
  - {type: compute, name: web, count: 2, specs: {image: "busybox:local", networks: [front]}, dependencies: [db]}
"#;

impl Facility {
    /// A facility with a blueprint `shop.yaml`.
    fn with_shop(test: &str) -> Self {
        let facility = Self::new(test);
        facility.write("shop.yaml", SHOP);
        facility
    }

    /// Succeeds with one document, whatever it told of its progress.
    pub(crate) fn report(&self, words: &[&str]) -> Value {
        let answer = self.run(&[words, &["-o", "json"]].concat());
        assert_eq!(answer.status, Some(0), "{words:?}: {answer:?}");
        one_document(&answer)
    }

    /// How many steps a plan has.
    fn steps_left(&self, words: &[&str]) -> usize {
        let plan = self.json(&[&["plan"], words].concat());
        plan["steps"].as_array().unwrap().len()
    }

    /// The names of all instances.
    pub(crate) fn instances(&self) -> Vec<String> {
        let list = self.json(&["list"]);
        let names = list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
        names.collect()
    }
}

pub(crate) fn one_document(answer: &Answer) -> Value {
    let text = std::str::from_utf8(&answer.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "one document on one line: {answer:?}");
    serde_json::from_str(text).unwrap()
}

fn count(report: &Value, list: &str) -> usize {
    report[list].as_array().unwrap_or_else(|| panic!("{list} is no list: {report}")).len()
}

#[test]
fn what_was_deployed_needs_no_more_steps() {
    let facility = Facility::with_shop("blueprint_deploy");
    let plan = facility.run(&["plan", "shop.yaml"]).text();
    assert!(plan.starts_with("5 to create") && plan.contains("  + shop/web[1]  compute on fake"), "{plan}");
    assert_eq!(facility.steps_left(&["shop.yaml"]), 5);
    assert!(!facility.path(".substrates").exists(), "a look makes no journal");
    let deployed = facility.run(&["deploy", "shop.yaml", "--yes"]);
    let text = String::from_utf8(deployed.stdout).unwrap();
    assert_eq!(deployed.status, Some(0), "{text}{}", deployed.stderr);
    assert!(text.ends_with("done: 5 created, 0 updated, 0 replaced, 0 deleted, 0 unchanged.\n"), "{text}");
    assert!(
        deployed.stderr.contains("[5/5] create shop/web[1]: done\n") || deployed.stderr.contains("[5/5]")
    );
    assert!(facility.path(".substrates/journal/shop").exists());
    assert_eq!(facility.json(&["plan", "shop.yaml"])["steps"], json!([]));
    assert_eq!(facility.run(&["plan", "shop.yaml"]).text(), "Nothing to do: 5 unchanged.\n");
    let again = facility.report(&["deploy", "shop.yaml", "--yes"]);
    assert_eq!((&again["status"], &again["unchanged"]), (&json!("done"), &json!(5)));
    assert_eq!(facility.instances(), ["db", "web-0", "web-1"]);
}

#[test]
fn a_validation_tells_every_mistake_with_its_place() {
    let facility = Facility::new("blueprint_mistakes");
    facility.write(
        "wrong.yaml",
        "name: wrong\nresources:\n  - {type: compute, name: a, specs: {image: x, memory: plenty}}\n  \
         - {type: toaster, name: b}\n  - {type: compute, name: c, provider: fkae, specs: {image: x}}\n  \
         - {type: compute, name: d, specs: {imgae: x}, dependencies: [nobody]}\n",
    );
    for words in [
        &["validate", "wrong.yaml"][..],
        &["plan", "wrong.yaml"],
        &["deploy", "wrong.yaml"],
        &["deploy", "wrong.yaml", "--yes"],
    ] {
        let answer = facility.run(&[words, &["-o", "json"]].concat());
        assert_eq!(answer.status, Some(1), "{words:?}: {answer:?}");
        let problems = one_document(&answer)["problems"].clone();
        let problems = problems.as_array().unwrap();
        let at = |line: u64| {
            let found = problems.iter().filter(|one| one["line"] == line);
            found.map(|one| one["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join("; ")
        };
        for (line, word) in [
            (3, "plenty"),
            (4, "toaster"),
            (5, "did you mean `fake`"),
            (6, "did you mean `image`"),
            (6, "nobody"),
        ] {
            assert!(at(line).contains(word), "{word} in line {line}: {problems:?}");
        }
        for problem in problems {
            assert_eq!(problem["file"], "wrong.yaml");
            assert!(problem["column"].as_u64().unwrap() > 0, "{problem}");
        }
        let text = facility.run(words);
        assert_eq!((text.status, text.stdout.len()), (Some(1), 0), "{text:?}");
        assert_eq!(text.stderr.lines().count(), problems.len(), "{text:?}");
        assert!(text.stderr.contains("wrong.yaml:4:"), "{text:?}");
    }
    assert!(!facility.path(".substrates/journal/wrong").exists(), "nothing was begun");
    facility.write("right.yaml", SHOP);
    assert_eq!(facility.json(&["validate", "right.yaml"]), json!({ "problems": [] }));
    facility.says(&["validate", "right.yaml"], "5 resources, no problems\n");
}

#[test]
fn nothing_is_changed_where_nobody_agrees() {
    let facility = Facility::with_shop("blueprint_consent");
    for command in ["deploy", "destroy", "rollback", "reconcile"] {
        let told = facility.fails(&[command, "shop.yaml"], 2, "invalid_input", Value::Null);
        assert!(told.contains("--yes"), "{told}");
    }
    assert!(facility.instances().is_empty());
}

#[test]
fn a_changed_blueprint_is_rolled_back() {
    let facility = Facility::with_shop("blueprint_rollback");
    facility.report(&["deploy", "shop.yaml", "--yes"]);
    let ids = || ["db", "web-0"].map(|name| facility.json(&["get", name])["id"].clone());
    let before = ids();
    facility.write("shop.yaml", &SHOP.replace("64MiB", "128MiB").replace("count: 2", "count: 3"));
    let changed = facility.report(&["deploy", "shop.yaml", "--yes"]);
    assert_eq!((count(&changed, "created"), count(&changed, "updated")), (1, 1), "{changed}");
    assert_eq!(facility.json(&["limits", "db"])["memory_mb"], 128);
    let undone = facility.report(&["rollback", "shop.yaml", "--yes"]);
    assert_eq!((count(&undone, "deleted"), count(&undone, "updated")), (1, 1), "{undone}");
    assert_eq!(facility.json(&["limits", "db"])["memory_mb"], 64);
    assert_eq!((facility.instances().len(), ids()), (3, before));
    // Runs: 1 deploys, 2 changes, 3 rolls back.
    let told = facility.fails(&["rollback", "shop", "--yes", "--to", "3"], 2, "invalid_input", Value::Null);
    assert!(told.contains("the last run of `shop` is 3"), "{told}");
    facility.report(&["rollback", "shop", "--yes", "--to", "2"]);
    assert_eq!(facility.json(&["limits", "db"])["memory_mb"], 128);
    facility.report(&["rollback", "shop", "--yes", "--to", "0"]);
    assert!(facility.instances().is_empty());
    facility.fails(&["rollback", "shop", "--yes", "--to", "9"], 2, "invalid_input", Value::Null);
}

#[test]
fn the_state_is_what_was_done() {
    let facility = Facility::with_shop("blueprint_state");
    facility.says(&["state", "shop.yaml"], "shop: nothing was deployed\n");
    facility.report(&["deploy", "shop.yaml", "--yes", "--timeline", "timeline.json"]);
    let state = facility.json(&["state", "shop.yaml"])["deployments"][0].clone();
    assert_eq!((&state["deployment"], &state["owner"]), (&json!("shop"), &Value::Null));
    assert_eq!(
        (&state["runs"][0]["purpose"], &state["runs"][0]["status"]),
        (&json!("deploy"), &json!("done"))
    );
    assert_eq!(state["recorded"]["resources"].as_object().unwrap().len(), 5);
    // Its name is enough: the file may be gone.
    std::fs::remove_file(facility.path("shop.yaml")).unwrap();
    let text = facility.run(&["state", "shop"]).text();
    assert!(
        text.lines().any(|line| line.split_whitespace().eq([
            "shop/web[0]",
            "compute",
            "fake",
            "web-0",
            "deployed"
        ])),
        "{text}"
    );
    let timeline: Value =
        serde_json::from_slice(&std::fs::read(facility.path("timeline.json")).unwrap()).unwrap();
    assert_eq!(timeline["spans"].as_array().unwrap().len(), 5, "{timeline}");
    facility.write("shop.yaml", &SHOP.replace("count: 2", "count: 3"));
    facility.report(&["deploy", "shop.yaml", "--yes", "--timeline", "timeline.svg"]);
    let picture = std::fs::read_to_string(facility.path("timeline.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("create shop/web[2]"), "{picture}");
    let unknown = facility.run(&["state", "nobody", "-o", "json"]);
    assert_eq!(unknown.status, Some(1), "{unknown:?}");
}

#[test]
fn destroying_leaves_nothing_and_a_selection_leaves_the_rest() {
    let facility = Facility::with_shop("blueprint_destroy");
    facility.report(&["deploy", "shop.yaml", "--yes", "--parallel", "1", "--journal", "elsewhere"]);
    assert!(facility.path("elsewhere/shop").exists() && !facility.path(".substrates").exists());
    let words =
        |more: &[&'static str]| [&["destroy", "shop.yaml", "--yes", "--journal", "elsewhere"], more].concat();
    let part = facility.report(&words(&["--only", "shop/web"]));
    assert_eq!(count(&part, "deleted"), 2, "{part}");
    assert_eq!(facility.instances(), ["db"]);
    let told = facility.fails(&words(&["--only", "wbe"]), 2, "invalid_input", Value::Null);
    assert!(told.contains("--only wbe"), "{told}");
    let rest = facility.report(&words(&[]));
    assert_eq!(count(&rest, "deleted"), 3, "{rest}");
    assert!(facility.instances().is_empty());
    assert_eq!(facility.json(&["volume", "list"]), json!([]));
    assert_eq!(facility.report(&words(&[]))["status"], "done");
}

#[test]
fn variables_come_from_the_line_before_files_before_the_blueprint() {
    let facility = Facility::with_shop("blueprint_variables");
    let file = facility.write("variables.yaml", "memory: 96MiB\n");
    let memory = |words: &[&str]| {
        facility.report(&[&["deploy", "shop.yaml", "--yes", "--only", "db"], words].concat());
        facility.json(&["limits", "db"])["memory_mb"].clone()
    };
    facility.report(&["deploy", "shop.yaml", "--yes"]);
    assert_eq!(memory(&["--var-file", &file]), 96);
    assert_eq!(memory(&["--var", "memory=32MiB", "--var-file", &file]), 32);
    assert_eq!(memory(&[]), 64);
    facility.fails(&["plan", "shop.yaml", "--var", "memory"], 2, "invalid_input", Value::Null);
}

#[test]
fn a_number_may_come_from_the_line() {
    let facility = Facility::new("blueprint_number");
    let text = "name: many\nresources: [{type: compute, name: web, count: '${var.count}', specs: {image: 'busybox:local', labels: {tag: '${var.tag}'}}}]";
    facility.write("many.yaml", text);
    facility.report(&["deploy", "many.yaml", "--yes", "--var", "count=3", "--var", "tag=1.10"]);
    assert_eq!(facility.instances().len(), 3);
    assert_eq!(facility.json(&["get", "web-0"])["labels"]["tag"], "1.10");
}

#[test]
fn a_failed_deployment_is_undone_when_that_was_asked_for() {
    let facility = Facility::with_shop("blueprint_failure");
    let state = json!(facility.path("state.json"));
    facility.write("failing.yaml", &format!("fake: {{state_file: {state}, fail_on_start: [web-1]}}\n"));
    let deploy = ["-c", "failing.yaml", "deploy", "shop.yaml", "--yes", "-o", "json"];
    let failed = facility.run(&[&deploy[..], &["--rollback-on-failure"]].concat());
    assert_eq!(failed.status, Some(1), "{failed:?}");
    let report = one_document(&failed);
    assert_eq!(
        (&report["status"], &report["rollback"]["status"]),
        (&json!("failed"), &json!("done")),
        "{report}"
    );
    assert_eq!(report["failed"][0]["resource"], "shop/web[1]");
    assert!(facility.instances().is_empty());
    let failed = facility.run(&deploy);
    assert_eq!((failed.status, one_document(&failed)["rollback"].is_null()), (Some(1), true), "{failed:?}");
    // What was in the way is gone: the same again finishes it.
    facility.report(&["deploy", "shop.yaml", "--yes"]);
    assert_eq!(facility.steps_left(&["shop.yaml"]), 0);
    assert_eq!(facility.instances(), ["db", "web-0", "web-1"]);
}

#[test]
fn drift_is_shown_and_mended() {
    let facility = Facility::with_shop("blueprint_drift");
    facility.report(&["deploy", "shop.yaml", "--yes"]);
    facility.says(&["drift", "shop.yaml"], "no drift\n");
    facility.says(&["delete", "web-0", "--force"], "deleted web-0\n");
    facility.says(
        &["limits", "db", "--memory", "32MiB"],
        "cpu_cores     -\nmemory_mb     32\ndisk_gb       -\nnetwork_mbps  -\n",
    );
    let drift = facility.json(&["drift", "shop"])["drift"].clone();
    let mut resources: Vec<&str> =
        drift.as_array().unwrap().iter().map(|one| one["resource"].as_str().unwrap()).collect();
    resources.sort_unstable();
    assert_eq!(resources, ["shop/db", "shop/web[0]"], "{drift}");
    let mended = facility.report(&["reconcile", "shop.yaml", "--yes", "--once"]);
    assert_eq!((count(&mended, "created"), count(&mended, "updated")), (1, 1), "{mended}");
    assert_eq!(facility.json(&["drift", "shop"]), json!({ "drift": [] }));
}

#[test]
fn actions_are_done_to_what_is_selected() {
    let facility = Facility::with_shop("blueprint_actions");
    facility.report(&["deploy", "shop.yaml", "--yes"]);
    let states = |words: &[&str]| -> Vec<Value> {
        let answer = facility.json(&[&["act"], words].concat());
        answer["results"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect()
    };
    assert_eq!(states(&["stop", "shop.yaml", "--only", "web"]), ["stopped", "stopped"]);
    assert_eq!(facility.json(&["get", "db"])["state"], "running");
    let sick = facility.run(&["act", "health", "shop", "-o", "json"]);
    assert_eq!(sick.status, Some(1), "{sick:?}");
    assert_eq!(states(&["start", "shop.yaml", "--only", "web[1]"]), ["running"]);
    assert_eq!(states(&["inventory", "shop"]).len(), 5);
    facility.fails(&["act", "destroy", "shop.yaml"], 2, "invalid_input", Value::Null);
}

#[test]
fn what_nobody_knows_any_more_is_swept() {
    let facility = Facility::with_shop("blueprint_sweep");
    facility.report(&["deploy", "shop.yaml", "--yes"]);
    facility.says(&["sweep", "shop.yaml"], "nothing was left behind\n");
    let identity = facility.json(&["state", "shop"])["deployments"][0]["identity"].clone();
    let deployment = format!("substrate.deployment={}", identity.as_str().unwrap());
    let marks = ["--label", &deployment, "--label", "substrate.resource=shop/web[7]"];
    facility.json(&[&["create", "left", "--image", "busybox:local"], &marks[..]].concat());
    let found = facility.json(&["sweep", "shop.yaml"])["orphans"].clone();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["name"]), (1, &json!("left")), "{found}");
    assert_eq!(facility.instances().len(), 4, "a look removes nothing");
    let removed = facility.json(&["sweep", "shop.yaml", "--yes"])["orphans"].clone();
    assert_eq!(removed[0]["verdict"]["verdict"], "removed", "{removed}");
    assert_eq!(facility.instances(), ["db", "web-0", "web-1"]);
}

#[test]
fn a_graph_shows_everything_and_the_schema_needs_no_blueprint() {
    let facility = Facility::with_shop("blueprint_graph");
    let dot = facility.run(&["graph", "shop.yaml"]).text();
    assert!(dot.starts_with("digraph") && dot.contains("shop/web[1]"), "{dot}");
    facility.report(&["deploy", "shop.yaml", "--yes"]);
    assert_eq!(facility.run(&["graph", "shop.yaml", "--format", "dot"]).text(), dot);
    let mermaid = facility.json(&["graph", "shop.yaml", "--format", "mermaid"]);
    assert_eq!(mermaid["format"], "mermaid");
    assert!(mermaid["graph"].as_str().unwrap().starts_with("flowchart"), "{mermaid}");
    assert!(facility.json(&["schema"])["$defs"]["Blueprint"].is_object());
    let schema: Value = serde_json::from_str(&facility.run(&["schema"]).text()).unwrap();
    assert_eq!(schema, facility.json(&["schema"]));
}

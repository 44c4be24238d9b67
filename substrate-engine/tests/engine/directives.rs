//! Directives and readiness, checked before anything runs.

use std::time::Duration;

use substrate_engine::directive::Action;
use substrate_engine::model::Condition;

use super::{deployed, desired, plan_of, refusal, steps};

fn with(directives: &str) -> String {
    format!("name: shop\nresources:\n  - type: compute\n    name: a\n    directives:\n{directives}\n")
}

#[test]
fn the_built_in_directives_are_typed_and_say_what_they_react_to() {
    let desired = desired(&with(
        "      - exec: {command: [true], user: root, on: [stop, deploy]}\n      - wait-for: {log: ready, timeout: 5s}\n      \
         - files: [{path: /etc/motd, content: hello, mode: '0644'}]\n      - cloud-init: {user_data: {packages: [nginx]}}",
    ));
    let directives = &desired.resources()[0].interpreted.directives;
    let names: Vec<&str> = directives.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["exec", "wait-for", "files", "cloud-init"]);
    assert_eq!(directives[0].actions, [Action::Deploy, Action::Stop]);
    assert!(directives[1].reacts_to(Action::Restart) && !directives[2].reacts_to(Action::Restart));
}

#[test]
fn mistakes_in_directives_are_found_in_their_place() {
    let found = refusal(&with(
        "      - exce: {command: [a]}\n      - exec: {command: []}\n      - wait-for: {port: 80, log: x}\n      - files: \
         [{path: motd, content: x, mode: '9'}]\n      - cloud-init: {user_data: hello}\n      - {exec: {}, files: []}",
    ));
    let starts = [
        "shop.yaml:6:9: there is no directive `exce`: did you mean `exec`?",
        "shop.yaml:7:15: `exec`: the command is empty",
        "shop.yaml:8:19: ",
        "shop.yaml:9:24: `path` must be the absolute path",
        "shop.yaml:9:48: `mode` must be",
        "shop.yaml:10:33: cloud-init's user-data must begin",
        "shop.yaml:11:9: a directive is a map with one key",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|line| line.starts_with(start)), "{start}\n{found:#?}");
    }
    assert!(found.iter().any(|line| line.contains("give exactly one of")), "{found:#?}");
}

#[test]
fn readiness_is_a_condition_with_times() {
    let desired = desired(
        "name: shop\nresources: [{type: compute, name: a, readiness: {command: [pg_isready], timeout: 2m, interval: 500ms}}]",
    );
    let readiness = desired.resources()[0].declaration.readiness.clone().unwrap();
    assert_eq!(readiness.condition, Condition::Command(vec!["pg_isready".to_owned()]));
    assert_eq!(
        (readiness.timeout, readiness.interval),
        (Duration::from_secs(120), Duration::from_millis(500))
    );
    let found = refusal("name: shop\nresources: [{type: compute, name: a, readiness: {port: 0}}]");
    assert!(found[0].contains("port 0 is no port"), "{found:?}");
}

#[test]
fn a_changed_directive_is_an_update_that_shows_no_content() {
    let one = with("      - files: [{path: /a, content: x}]");
    let plan = plan_of(&with("      - files: [{path: /a, content: y}]"), &deployed(&desired(&one)));
    assert_eq!(steps(&plan), ["update shop/a"]);
}

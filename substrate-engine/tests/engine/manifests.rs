//! Manifests: kinds, versions and their two orders.

use substrate_core::config::ConfigError;
use substrate_engine::handler::{Interpretation, ResourceHandler, Subject};
use substrate_engine::model::VersionRange;
use substrate_engine::{Desired, Reader, Rules, validate};

use super::lines;

#[derive(Debug)]
struct Note(u32);

impl ResourceHandler for Note {
    fn kind(&self) -> &str {
        "Note"
    }

    fn versions(&self) -> VersionRange {
        VersionRange::major(self.0)
    }

    fn needs_facility(&self) -> bool {
        false
    }

    fn interpret(&self, subject: Subject<'_>) -> Result<Interpretation, ConfigError> {
        let text: String = subject.specs.get(if self.0 == 1 { "text" } else { "body" }, String::new())?;
        Ok(Interpretation::new(serde_json::json!({ "text": text, "by": self.0 })))
    }
}

fn check(text: &str) -> Result<Desired, ConfigError> {
    let mut rules = Rules::standard();
    rules.handlers.register(Note(1)).unwrap();
    rules.handlers.register(Note(2)).unwrap();
    validate(&Reader::new().text("notes.yaml", text).read(), &rules, &super::facilities())
}

fn order<'a>(manifests: impl Iterator<Item = &'a substrate_engine::DesiredManifest>) -> Vec<String> {
    manifests.map(|one| one.manifest.name.value.to_string()).collect()
}

#[test]
fn versions_of_a_kind_stand_side_by_side() {
    let desired = check(
        "{kind: Note, version: v1, metadata: {name: a}, spec: {text: x}}\n---\n{kind: Note, apiVersion: x/v2, metadata: \
         {name: b}, spec: {body: y}}\n---\n{kind: Note, metadata: {name: c}, spec: {body: z}}\n",
    )
    .unwrap();
    let by: Vec<i64> = desired
        .manifests_to_apply()
        .map(|one| one.interpretation.properties["by"].as_i64().unwrap())
        .collect();
    assert_eq!(by, [1, 2, 2]);
}

#[test]
fn applying_and_deleting_have_orders_of_their_own() {
    let text =
        "kind: Note\nmetadata: {name: a, dependencies: {apply: [b]}}\n---\nkind: Note\nmetadata: {name: b}\n";
    let desired = check(text).unwrap();
    assert_eq!(order(desired.manifests_to_apply()), ["b", "a"]);
    assert_eq!(order(desired.manifests_to_delete()), ["a", "b"]);
    let desired = check(&text.replace("{apply: [b]}", "{apply: [b], delete: [b]}")).unwrap();
    assert_eq!(order(desired.manifests_to_apply()), ["b", "a"]);
    assert_eq!(order(desired.manifests_to_delete()), ["b", "a"]);
}

#[test]
fn all_of_its_metadata_is_read() {
    let desired = check(
        "kind: Note\nmetadata: {name: a, environments: [prod], skipApplyAll: true, skipDeleteAll: true, \
         actionOverrides: {restart: deploy}}\n",
    )
    .unwrap();
    let manifest = &desired.manifests_to_apply().next().unwrap().manifest;
    assert!(manifest.is_for("prod") && !manifest.is_for("test"));
    assert!(manifest.skip_apply_all && manifest.skip_delete_all);
    assert_eq!(manifest.action_overrides["restart"], "deploy");
}

#[test]
fn mistakes_in_manifests_are_found_in_their_place() {
    let found = lines(
        &check(
            "kind: Note\nmetadata: {name: a, dependencies: {apply: [bb]}, skip: 1}\n---\nkind: Nota\nmetadata: {name: b}\n\
             ---\nkind: Note\nversion: v9\nmetadata: {name: c}\n---\nkind: Note\nmetadata: {name: d, dependencies: \
             {apply: [d]}}\n",
        )
        .unwrap_err(),
    );
    let starts = [
        "notes.yaml:2:44: there is no manifest `bb`",
        "notes.yaml:2:50: unknown key `skip`",
        "notes.yaml:4:7: there is no resource type `Nota`: did you mean `Note`?",
        "notes.yaml:7:7: `Note` has no version 9.0",
        "notes.yaml:12:18: the `apply` dependencies go in a circle: d → d",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|line| line.starts_with(start)), "{start}\n{found:#?}");
    }
}

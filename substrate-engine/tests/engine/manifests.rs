//! Manifests: kinds, versions and their two orders.

use async_trait::async_trait;
use substrate_core::Result;
use substrate_core::config::ConfigError;
use substrate_engine::directive::Action;
use substrate_engine::handler::{Found, Interpretation, ResourceHandler, Site, Subject};
use substrate_engine::model::VersionRange;
use substrate_engine::plan::{Observed, Recorded, plan};
use substrate_engine::{Desired, Reader, Rules, validate};

use super::{deployed, lines, steps};

#[derive(Debug)]
struct Note(u32);

#[async_trait]
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

    fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
        let text: String = subject.specs.get(if self.0 == 1 { "text" } else { "body" }, String::new())?;
        Ok(Interpretation::new(serde_json::json!({ "text": text, "by": self.0 })))
    }

    async fn read(&self, _: &Site<'_>) -> Result<Option<Found>> {
        Ok(None)
    }

    async fn create(&self, _: &Site<'_>, properties: &serde_json::Value) -> Result<Found> {
        Ok(Found::new(properties.clone()))
    }

    async fn delete(&self, _: &Site<'_>) -> Result<()> {
        Ok(())
    }
}

fn check(text: &str) -> std::result::Result<Desired, ConfigError> {
    let mut rules = Rules::standard();
    rules.handlers.register(Note(1)).unwrap();
    rules.handlers.register(Note(2)).unwrap();
    validate(&Reader::new().text("notes.yaml", text).read(), &rules, &super::facilities())
}

/// The plan's steps from one text to another, the first deployed as it says.
fn steps_from(before: &str, after: &str) -> Vec<String> {
    let recorded = if before.is_empty() { Recorded::default() } else { deployed(&check(before).unwrap()) };
    let after = if after.is_empty() { Desired::default() } else { check(after).unwrap() };
    steps(&plan(&after, &recorded, &Observed::default()).unwrap())
}

#[test]
fn versions_of_a_kind_stand_side_by_side() {
    let desired = check(
        "{kind: Note, version: v1, metadata: {name: a}, spec: {text: x}}\n---\n{kind: Note, apiVersion: x/v2, metadata: \
         {name: b}, spec: {body: y}}\n---\n{kind: Note, metadata: {name: c}, spec: {body: z}}\n",
    )
    .unwrap();
    let by: Vec<i64> = desired
        .resources()
        .iter()
        .map(|one| one.interpreted.interpretation.properties["by"].as_i64().unwrap())
        .collect();
    assert_eq!(by, [1, 2, 2]);
}

#[test]
fn applying_and_deleting_have_orders_of_their_own() {
    let text =
        "kind: Note\nmetadata: {name: a, dependencies: {apply: [b]}}\n---\nkind: Note\nmetadata: {name: b}\n";
    assert_eq!(steps_from("", text), ["create manifests/b", "create manifests/a"]);
    assert_eq!(steps_from(text, ""), ["delete manifests/a", "delete manifests/b"]);
    let own = text.replace("{apply: [b]}", "{apply: [b], delete: [b]}");
    assert_eq!(steps_from("", &own), ["create manifests/b", "create manifests/a"]);
    assert_eq!(steps_from(&own, ""), ["delete manifests/b", "delete manifests/a"]);
}

#[test]
fn all_of_its_metadata_is_read() {
    let desired = check(
        "kind: Note\nmetadata: {name: a, environments: [prod], skipApplyAll: true, skipDeleteAll: true, \
         actionOverrides: {restart: deploy}}\n",
    )
    .unwrap();
    let rules = &desired.resources()[0].declaration.rules;
    assert!(rules.is_for(Some("prod")) && !rules.is_for(Some("test")));
    assert!(rules.skip_apply_all && rules.skip_delete_all);
    assert_eq!(rules.instead_of(Action::Restart), Action::Deploy);
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
        "notes.yaml:2:44: there is no resource `bb`",
        "notes.yaml:2:50: unknown key `skip`",
        "notes.yaml:4:7: there is no resource type `Nota`: did you mean `Note`?",
        "notes.yaml:7:7: `Note` has no version 9.0",
        "notes.yaml:12:44: the dependencies go in a circle: d → d",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|line| line.starts_with(start)), "{start}\n{found:#?}");
    }
}

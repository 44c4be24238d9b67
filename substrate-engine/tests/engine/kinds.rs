//! The kinds that come with the engine: what they take, and what they say of mistakes.

use substrate_core::{Capabilities, Descriptor, InstanceKind};
use substrate_engine::{Facilities, Rules, validate};

use super::{desired, lines, read, refusal};

fn assert_found(text: &str, starts: &[&str]) {
    let found = refusal(text);
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|line| line.starts_with(start)), "{start}\n{found:#?}");
    }
}

#[test]
fn kinds_of_this_machine_live_on_no_facility() {
    let desired = desired(
        "kind: Values\nmetadata: {name: a}\nspec: {x: 1}\n---\nkind: Command\nmetadata: {name: b}\nspec: {command: \
         [echo, '${a.x}'], timeout: 1m, triggers: {x: '${a.x}'}}\n---\nkind: WriteFile\nmetadata: {name: c}\nspec: {path: /tmp/x, \
         content: 'x is ${a.x}', mode: '644'}\n",
    );
    assert!(desired.resources().iter().all(|one| one.facility().is_none()));
    assert_eq!(desired.resources()[2].interpreted.interpretation.properties["mode"], "0644");
}

#[test]
fn mistakes_in_them_are_found_in_their_place() {
    assert_found(
        "kind: Values\nmetadata: {name: a}\nspec: {'a b': 1}\n---\nkind: Command\nmetadata: {name: b}\nspec: {command: [], \
         working_directory: here}\n---\nkind: Command\nmetadata: {name: c}\nspec: {command: [a], shell: true}\n---\nkind: \
         WriteFile\nmetadata: {name: d}\nspec: {path: motd, content: x, mode: '9'}\n---\nkind: WriteFile\nmetadata: {name: \
         e}\nspec: {path: '/tmp/${d.path}', content: x}\n---\nkind: Command\nmetadata: {name: f}\nspec: {command: [a], undo: [b, \
         '${d.path}']}\n---\nkind: Values\nmetadata: {name: g}\nspec: [a]\n",
        &[
            "shop.yaml:3:8: nobody can refer to `a b`",
            "shop.yaml:7:17: `command`: ",
            "shop.yaml:7:40: `working_directory` must be an absolute path",
            "shop.yaml:11:22: unknown key `shell`",
            "shop.yaml:15:14: `path` must be the absolute path",
            "shop.yaml:15:38: `mode` must be",
            "shop.yaml:19:14: `path` cannot use outputs",
            "shop.yaml:23:32: `${d.path}` cannot be used with an `undo`",
            "shop.yaml:27:7: ",
        ],
    );
}

#[test]
fn a_secret_is_no_argument() {
    let text = "kind: Command\nmetadata: {name: a}\nspec: {command: [login, '${TOKEN}']}\n";
    let environment = substrate_core::config::Environment::from_iter([("TOKEN", "hunter2")]);
    let documents = substrate_engine::Reader::new().environment(environment).text("a.yaml", text).read();
    let found = lines(&validate(&documents, &Rules::standard(), &super::facilities()).unwrap_err());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("a.yaml:3:25: a secret must not be an argument"), "{found:?}");
}

fn two_facilities() -> Facilities {
    let one = |name| Descriptor::new("fake", name, [InstanceKind::Container], Capabilities::all());
    Facilities::from_iter([one("north"), one("south")])
}

fn in_two(text: &str) -> Result<substrate_engine::Desired, Vec<String>> {
    validate(&read(text), &Rules::standard(), &two_facilities()).map_err(|error| lines(&error))
}

#[test]
fn settings_live_where_their_target_lives() {
    let text = |target: &str, more: &str| {
        format!(
            "name: shop\nresources:\n  - {{type: compute, name: web, provider: south}}\n  - {{type: storage, name: data, provider: \
             north}}\n  - type: configure\n    name: a\n{more}    specs: {{target: {target}, commands: [[a]]}}\n"
        )
    };
    let desired = in_two(&text("web", "")).unwrap();
    let settings = &desired.resources()[2];
    assert_eq!(settings.facility().map(|one| &**one), Some("south"));
    assert_eq!(settings.dependencies.len(), 1);
    let refused = |text: &str| in_two(text).unwrap_err().join("\n");
    assert!(
        refused(&text("web", "    provider: north\n"))
            .contains("shop.yaml:7:15: `web` lives on `south`, not on `north`")
    );
    assert!(refused(&text("data", "")).contains("shop.yaml:7:21: `data` is of the type `storage`"));
    assert!(
        refused(&text("wbe", "")).contains("shop.yaml:7:21: there is no resource `wbe`: did you mean `web`?")
    );
    assert!(refused(&text("web", "").replace("[[a]]", "[[]]")).contains("shop.yaml:7:37: `commands`: "));
}

#[test]
fn defaults_lie_under_the_specs_of_a_facility() {
    let body = "
defaults:
  fake: {compute: {image: busybox, cpu: 1, labels: {team: a, tier: x}}}
  south: {compute: {cpu: 2, environment: {DB: '${db.address}'}}}
";
    let resources = "
resources:
  - {type: compute, name: db, provider: north}
  - {type: compute, name: web, provider: south, specs: {image: nginx, labels: {tier: web}}}
";
    let blueprint = format!("name: shop{body}{resources}");
    let indented = |text: &str| text.lines().map(|line| format!("\n  {line}")).collect::<String>();
    let kind_form = format!(
        "kind: SystemBlueprint\nmetadata: {{name: shop}}\nspec:{}{}\n",
        indented(body),
        indented(resources)
    );
    for text in [blueprint, kind_form] {
        let desired = in_two(&text).unwrap_or_else(|found| panic!("{found:#?}"));
        let properties = |index: usize| &desired.resources()[index].interpreted.interpretation.properties;
        assert_eq!(
            (&properties(0)["image"], &properties(0)["limits"]["cpu_cores"]),
            (&"busybox".into(), &1.0.into())
        );
        assert_eq!(
            (&properties(1)["image"], &properties(1)["limits"]["cpu_cores"]),
            (&"nginx".into(), &2.0.into())
        );
        assert_eq!(properties(1)["labels"], serde_json::json!({"team": "a", "tier": "web"}));
        assert_eq!(desired.resources()[1].dependencies.len(), 1, "a reference in a default is a dependency");
    }
}

#[test]
fn mistakes_in_defaults_are_found_where_they_were_written() {
    let found = in_two(
        "name: shop\ndefaults:\n  noth: {compute: {cpu: 1}}\n  north: {computer: {}, compute: {cpu: -1}, Values: {}}\n  south: \
         {compute: 3}\nresources:\n  - {type: compute, name: a, provider: north}\n  - {type: compute, name: b, provider: north}\n",
    )
    .unwrap_err();
    let starts = [
        "shop.yaml:3:3: there is no provider `noth`: did you mean `north`?",
        "shop.yaml:4:11: there is no resource type `computer`",
        "shop.yaml:4:40: `cpu` must be more than 0 cores",
        "shop.yaml:4:45: `Values` lives on no provider",
        "shop.yaml:5:20: ",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|line| line.starts_with(start)), "{start}\n{found:#?}");
    }
    let schema = substrate_engine::schema();
    assert_eq!(schema["$defs"]["Blueprint"]["properties"]["defaults"]["type"], "object");
}

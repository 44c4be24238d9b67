//! Variables, references and what comes from the environment.

use substrate_core::config::Environment;
use substrate_engine::model::Variables;
use substrate_engine::plan::{Observed, Recorded, plan};
use substrate_engine::{Reader, Rules, validate};

use super::{deployed, desired, facilities, read, refusal};

const SHOP: &str = "
name: shop
variables: {size: 2, image: nginx, labels: {team: web}, tag: 1.10, secret_word: hunter2}
resources:
  - type: compute
    name: web
    count: ${var.size}
    specs:
      image: ${var.image}:${var.tag}
      cpu: ${var.size}
      labels: ${var.labels}
      environment: {NUMBER: '${count.index}', RAW: '$${var.size}'}
";

#[test]
fn variables_take_any_type_and_text_stays_as_it_was_written() {
    let desired = desired(SHOP);
    assert_eq!(desired.resources().len(), 2);
    let specs = desired.resources()[1].specs();
    assert_eq!(specs.get("image", String::new()).unwrap(), "nginx:1.10");
    assert_eq!(specs.get("cpu", 0).unwrap(), 2);
    assert_eq!(specs.get("labels.team", String::new()).unwrap(), "web");
    assert_eq!(specs.get("environment.NUMBER", 0).unwrap(), 1);
    assert_eq!(specs.get("environment.RAW", String::new()).unwrap(), "$${var.size}");
}

#[test]
fn what_the_caller_gives_comes_before_defaults_and_is_no_template() {
    let variables = Variables::default().with("size", 1).with("image", "${web.address}");
    let documents = Reader::new().text("shop.yaml", SHOP).variables(variables).read();
    let desired = validate(&documents, &Rules::standard(), &facilities()).unwrap();
    assert_eq!(desired.resources().len(), 1);
    assert!(desired.resources()[0].declaration.references.is_empty());
    let resolved =
        substrate_engine::model::resolve_templates(desired.resources()[0].specs(), |_| None).unwrap();
    assert_eq!(resolved.get("image", String::new()).unwrap(), "${web.address}:1.10");
    assert_eq!(resolved.get("environment.RAW", String::new()).unwrap(), "${var.size}");
}

#[test]
fn missing_and_mistyped_variables_are_found_in_their_place() {
    let found = refusal(
        "name: shop\nvariables: {size: ~}\nresources:\n  - type: compute\n    name: a\n    specs: {cpu: '${var.size}', \
         image: '${var.sise}'}\n",
    );
    assert_eq!(
        found,
        [
            "shop.yaml:6:18: the variable `size` has no value: give it one",
            "shop.yaml:6:40: there is no variable `sise`: did you mean `size`?",
        ]
    );
}

#[test]
fn variables_cannot_use_variables() {
    let found = refusal("name: shop\nvariables: {a: 1, b: '${var.a}'}\n");
    assert!(found[0].starts_with("shop.yaml:2:22: a variable cannot use variables"), "{found:?}");
}

#[test]
fn a_bad_reference_is_found_in_its_place() {
    let found =
        refusal("name: shop\nresources:\n  - {type: compute, name: a, specs: {image: 'x${web..y}'}}\n");
    assert!(found[0].starts_with("shop.yaml:3:45: `web..y` is not a reference"), "{found:?}");
}

#[test]
fn what_comes_from_the_environment_is_in_no_plan() {
    let text = "name: shop\nresources: [{type: compute, name: a, specs: {image: '${IMAGE}', labels: {note: 'x-${IMAGE}'}, \
                environment: {PASSWORD: '${PASSWORD}', PLAIN: plain-text}}}]";
    let with = |image: &str| {
        let environment = Environment::from_iter([("IMAGE", image), ("PASSWORD", "hunter2")]);
        let documents = Reader::new().text("shop.yaml", text).environment(environment).read();
        validate(&documents, &Rules::standard(), &facilities()).unwrap()
    };
    let recorded = deployed(&with("private-image-1"));
    let plan = plan(&with("private-image-2"), &recorded, &Observed::default()).unwrap();
    let shown = format!("{plan}{}{}", plan.to_json(), serde_json::to_string(&recorded).unwrap());
    assert!(shown.contains("image: (secret) → (secret)"), "{shown}");
    for secret in ["hunter2", "private-image", "plain-text"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_variable_that_is_a_secret_stays_one_inside_a_text() {
    let text = "name: shop\nvariables: {db_password: hunter2}\nresources: [{type: compute, name: a, specs: {labels: \
                {url: 'x://${var.db_password}'}}}]";
    let documents = read(text);
    assert!(!format!("{:?}", documents.blueprints[0].resources[0].specs).contains("hunter2"));
    let recorded = serde_json::to_string(&deployed(&desired(text))).unwrap();
    assert!(!recorded.contains("hunter2"), "{recorded}");
    assert!(plan(&desired(text), &Recorded::default(), &Observed::default()).is_ok());
}

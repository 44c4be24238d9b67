//! Two forms, one model.

use substrate_engine::plan::Recorded;
use substrate_engine::{Reader, Rules, validate};

use super::{desired, facilities, plan_of, read, refusal, steps};

const BLUEPRINT_FORM: &str = "
name: shop
description: a shop
version: '2'
resources:
  - type: compute
    name: web
    provider: fake
    specs: {image: nginx, cpu: 2}
    dependencies: [front]
    metadata: {role: web}
    lifecycle: {protect: true}
  - {type: network, name: front, provider: fake, specs: {subnet: 10.1.0.0/24}}
metadata: {owner: ops}
";

const KIND_FORM: &str = "
apiVersion: substrate/v1
kind: SystemBlueprint
metadata: {name: shop, description: a shop, version: '2', owner: ops}
spec:
  resources:
    - apiVersion: v1
      kind: ComputeNode
      metadata: {name: web, dependencies: [front], annotations: {role: web}, lifecycle: {protect: true}}
      spec: {image: nginx, cpu: 2}
      engineSelector: {provider: fake}
    - kind: NetworkLink
      metadata: {name: front}
      spec: {subnet: 10.1.0.0/24}
      engineSelector: fake
";

#[test]
fn both_forms_mean_the_same() {
    let (one, other) = (read(BLUEPRINT_FORM), read(KIND_FORM));
    assert_eq!(other.problems(), []);
    let (one, other) = (&one.blueprints[0], &other.blueprints[0]);
    assert_eq!(
        (&one.name.value, &one.version, &one.description),
        (&other.name.value, &other.version, &other.description)
    );
    assert_eq!(one.metadata, other.metadata);
    let digests = |text| -> Vec<String> {
        desired(text).resources().iter().map(|one| one.interpreted.canonical.digest().to_owned()).collect()
    };
    assert_eq!(digests(BLUEPRINT_FORM), digests(KIND_FORM));
    assert!(other.resources[0].lifecycle.protect);
    let none = Recorded::default();
    assert_eq!(plan_of(BLUEPRINT_FORM, &none), plan_of(KIND_FORM, &none));
}

#[test]
fn problems_in_the_kind_form_are_shown_where_they_were_written() {
    let text = "kind: SystemBlueprint\nmetadata: {name: shop}\nspec:\n  resources:\n    - kind: ComputNode\n      \
                metadata: {name: web}\n    - kind: ComputeNode\n      metadata: {name: b, nmae: c}\n      spec: {cpu: x}\n";
    let found = refusal(text);
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("shop.yaml:5:13: `ComputNode` is not")
                && line.contains("`ComputeNode`")),
        "{found:#?}"
    );
    assert!(found.iter().any(|line| line.starts_with("shop.yaml:8:27: unknown key `nmae`")), "{found:#?}");
    assert!(found.iter().any(|line| line.starts_with("shop.yaml:9:19: ")), "{found:#?}");
}

#[test]
fn single_resources_belong_to_the_blueprint_of_their_file() {
    let alone = "kind: ComputeNode\nmetadata: {name: a}\n---\nkind: StorageVolume\nmetadata: {name: b}\n";
    assert_eq!(steps(&plan_of(alone, &Recorded::default())), ["create shop/a", "create shop/b"]);
    let beside = format!("name: site\nresources: [{{type: compute, name: web}}]\n---\n{alone}");
    assert_eq!(
        steps(&plan_of(&beside, &Recorded::default())),
        ["create site/web", "create site/a", "create site/b"]
    );
}

#[test]
fn a_single_resource_cannot_take_a_name_that_its_blueprint_has() {
    let found = refusal(
        "name: shop\nresources: [{type: compute, name: a}]\n---\nkind: StorageVolume\nmetadata: {name: a}\n",
    );
    assert_eq!(found, ["shop.yaml:5:18: the resource `a` is defined twice, first at shop.yaml:2:35"]);
}

#[test]
fn blueprints_of_several_files_may_depend_on_each_other() {
    let documents = Reader::new()
        .text("a.yaml", "name: a\nresources: [{type: compute, name: x, dependencies: [b/y]}]")
        .text("b.yaml", "name: b\nresources: [{type: compute, name: y}]")
        .read();
    let desired = validate(&documents, &Rules::standard(), &facilities()).unwrap();
    let plan = substrate_engine::plan::plan(&desired, &Recorded::default(), &Default::default()).unwrap();
    assert_eq!(steps(&plan), ["create b/y", "create a/x"]);
}

#[test]
fn one_name_for_two_blueprints_is_refused() {
    let found = refusal("name: shop\n---\nname: shop\n");
    assert_eq!(found, ["shop.yaml:3:7: the blueprint `shop` is defined twice, first at shop.yaml:1:7"]);
}

#[test]
fn a_service_is_as_many_resources_as_it_has_replicas() {
    let text = "name: shop\nresources: [{type: service, name: api, specs: {image: api, replicas: 3, \
                health_check: {port: 80}}}]";
    assert_eq!(
        steps(&plan_of(text, &Recorded::default())),
        ["create shop/api[0]", "create shop/api[1]", "create shop/api[2]"]
    );
    assert_eq!(desired(text).resources()[2].id.instance_name(), "api-2");
}

#[test]
fn the_version_of_a_kind_must_be_known() {
    let found = refusal("kind: ComputeNode\napiVersion: substrate/v7\nmetadata: {name: a}\n");
    assert!(found[0].contains("`compute` has no version 7.0: there is 1.0 up to below 2.0"), "{found:?}");
}

//! Mistakes: all at once, each in its place.

use substrate_core::{Capabilities, Feature};
use substrate_engine::{Reader, Rules, validate};

use super::{facility, lines, read, refusal};

#[test]
fn ten_planted_mistakes_are_ten_problems_with_their_places() {
    let text = r#"
name: shop
resources:
  - type: compute
    name: web
    specs: {image: nginx, memory: 8GBB}
  - type: compute
    name: web
    specs: {image: nginx}
  - type: computer
    name: b
  - type: compute
    name: c
    provider: fale
  - type: compute
    name: d
    dependencies: [wbe]
  - type: compute
    name: e
    specs: {imgae: nginx}
  - type: compute
    name: f
    count: many
  - type: compute
    name: g
    dependencies: [h]
  - type: compute
    name: h
    dependencies: [g]
  - type: compute
    name: i
    specs: {cpu: -1}
  - type: compute
    name: j
    specs: {ports: [80]}
"#;
    let facilities =
        facility("fake", Capabilities::all().without(Feature::CreatePorts, "it has no host network"));
    let found = lines(&validate(&read(text), &Rules::standard(), &facilities).unwrap_err());
    let expected = [
        "shop.yaml:6:35: `resources[0].specs.memory`: `8GBB` is not a size: write it like `64MiB`, `8GB` or as a \
         number of bytes",
        "shop.yaml:8:11: the resource `web` is defined twice, first at shop.yaml:5:11",
        "shop.yaml:10:11: there is no resource type `computer`: did you mean `compute`?",
        "shop.yaml:14:15: there is no provider `fale`: did you mean `fake`?",
        "shop.yaml:17:20: there is no resource `wbe`: did you mean `web`?",
        "shop.yaml:20:13: unknown key `imgae` in `resources[5].specs`: did you mean `image`?",
        "shop.yaml:23:12: `resources[6].count` must be a whole number from 0 to 4294967295, not the string `many`",
        "shop.yaml:26:20: the dependencies go in a circle: g → h → g",
        "shop.yaml:32:18: `cpu` must be more than 0 cores, not -1",
        "shop.yaml:35:20: `j` needs `create_ports`, which the provider `fake` does not have: it has no host network",
    ];
    assert_eq!(found, expected);
}

#[test]
fn mistakes_of_several_files_come_in_one_report() {
    let documents = Reader::new()
        .text("a.yaml", "name: a\nresources: [{type: compute, name: x, specs: {cpu: 0}}]")
        .text("b.yaml", "name: b\nresources: [{type: storage, name: y, specs: {size: 5}}]")
        .text("c.yaml", "name: [")
        .read();
    let found = lines(&validate(&documents, &Rules::standard(), &super::facilities()).unwrap_err());
    let files: Vec<&str> = found.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(files.len(), 3, "{found:?}");
    assert!(["a.yaml", "b.yaml", "c.yaml"].iter().all(|file| files.contains(file)), "{found:?}");
}

#[test]
fn a_resource_with_a_mistake_in_its_head_is_checked_further() {
    let found = refusal("name: shop\nresources:\n  - type: compute\n    name: a.b\n    specs: {cpu: x}\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("`a.b` is not a valid name"), "{found:?}");
    assert!(found[1].contains("specs.cpu"), "{found:?}");
}

#[test]
fn a_size_without_its_unit_is_found() {
    let found = refusal("name: shop\nresources: [{type: compute, name: a, specs: {memory: 512}}]");
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("less than 1 MiB: write the unit, such as `512MiB`"), "{found:?}");
}

#[test]
fn keys_of_a_service_are_explained_on_a_compute_resource() {
    let found = refusal("name: shop\nresources: [{type: compute, name: a, specs: {replicas: 3}}]");
    assert!(found[0].contains("use `count` of the resource"), "{found:?}");
}

#[test]
fn two_ids_with_one_name_on_a_provider_are_refused() {
    let found = refusal(
        "name: shop\nresources:\n  - {type: compute, name: web, count: 1}\n  - {type: service, name: web-0}\n",
    );
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("would both be called `web-0` on the same provider"), "{found:?}");
    // A volume may have the name of an instance.
    super::desired(
        "name: shop\nresources:\n  - {type: compute, name: web}\n  - {type: storage, name: data}\n",
    );
}

#[test]
fn a_longer_circle_is_shown_whole() {
    let found = refusal(
        "name: shop\nresources:\n  - {type: compute, name: a, dependencies: [b]}\n  - {type: compute, name: b, \
         specs: {environment: {C: '${c.address}'}}}\n  - {type: compute, name: c, dependencies: [a]}\n",
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("a → b → c → a"), "{found:?}");
}

#[test]
fn an_index_that_does_not_exist_is_found() {
    let text = "name: shop\nresources:\n  - {type: compute, name: a, count: 2}\n  - {type: compute, name: b, \
                dependencies: ['a[2]', 'b[0]']}\n";
    let found = refusal(text);
    assert!(found[0].contains("there are only 2 of `a`: the last is `[1]`"), "{found:?}");
    assert!(found[1].contains("without a `count`"), "{found:?}");
}

#[test]
fn which_of_several_must_be_said_in_a_reference() {
    let text = |reference: &str| {
        format!(
            "name: shop\nresources:\n  - {{type: compute, name: a, count: 2}}\n  - {{type: compute, name: b, specs: \
             {{environment: {{A: '${{{reference}}}'}}}}}}\n"
        )
    };
    assert!(
        refusal(&text("a.address"))[0]
            .contains("say which one (`${a[0].address}`), or all (`${a[*].address}`)")
    );
    super::desired(&text("a[1].address"));
    super::desired(&text("a[*].address"));
}

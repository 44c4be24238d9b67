//! Large deployments in linear time. The bounds are wide: they catch a square, not a slow machine.

use std::time::{Duration, Instant};

use substrate_core::config::Section;
use substrate_engine::model::{Blueprint, Name, Resource};
use substrate_engine::plan::{Observed, Recorded, plan};
use substrate_engine::{Documents, Rules, validate};

use super::{deployed, desired, facilities, refusal};

/// Resources in layers, each depending on three of the layer below.
fn layered(count: usize) -> Documents {
    let name = |number: usize| Name::new(&format!("r{number}")).unwrap();
    let specs =
        serde_json::json!({"image": "nginx", "cpu": 2, "memory": "512MiB", "labels": {"team": "web"}});
    let mut blueprint = Blueprint::new(Name::new("shop").unwrap());
    for number in 0..count {
        let mut resource = Resource::new(name(number), "compute")
            .with_specs(Section::from_value(specs.clone()).named("specs"));
        for step in [97, 101, 103] {
            if let Some(below) = number.checked_sub(step) {
                resource = resource.with_dependency(name(below));
            }
        }
        blueprint = blueprint.with_resource(resource);
    }
    Documents::from_blueprints([blueprint])
}

#[test]
fn twenty_thousand_resources_are_planned_quickly() {
    let documents = layered(20_000);
    let desired = validate(&documents, &Rules::standard(), &facilities()).unwrap();
    let started = Instant::now();
    let created = plan(&desired, &Recorded::default(), &Observed::default()).unwrap();
    assert_eq!(created.steps.len(), 20_000);
    let recorded = deployed(&desired);
    assert!(plan(&desired, &recorded, &Observed::default()).unwrap().is_empty());
    let removal = plan(&super::desired("name: shop"), &recorded, &Observed::default()).unwrap();
    assert_eq!(removal.steps.len(), 20_000);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn ten_thousand_that_depend_on_ten_thousand_stay_linear() {
    let text = "name: shop\nresources:\n  - {type: compute, name: a, count: 10000}\n  - {type: compute, name: b, count: \
                10000, dependencies: [a], specs: {environment: {A: '${a[*].address}'}}}\n";
    let started = Instant::now();
    let desired = desired(text);
    let created = plan(&desired, &Recorded::default(), &Observed::default()).unwrap();
    assert_eq!((created.steps.len(), created.gates.len()), (20_000, 1));
    let removal = plan(&super::desired("name: shop"), &deployed(&desired), &Observed::default()).unwrap();
    assert_eq!((removal.steps.len(), removal.gates.len()), (20_000, 1));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn thousands_of_mistakes_are_reported_in_linear_time() {
    let items: String = (0..5_000)
        .map(|number| {
            format!("  - {{type: compute, name: n{number}, dependencies: [m{number}], specs: {{cpu: x}}}}\n")
        })
        .collect();
    let started = Instant::now();
    assert_eq!(refusal(&format!("name: shop\nresources:\n{items}")).len(), 10_000);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

//! What holds for every graph and every deployment.

use proptest::prelude::*;
use substrate_core::config::Section;
use substrate_engine::graph::DependencyGraph;
use substrate_engine::model::{Blueprint, Name, Resource};
use substrate_engine::plan::{Observed, Plan, Prerequisite, Recorded, plan};
use substrate_engine::{Desired, Documents, Rules, validate};

use super::{deployed, facilities};

/// A resource: its memory in MiB, its count, and those among the earlier ones that it depends on.
type Shape = (u64, Option<u32>, Vec<prop::sample::Index>);

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let dependencies = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    prop::collection::vec((1..4_u64, prop::option::of(0..4_u32), dependencies), 0..12)
}

fn desired(shapes: &[Shape]) -> Desired {
    let name = |number: usize| Name::new(&format!("r{number}")).unwrap();
    let mut blueprint = Blueprint::new(Name::new("shop").unwrap());
    for (number, (memory, count, dependencies)) in shapes.iter().enumerate() {
        let specs = serde_json::json!({"image": "x", "memory": format!("{memory}MiB")});
        let mut resource =
            Resource::new(name(number), "compute").with_specs(Section::from_value(specs).named("specs"));
        resource.count = *count;
        for dependency in dependencies.iter().filter(|_| number > 0) {
            resource = resource.with_dependency(name(dependency.index(number)));
        }
        blueprint = blueprint.with_resource(resource);
    }
    validate(&Documents::from_blueprints([blueprint]), &Rules::standard(), &facilities()).unwrap()
}

/// Whether every step and gate comes after what it waits for, as the number of its place in a possible run.
fn can_run(plan: &Plan) -> bool {
    let mut steps_done = vec![false; plan.steps.len()];
    let mut gates_passed = vec![false; plan.gates.len()];
    loop {
        let done = |after: &[Prerequisite], steps: &[bool], gates: &[bool]| {
            after.iter().all(|one| match one {
                Prerequisite::Step(number) => steps[*number],
                Prerequisite::Gate(number) => gates[*number],
            })
        };
        let mut progress = false;
        for (number, step) in plan.steps.iter().enumerate() {
            if !steps_done[number] && done(&step.after, &steps_done, &gates_passed) {
                steps_done[number] = true;
                progress = true;
            }
        }
        for (number, gate) in plan.gates.iter().enumerate() {
            if !gates_passed[number] && done(&gate.after, &steps_done, &gates_passed) {
                gates_passed[number] = true;
                progress = true;
            }
        }
        if !progress {
            return steps_done.iter().chain(&gates_passed).all(|done| *done);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_order_has_every_node_after_its_dependencies(
        edges in prop::collection::vec((0..30_usize, 0..30_usize), 0..60)
    ) {
        let mut forward = DependencyGraph::with_nodes(30);
        let mut backward = DependencyGraph::with_nodes(30);
        // Edges to lower numbers only: no cycle.
        let edges: Vec<_> = edges.into_iter().filter(|(from, to)| from > to).collect();
        edges.iter().for_each(|(from, to)| forward.add_dependency(*from, *to));
        edges.iter().rev().for_each(|(from, to)| backward.add_dependency(*from, *to));
        let order = forward.order().unwrap();
        prop_assert_eq!(&order, &backward.order().unwrap());
        let place = |node: usize| order.iter().position(|one| *one == node).unwrap();
        for (from, to) in edges {
            prop_assert!(place(from) > place(to));
        }
    }

    #[test]
    fn a_graph_has_an_order_or_a_cycle_that_is_one(edges in prop::collection::vec((0..12_usize, 0..12_usize), 0..30)) {
        let mut graph = DependencyGraph::with_nodes(12);
        edges.iter().for_each(|(from, to)| graph.add_dependency(*from, *to));
        match graph.order() {
            Ok(order) => prop_assert_eq!(order.len(), 12),
            Err(cycles) => {
                prop_assert!(!cycles.is_empty());
                for cycle in cycles {
                    for (index, node) in cycle.nodes.iter().enumerate() {
                        let next = cycle.nodes[(index + 1) % cycle.nodes.len()];
                        prop_assert!(edges.contains(&(*node, next)));
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_plan(shapes in shapes()) {
        let plans = [(); 2].map(|()| plan(&desired(&shapes), &Recorded::default(), &Observed::default()).unwrap());
        prop_assert_eq!(&plans[0], &plans[1]);
        prop_assert_eq!(plans[0].to_json().to_string(), plans[1].to_json().to_string());
    }

    #[test]
    fn from_anything_to_anything_there_is_a_plan_that_can_run_and_leads_there(before in shapes(), after in shapes()) {
        let (before, after) = (desired(&before), desired(&after));
        let mut state = deployed(&before);
        let change = plan(&after, &state, &Observed::default()).unwrap();
        prop_assert!(can_run(&change));
        prop_assert!(change.steps.iter().all(|step| !step.causes.is_empty()));
        // Deploying it: what is there afterwards is what was desired.
        let target = deployed(&after);
        for step in &change.steps {
            match target.get(&step.resource) {
                Some(resource) => state.insert(step.resource.clone(), resource.clone()),
                None => prop_assert!(state.remove(&step.resource).is_some()),
            }
        }
        prop_assert!(plan(&after, &state, &Observed::default()).unwrap().is_empty());
    }
}

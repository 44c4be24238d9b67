//! Manifests: their kinds, and their two orders.

use std::collections::HashMap;

use substrate_core::config::{Problem, nearest, quoted};

use super::Rules;
use super::desired::DesiredManifest;
use crate::document::Documents;
use crate::graph::DependencyGraph;
use crate::handler::Subject;
use crate::model::{Dependency, Manifest, Name, Selection};

/// The manifests with their meaning, and the orders in which they are applied and deleted.
#[derive(Default)]
pub(super) struct CheckedManifests {
    pub(super) manifests: Vec<DesiredManifest>,
    pub(super) apply_order: Vec<usize>,
    pub(super) delete_order: Vec<usize>,
}

pub(super) fn check(documents: &Documents, rules: &Rules, problems: &mut Vec<Problem>) -> CheckedManifests {
    let manifests: Vec<&Manifest> = documents.manifests.iter().collect();
    let numbers: HashMap<&Name, usize> =
        manifests.iter().enumerate().map(|(number, manifest)| (&manifest.name.value, number)).collect();
    let mut apply = DependencyGraph::with_nodes(manifests.len());
    let mut delete = DependencyGraph::with_nodes(manifests.len());
    for (number, manifest) in manifests.iter().enumerate() {
        for dependency in &manifest.dependencies.apply {
            if let Some(target) = resolve(manifest, dependency, &numbers, problems) {
                apply.add_dependency(number, target);
                // Deleting goes backwards, unless the manifest says otherwise.
                if manifest.dependencies.delete.is_none() {
                    delete.add_dependency(target, number);
                }
            }
        }
        for dependency in manifest.dependencies.delete.iter().flatten() {
            if let Some(target) = resolve(manifest, dependency, &numbers, problems) {
                delete.add_dependency(number, target);
            }
        }
    }
    let apply_order = ordered(&manifests, &apply, "apply", problems);
    // Where the one order is a circle, so is the other that goes backwards; once is enough.
    let delete_order = match apply_order.len() == manifests.len() {
        true => ordered(&manifests, &delete, "delete", problems),
        false => Vec::new(),
    };
    let meanings: Vec<Option<DesiredManifest>> =
        manifests.iter().map(|manifest| interpret(manifest, rules, problems)).collect();
    match meanings.into_iter().collect::<Option<Vec<_>>>() {
        Some(manifests) => CheckedManifests { manifests, apply_order, delete_order },
        None => CheckedManifests::default(),
    }
}

fn interpret(manifest: &Manifest, rules: &Rules, problems: &mut Vec<Problem>) -> Option<DesiredManifest> {
    let handler = match rules.handlers.find(&manifest.kind.value, manifest.version) {
        Ok(handler) => handler.clone(),
        Err(message) => {
            problems.push(problem(manifest, message).at(manifest.kind.location.clone()));
            return None;
        }
    };
    match handler.interpret(Subject { name: manifest.name.value.as_str(), specs: &manifest.spec }) {
        Ok(interpretation) if !manifest.broken => {
            Some(DesiredManifest { manifest: manifest.clone(), handler, interpretation })
        }
        Ok(_) => None,
        Err(error) => {
            problems.extend(error.into_problems());
            None
        }
    }
}

fn resolve(
    from: &Manifest,
    dependency: &Dependency,
    numbers: &HashMap<&Name, usize>,
    problems: &mut Vec<Problem>,
) -> Option<usize> {
    let address = &dependency.address;
    let found = numbers.get(&address.name).copied();
    if let (Some(number), None, Selection::Whole) = (found, &address.blueprint, address.selection) {
        return Some(number);
    }
    let shown = address.to_string();
    let mut names: Vec<&str> = numbers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let message = format!("there is no manifest {}", quoted(&shown));
    problems.push(problem(from, message).at(dependency.location.clone()).suggest(nearest(&shown, names)));
    None
}

fn ordered(
    manifests: &[&Manifest],
    graph: &DependencyGraph,
    which: &str,
    problems: &mut Vec<Problem>,
) -> Vec<usize> {
    graph.order().unwrap_or_else(|cycles| {
        for cycle in cycles {
            let members: Vec<&&Manifest> =
                cycle.nodes.iter().filter_map(|node| manifests.get(*node)).collect();
            let Some(first) = members.first() else { continue };
            let path: Vec<&str> =
                members.iter().copied().chain([*first]).map(|one| one.name.value.as_str()).collect();
            let message = format!("the `{which}` dependencies go in a circle: {}", path.join(" → "));
            problems.push(problem(first, message).at(first.name.location.clone()));
        }
        Vec::new()
    })
}

fn problem(manifest: &Manifest, message: String) -> Problem {
    Problem::new(manifest.name.value.as_str(), message)
}

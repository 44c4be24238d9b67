//! Declarations into single instances, with their order.

use std::collections::HashMap;
use std::sync::Arc;

use substrate_core::config::{Problem, quoted};

use super::desired::{Desired, DesiredResource, Group};
use super::interpret::{Declaration, Meaning};
use super::links::Link;
use super::manifests::CheckedManifests;
use crate::graph::DependencyGraph;
use crate::model::{Address, ResourceId, Selection, count_instances};

/// `None` when something that was reported stands in the way.
pub(super) fn expand(
    declarations: &[Declaration],
    links: &[Vec<Link>],
    manifests: CheckedManifests,
    problems: &mut Vec<Problem>,
) -> Option<Desired> {
    if !problems.is_empty() {
        return None;
    }
    let mut resources = Vec::new();
    // Of each declaration the number of its first instance.
    let mut first_of = Vec::with_capacity(declarations.len());
    for (declaration, links) in declarations.iter().zip(links) {
        first_of.push(resources.len());
        let dependencies: Arc<[Address]> = links.iter().map(|link| link.address.clone()).collect();
        let id = ResourceId::new(declaration.blueprint.clone(), declaration.resource.name.value.clone());
        for (position, index) in count_instances(declaration.count).enumerate() {
            let interpreted = match &declaration.meaning {
                Meaning::Unknown => return None,
                Meaning::Shared(one) => one,
                Meaning::PerIndex(all) => all.get(position)?,
            };
            resources.push(DesiredResource {
                id: ResourceId { index, ..id.clone() },
                declaration: declaration.resource.clone(),
                interpreted: interpreted.clone(),
                dependencies: dependencies.clone(),
            });
        }
    }
    report_shared_names(&resources, problems);

    let mut graph = DependencyGraph::with_nodes(resources.len());
    let mut groups = Vec::new();
    let mut group_of = Vec::with_capacity(declarations.len());
    for (declaration, first) in declarations.iter().zip(&first_of) {
        let Some(count) = declaration.count else {
            group_of.push(None);
            continue;
        };
        let node = graph.add_node();
        group_of.push(Some(node));
        groups.push(Group {
            label: format!("{}/{}[*]", declaration.blueprint, declaration.resource.name.value),
        });
        for instance in *first..first + count as usize {
            graph.add_dependency(node, instance);
        }
    }
    for ((declaration, links), first) in declarations.iter().zip(links).zip(&first_of) {
        for link in links {
            let target_first = *first_of.get(link.target)?;
            let target = match (link.address.selection, *group_of.get(link.target)?) {
                (Selection::Index(index), _) => target_first + index as usize,
                (_, Some(group)) => group,
                (_, None) => target_first,
            };
            for instance in *first..first + declaration.count.map_or(1, |count| count as usize) {
                graph.add_dependency(instance, target);
            }
        }
    }
    let order = graph.order().ok()?;
    let CheckedManifests { manifests, apply_order, delete_order } = manifests;
    Some(Desired { resources, groups, graph, order, manifests, apply_order, delete_order })
}

/// Two resources that would have one name on one substrate: `web-0` beside the first of `web` with a count, or equal
/// names in two blueprints.
fn report_shared_names(resources: &[DesiredResource], problems: &mut Vec<Problem>) {
    let mut seen: HashMap<(Option<&Arc<str>>, &str, String), &DesiredResource> =
        HashMap::with_capacity(resources.len());
    for resource in resources {
        let place =
            (resource.facility(), resource.interpreted.handler.namespace(), resource.id.instance_name());
        if let Some(other) = seen.insert(place, resource) {
            let message = format!(
                "{} and {} would both be called {} on the same provider: rename one of them",
                quoted(&other.id.to_string()),
                quoted(&resource.id.to_string()),
                quoted(&resource.id.instance_name())
            );
            let location = resource.declaration.name.location.clone();
            problems.push(Problem::new(resource.id.to_string(), message).at(location));
        }
    }
}

//! Declarations into single instances.

use std::collections::HashMap;
use std::sync::Arc;

use substrate_core::config::{Problem, quoted};

use super::desired::{Desired, DesiredResource};
use super::interpret::{Declaration, Meaning};
use super::links::{Link, Links};
use crate::model::{Address, Name, ResourceId, count_instances};

/// `None` when something that was reported stands in the way.
pub(super) fn expand(
    declarations: &[Declaration],
    links: &[Links],
    blueprints: Vec<Name>,
    problems: &mut Vec<Problem>,
) -> Option<Desired> {
    if !problems.is_empty() {
        return None;
    }
    let mut resources = Vec::new();
    for (declaration, links) in declarations.iter().zip(links) {
        let addresses =
            |links: &[Link]| -> Arc<[Address]> { links.iter().map(|link| link.address.clone()).collect() };
        let dependencies = addresses(&links.apply);
        let delete_dependencies = links.delete.as_deref().map(addresses);
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
                delete_dependencies: delete_dependencies.clone(),
            });
        }
    }
    report_shared_names(&resources, problems);

    Desired::new(resources, blueprints)
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

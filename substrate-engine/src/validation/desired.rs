//! What shall be: the result of a validation, and what a plan is made from.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use substrate_core::config::Section;

use crate::directive::CheckedDirective;
use crate::graph::DependencyGraph;
use crate::handler::{Interpretation, ResourceHandler};
use crate::model::{Address, Lifecycle, Name, Resource, ResourceId, Selection as AddressSelection};
use crate::plan::{Canonical, CanonicalVersion, Property, keys_of};

/// Everything that is desired, expanded to single instances, with its order.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    pub(crate) resources: Vec<DesiredResource>,
    pub(crate) blueprints: Vec<Name>,
    /// Where the instances of each name stand among the resources.
    pub(crate) by_name: HashMap<Name, HashMap<Name, Range<usize>>>,
    pub(crate) groups: Vec<Group>,
    /// Nodes: the resources, then the groups.
    pub(crate) graph: DependencyGraph,
    /// The nodes in an order in which each comes after what it depends on.
    pub(crate) order: Vec<usize>,
}

impl Desired {
    /// Resources in their order. The instances of one name stand together. A dependency on what is not among them is
    /// none. `None` when the dependencies go in a circle.
    pub(crate) fn new(resources: Vec<DesiredResource>, blueprints: Vec<Name>) -> Option<Self> {
        let mut by_name: HashMap<Name, HashMap<Name, Range<usize>>> = HashMap::new();
        for (number, DesiredResource { id, .. }) in resources.iter().enumerate() {
            let names = by_name.entry(id.blueprint.clone()).or_default();
            names.entry(id.name.clone()).or_insert(number..number).end = number + 1;
        }
        let mut graph = DependencyGraph::with_nodes(resources.len());
        let mut groups = Vec::new();
        let mut group_of: HashMap<(&Name, &Name), usize> = HashMap::new();
        for (number, DesiredResource { id, .. }) in resources.iter().enumerate() {
            if id.index.is_some() {
                let group = *group_of.entry((&id.blueprint, &id.name)).or_insert_with(|| {
                    groups.push(Group { label: format!("{}/{}[*]", id.blueprint, id.name) });
                    graph.add_node()
                });
                graph.add_dependency(group, number);
            }
        }
        for (number, resource) in resources.iter().enumerate() {
            for address in &*resource.dependencies {
                let blueprint = address.blueprint.as_ref().unwrap_or(&resource.id.blueprint);
                let first = by_name
                    .get(blueprint)
                    .and_then(|names| names.get(&address.name))
                    .map(|instances| instances.start);
                let target = match address.selection {
                    AddressSelection::Index(index) => first.map(|first| first + index as usize),
                    _ => group_of.get(&(blueprint, &address.name)).copied().or(first),
                };
                if let Some(target) = target {
                    graph.add_dependency(number, target);
                }
            }
        }
        let order = graph.order().ok()?;
        Some(Self { resources, blueprints, by_name, groups, graph, order })
    }

    /// Nothing shall be there of some blueprints.
    pub(crate) fn nothing(blueprints: Vec<Name>) -> Self {
        Self { blueprints, ..Self::default() }
    }

    /// The blueprints that it is of, those without resources too.
    #[must_use]
    pub fn blueprints(&self) -> &[Name] {
        &self.blueprints
    }

    /// The resources, in document order.
    #[must_use]
    pub fn resources(&self) -> &[DesiredResource] {
        &self.resources
    }

    /// The instances of a resource: one, or as many as its count says. Empty when there is no such resource.
    #[must_use]
    pub fn instances_of(&self, blueprint: &Name, name: &Name) -> &[DesiredResource] {
        let range = self.by_name.get(blueprint).and_then(|names| names.get(name));
        range.and_then(|range| self.resources.get(range.clone())).unwrap_or_default()
    }

    /// A secret of a resource, of its properties at a path, if it has this digest. All instances of a resource share
    /// theirs, so one that is no longer desired has those of the others.
    pub(crate) fn secret(&self, id: &ResourceId, path: &str, digest: &str) -> Option<Value> {
        let instances = self.instances_of(&id.blueprint, &id.name);
        let own = self.get(id).into_iter().chain(instances.first());
        own.into_iter().find_map(|resource| resource.secret(path, digest))
    }

    /// A resource by its id.
    #[must_use]
    pub fn get(&self, id: &ResourceId) -> Option<&DesiredResource> {
        let instances = self.instances_of(&id.blueprint, &id.name);
        instances.get(id.index.unwrap_or(0) as usize).filter(|found| found.id.index == id.index)
    }

    /// The dependencies: node *n* is the *n*-th resource, and after the resources come the [`Desired::groups`].
    #[must_use]
    pub fn graph(&self) -> &DependencyGraph {
        &self.graph
    }

    /// The groups: one for each resource with a count.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }
}

/// All instances of a resource with a count, as one node: ten thousand that depend on ten thousand others are twenty
/// thousand dependencies through a group, and a hundred million without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The resource, as an address: `shop/web[*]`.
    pub label: String,
}

/// One instance that shall be.
#[derive(Debug, Clone)]
pub struct DesiredResource {
    /// Which one.
    pub id: ResourceId,
    /// Its declaration, shared by all instances of a count.
    pub declaration: Arc<Resource>,
    /// What its specs mean, shared where they are the same.
    pub interpreted: Arc<Interpreted>,
    /// What it depends on, with the blueprint in every address: what the journal keeps.
    pub dependencies: Arc<[Address]>,
    /// What is deleted before it, where it says so itself; otherwise what depends on it.
    pub delete_dependencies: Option<Arc<[Address]>>,
}

impl DesiredResource {
    /// The name of its facility; `None` when its kind lives on none.
    #[must_use]
    pub fn facility(&self) -> Option<&Arc<str>> {
        self.interpreted.facility.as_ref()
    }

    /// Its specs, with references still in them.
    #[must_use]
    pub fn specs(&self) -> &Section {
        self.interpreted.own_specs.as_ref().unwrap_or(&self.declaration.specs)
    }

    /// A secret among its properties, if it has the one of this digest at a path.
    fn secret(&self, path: &str, digest: &str) -> Option<Value> {
        let canonical = &self.interpreted.canonical;
        match canonical.get(path)? {
            Property::Secret(known) if known == digest => {
                let keys = keys_of(path);
                let properties = &self.interpreted.interpretation.properties;
                keys.iter().try_fold(properties, |value, key| value.get(key)).cloned()
            }
            _ => None,
        }
    }

    /// How it may be changed.
    #[must_use]
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.declaration.lifecycle
    }
}

/// What the specs of a resource mean.
#[derive(Debug, Clone)]
pub struct Interpreted {
    /// Its handler.
    pub handler: Arc<dyn ResourceHandler>,
    /// What the handler said.
    pub interpretation: Interpretation,
    /// Its directives, in order.
    pub directives: Vec<CheckedDirective>,
    /// The name of its facility.
    pub facility: Option<Arc<str>>,
    /// All properties, in canonical form: the handler's, and under `resource` those that every kind has.
    pub canonical: Canonical,
    /// Properties whose values are secrets that nobody knows any more: of a resource that comes from a journal.
    pub(crate) unknown_secrets: Vec<String>,
    /// The specs with `${count.index}` replaced, where they have it; otherwise they are the declaration's.
    pub(crate) own_specs: Option<Section>,
}

impl Interpreted {
    /// The properties by another rule, for a comparison with a record of that rule.
    pub(crate) fn canonical_by(&self, version: CanonicalVersion, of: &DesiredResource) -> Option<Canonical> {
        let salt = salt(&of.id.blueprint, &of.declaration);
        Canonical::new(version, &self.interpretation.properties, &salt, &|text| {
            self.own_specs.as_ref().is_some_and(|specs| specs.hides(text)) || of.declaration.hides(text)
        })
    }
}

/// Belongs to the declaration and not to the instance, so that equal instances share one canonical form.
pub(super) fn salt(blueprint: &Name, declaration: &Resource) -> String {
    format!("{blueprint}/{}", declaration.name.value)
}

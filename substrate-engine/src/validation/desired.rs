//! What shall be: the result of a validation, and what a plan is made from.

use std::sync::Arc;

use substrate_core::config::Section;

use crate::directive::CheckedDirective;
use crate::graph::DependencyGraph;
use crate::handler::{Interpretation, ResourceHandler};
use crate::model::{Address, Lifecycle, Manifest, Name, Resource, ResourceId};
use crate::plan::{Canonical, CanonicalVersion};

/// Everything that is desired, expanded to single instances, with its order.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    pub(crate) resources: Vec<DesiredResource>,
    pub(crate) groups: Vec<Group>,
    /// Nodes: the resources, then the groups.
    pub(crate) graph: DependencyGraph,
    /// The nodes in an order in which each comes after what it depends on.
    pub(crate) order: Vec<usize>,
    pub(crate) manifests: Vec<DesiredManifest>,
    pub(crate) apply_order: Vec<usize>,
    pub(crate) delete_order: Vec<usize>,
}

impl Desired {
    /// The resources, in document order.
    #[must_use]
    pub fn resources(&self) -> &[DesiredResource] {
        &self.resources
    }

    /// The manifests, in the order in which they are applied.
    pub fn manifests_to_apply(&self) -> impl Iterator<Item = &DesiredManifest> {
        self.apply_order.iter().filter_map(|index| self.manifests.get(*index))
    }

    /// The manifests, in the order in which they are deleted.
    pub fn manifests_to_delete(&self) -> impl Iterator<Item = &DesiredManifest> {
        self.delete_order.iter().filter_map(|index| self.manifests.get(*index))
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

/// One manifest that shall be applied.
#[derive(Debug, Clone)]
pub struct DesiredManifest {
    /// Its document.
    pub manifest: Manifest,
    /// Its handler.
    pub handler: Arc<dyn ResourceHandler>,
    /// What the handler said.
    pub interpretation: Interpretation,
}

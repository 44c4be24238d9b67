//! Desired × recorded × observed → plan.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde_json::Value;

use super::decide::{self, Decision, uses_of};
use super::inputs::{digest_of_input, given_outputs, output_at, referenced_value};
use super::order::{Node, Ordering};
use super::state::{Observation, Observed, Recorded, RecordedResource};
use super::step::{Plan, StepAction};
use crate::graph::DependencyGraph;
use crate::model::{Address, Name, Reference, ResourceId, Selection};
use crate::validation::{Desired, DesiredResource};

/// Works out what has to be done. Pure and deterministic; time and memory are linear.
///
/// After all steps were done, the same call gives an empty plan.
///
/// # Errors
/// Everything that must not or cannot be planned, at once: protected resources that would go, things that others
/// made, states that could not be found out.
pub fn plan(desired: &Desired, recorded: &Recorded, observed: &Observed) -> Result<Plan, PlanError> {
    let mut building = Building::new(desired, recorded, observed);
    building.decide_desired();
    building.decide_removed();
    if !building.refusals.is_empty() {
        return Err(PlanError { refusals: building.refusals });
    }
    building.order_deletions();
    building.order_renamings();
    let Building { graph, decisions, removed, refusals: mut impossible, .. } = building;
    let ordering = Ordering { desired, removed: &removed, decisions: &decisions, graph: &graph };
    match ordering.plan() {
        Ok(plan) => Ok(plan),
        Err(stuck) => {
            impossible.extend(stuck.into_iter().map(|id| {
                let reason = "what it is renamed from and what depends on it wait for each other".to_owned();
                Refusal::new(&id, reason, "deploy the change in two steps")
            }));
            Err(PlanError { refusals: impossible })
        }
    }
}

struct Building<'a> {
    desired: &'a Desired,
    recorded: &'a Recorded,
    observed: &'a Observed,
    /// By id, the node of every desired resource.
    nodes: HashMap<&'a ResourceId, usize>,
    /// Nodes: desired resources, groups, removed resources, gates in front of removals.
    graph: DependencyGraph,
    /// One per node; `None` for groups and gates, where nothing is done.
    decisions: Vec<Option<Decision>>,
    removed: BTreeMap<usize, (&'a ResourceId, &'a RecordedResource)>,
    /// The names of which at least one instance is made anew.
    made_anew: HashSet<(&'a Name, &'a Name)>,
    /// What the kept and changed resources give whose kind gives what its specs say.
    given: HashMap<&'a ResourceId, Given>,
    refusals: Vec<Refusal>,
}

/// Outputs that are known before anything is done.
struct Given {
    outputs: BTreeMap<String, Value>,
    /// Those that are made of outputs of something that is made anew: they may be others afterwards.
    may_change: HashSet<String>,
}

/// The rest of a plan in the making, as one resource's decision sees it.
struct SeenFrom<'b, 'a> {
    building: &'b Building<'a>,
    resource: &'a DesiredResource,
}

impl decide::Surroundings for SeenFrom<'_, '_> {
    fn is_made_anew(&self, reference: &Reference) -> bool {
        let address = &reference.address;
        let blueprint = address.blueprint.as_ref().unwrap_or(&self.resource.id.blueprint);
        let is_made_anew = match address.selection {
            Selection::Index(index) => {
                let target = ResourceId::new(blueprint.clone(), address.name.clone()).with_index(index);
                let node = self.building.nodes.get(&target);
                node.and_then(|node| self.building.decisions.get(*node)?.as_ref())
                    .is_some_and(|decision| decision.action.makes_anew())
            }
            Selection::Whole | Selection::All => {
                self.building.made_anew.contains(&(blueprint, &address.name))
            }
        };
        is_made_anew || self.may_change(blueprint, reference)
    }

    fn input(&self, reference: &Reference) -> Option<String> {
        let value = self.value_of(reference)?;
        Some(digest_of_input(&self.resource.id, reference, &value))
    }
}

impl SeenFrom<'_, '_> {
    /// Whether an output that is given as it was written holds something that may change.
    fn may_change(&self, blueprint: &Name, reference: &Reference) -> bool {
        let Building { desired, given, .. } = self.building;
        let instances = desired.instances_of(blueprint, &reference.address.name);
        // All instances are of one kind; of the other kinds there may be many.
        if !instances.first().is_some_and(gives_its_specs) {
            return false;
        }
        let path = reference.output.as_str();
        let first_word = path.split('.').next().unwrap_or_default();
        instances
            .iter()
            .filter(|one| match reference.address.selection {
                Selection::Index(index) => one.id.index == Some(index),
                Selection::Whole | Selection::All => true,
            })
            .filter_map(|one| given.get(&one.id))
            .any(|given| given.may_change.contains(path) || given.may_change.contains(first_word))
    }

    fn value_of(&self, reference: &Reference) -> Option<Value> {
        let Building { desired, recorded, observed, given, .. } = self.building;
        referenced_value(desired, &self.resource.id, reference, |id, path| {
            if let Some(given) = given.get(id) {
                return output_at(&given.outputs, path).cloned();
            }
            let outputs = match observed.get(id) {
                Some(Observation::Present(present)) if !present.outputs.is_empty() => &present.outputs,
                _ => &recorded.get(id)?.outputs,
            };
            output_at(outputs, path).cloned()
        })
    }

    fn given(&self) -> Option<Given> {
        let outputs = given_outputs(self.resource, |reference| self.value_of(reference))?;
        let interpreted = &self.resource.interpreted;
        let written = interpreted.handler.outputs_in(&interpreted.interpretation.properties)?;
        let may_change = written.iter().filter(|(_, value)| {
            let mut uses = Vec::new();
            uses_of("", value, &mut uses);
            uses.iter().any(|(_, reference)| decide::Surroundings::is_made_anew(self, reference))
        });
        Some(Given { outputs, may_change: may_change.map(|(name, _)| name.clone()).collect() })
    }
}

fn gives_its_specs(resource: &DesiredResource) -> bool {
    let interpreted = &resource.interpreted;
    interpreted.handler.outputs_in(&interpreted.interpretation.properties).is_some()
}

impl<'a> Building<'a> {
    fn new(desired: &'a Desired, recorded: &'a Recorded, observed: &'a Observed) -> Self {
        let nodes =
            desired.resources.iter().enumerate().map(|(node, resource)| (&resource.id, node)).collect();
        Self {
            desired,
            recorded,
            observed,
            nodes,
            graph: desired.graph.clone(),
            decisions: vec![None; desired.graph.len()],
            removed: BTreeMap::new(),
            made_anew: HashSet::new(),
            given: HashMap::new(),
            refusals: Vec::new(),
        }
    }

    /// In the order of dependencies, so that a reference knows what becomes of what it points at.
    fn decide_desired(&mut self) {
        let desired = self.desired;
        for node in &desired.order {
            let Some(resource) = desired.resources.get(*node) else { continue };
            let surroundings = SeenFrom { building: self, resource };
            let observed = self.observed.get(&resource.id);
            match decide::desired(resource, self.recorded, observed, &surroundings) {
                Ok(decision) => {
                    if decision.action.makes_anew() {
                        self.made_anew.insert((&resource.id.blueprint, &resource.id.name));
                    } else if let Some(given) = (SeenFrom { building: self, resource }).given() {
                        self.given.insert(&resource.id, given);
                    }
                    if let Some(slot) = self.decisions.get_mut(*node) {
                        *slot = Some(decision);
                    }
                }
                Err(refusal) => self.refusals.push(refusal),
            }
        }
    }

    fn decide_removed(&mut self) {
        for (id, recorded) in self.recorded.known().filter(|(id, _)| !self.nodes.contains_key(id)) {
            match decide::removed(id, recorded, self.observed.get(id)) {
                Ok(decision) => {
                    let node = self.graph.add_node();
                    self.decisions.push(Some(decision));
                    self.removed.insert(node, (id, recorded));
                }
                Err(refusal) => self.refusals.push(refusal),
            }
        }
    }

    /// Nothing is deleted before all that depended on it has been deleted or changed.
    fn order_deletions(&mut self) {
        if self.removed.is_empty() {
            return;
        }
        let node_of: HashMap<&ResourceId, usize> =
            self.removed.iter().map(|(node, (id, _))| (*id, *node)).collect();
        let mut gates: HashMap<(&Name, &Name), usize> = HashMap::new();
        let mut of_name: HashMap<(&Name, &Name), Vec<usize>> = HashMap::new();
        for (node, (id, _)) in &self.removed {
            of_name.entry((&id.blueprint, &id.name)).or_default().push(*node);
            // In front of the deletions of one name stands one gate: see `Group` for why.
            let gate = *gates.entry((&id.blueprint, &id.name)).or_insert_with(|| {
                self.decisions.push(None);
                self.graph.add_node()
            });
            self.graph.add_dependency(*node, gate);
        }
        for (id, recorded) in self.recorded.known() {
            let Some(node) = self.nodes.get(id).or_else(|| node_of.get(id)).copied() else { continue };
            // What it is deleted after, where it says so itself, in the place of the reverse of its dependencies.
            if let (Some(own), true) = (&recorded.delete_dependencies, self.removed.contains_key(&node)) {
                for address in own {
                    let blueprint = address.blueprint.as_ref().unwrap_or(&id.blueprint);
                    for before in of_name.get(&(blueprint, &address.name)).into_iter().flatten() {
                        self.graph.add_dependency(node, *before);
                    }
                }
                continue;
            }
            for Address { blueprint, name, selection } in &recorded.dependencies {
                let blueprint = blueprint.as_ref().unwrap_or(&id.blueprint);
                let target = match selection {
                    Selection::Index(index) => {
                        let target = ResourceId {
                            blueprint: blueprint.clone(),
                            name: name.clone(),
                            index: Some(*index),
                        };
                        node_of.get(&target).copied()
                    }
                    Selection::Whole | Selection::All => gates.get(&(blueprint, name)).copied(),
                };
                if let Some(target) = target {
                    self.graph.add_dependency(target, node);
                }
            }
        }
    }

    /// A name on a substrate is free only when what had it is deleted.
    fn order_renamings(&mut self) {
        if self.removed.is_empty() {
            return;
        }
        let taken: HashMap<(Option<&str>, &str, String), usize> = self
            .removed
            .iter()
            .map(|(node, (_, old))| {
                ((old.facility.as_deref(), old.namespace.as_str(), old.name.clone()), *node)
            })
            .collect();
        for (node, resource) in self.desired.resources.iter().enumerate() {
            let makes_anew =
                self.decisions.get(node).and_then(Option::as_ref).is_some_and(|one| one.action.makes_anew());
            let place = (
                resource.facility().map(|facility| &**facility),
                resource.interpreted.handler.namespace(),
                resource.id.instance_name(),
            );
            if let (true, Some(old)) = (makes_anew, taken.get(&place)) {
                self.graph.add_dependency(node, *old);
            }
        }
    }
}

impl Node for Option<Decision> {
    fn acts(&self) -> bool {
        self.as_ref().is_some_and(|decision| decision.action != StepAction::Keep)
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    refusals: Vec<Refusal>,
}

impl PlanError {
    /// What stands in the way, at least one thing.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.refusals.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            refusal.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanError {}

/// A resource that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Which one.
    pub resource: ResourceId,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub advice: String,
}

impl Refusal {
    pub(super) fn new(resource: &ResourceId, reason: String, advice: &str) -> Self {
        Self { resource: resource.clone(), reason, advice: advice.to_owned() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}: {}", self.resource, self.reason, self.advice)
    }
}

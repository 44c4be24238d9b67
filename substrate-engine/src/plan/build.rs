//! Desired × recorded × observed → plan.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::decide::{self, Decision};
use super::order::{Node, Ordering};
use super::state::{Observed, Recorded, RecordedResource};
use super::step::{Plan, StepAction};
use crate::graph::DependencyGraph;
use crate::model::{Address, Name, Reference, ResourceId, Selection};
use crate::validation::Desired;

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
    refusals: Vec<Refusal>,
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
            refusals: Vec::new(),
        }
    }

    /// In the order of dependencies, so that a reference knows what becomes of what it points at.
    fn decide_desired(&mut self) {
        let desired = self.desired;
        let mut group_made_anew: HashMap<(&Name, &Name), bool> = HashMap::new();
        for node in &desired.order {
            let Some(resource) = desired.resources.get(*node) else { continue };
            let id = &resource.id;
            let made_anew = |reference: &Reference| {
                let address = &reference.address;
                let blueprint = address.blueprint.as_ref().unwrap_or(&id.blueprint);
                match address.selection {
                    Selection::Index(index) => {
                        let target = ResourceId {
                            blueprint: blueprint.clone(),
                            name: address.name.clone(),
                            index: Some(index),
                        };
                        self.nodes
                            .get(&target)
                            .and_then(|node| self.decisions.get(*node)?.as_ref())
                            .is_some_and(|decision| decision.action.makes_anew())
                    }
                    Selection::Whole | Selection::All => {
                        group_made_anew.get(&(blueprint, &address.name)).copied().unwrap_or(false)
                    }
                }
            };
            match decide::desired(resource, self.recorded.get(id), self.observed.get(id), made_anew) {
                Ok(decision) => {
                    *group_made_anew.entry((&id.blueprint, &id.name)).or_default() |=
                        decision.action.makes_anew();
                    if let Some(slot) = self.decisions.get_mut(*node) {
                        *slot = Some(decision);
                    }
                }
                Err(refusal) => self.refusals.push(refusal),
            }
        }
    }

    fn decide_removed(&mut self) {
        for (id, recorded) in self.recorded.iter().filter(|(id, _)| !self.nodes.contains_key(id)) {
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
        for (node, (id, _)) in &self.removed {
            // In front of the deletions of one name stands one gate: see `Group` for why.
            let gate = *gates.entry((&id.blueprint, &id.name)).or_insert_with(|| {
                self.decisions.push(None);
                self.graph.add_node()
            });
            self.graph.add_dependency(*node, gate);
        }
        for (id, recorded) in self.recorded.iter() {
            let Some(node) = self.nodes.get(id).or_else(|| node_of.get(id)).copied() else { continue };
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
            .map(|(node, (id, old))| {
                ((old.facility.as_deref(), old.namespace.as_str(), id.instance_name()), *node)
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

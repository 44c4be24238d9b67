//! Decisions into a plan: steps in their order, and as few gates as carry it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decide::Decision;
use super::state::RecordedResource;
use super::step::{Gate, Plan, Prerequisite, Step};
use crate::graph::DependencyGraph;
use crate::model::ResourceId;
use crate::validation::Desired;

/// A node of the graph, as far as the order cares.
pub(super) trait Node {
    /// Whether something is done there.
    fn acts(&self) -> bool;
}

pub(super) struct Ordering<'a> {
    pub(super) desired: &'a Desired,
    pub(super) removed: &'a BTreeMap<usize, (&'a ResourceId, &'a RecordedResource)>,
    pub(super) decisions: &'a [Option<Decision>],
    pub(super) graph: &'a DependencyGraph,
}

/// What a node that does nothing makes others wait for.
#[derive(Clone, Copy)]
enum Passage {
    /// Nothing that acts stands before it.
    Open,
    /// Exactly this, or it is a step itself.
    Through(Prerequisite),
}

impl Ordering<'_> {
    /// The plan, or the resources that wait for each other.
    pub(super) fn plan(&self) -> Result<Plan, Vec<ResourceId>> {
        let order = self.graph.order().map_err(|cycles| {
            let nodes = cycles.into_iter().flat_map(|cycle| cycle.nodes);
            nodes.filter_map(|node| self.resource(node)).cloned().collect::<Vec<_>>()
        })?;
        let mut plan = Plan::default();
        let mut passages = vec![Passage::Open; self.graph.len()];
        for node in order {
            let mut after: Vec<Prerequisite> = self
                .graph
                .dependencies(node)
                .into_iter()
                .filter_map(|dependency| match passages.get(dependency) {
                    Some(Passage::Through(prerequisite)) => Some(*prerequisite),
                    _ => None,
                })
                .collect();
            after.sort_unstable();
            after.dedup();
            let passage = match self.step(node, &mut after) {
                Some(step) => {
                    plan.steps.push(step);
                    Passage::Through(Prerequisite::Step(plan.steps.len() - 1))
                }
                None => match after.as_slice() {
                    [] => Passage::Open,
                    [only] => Passage::Through(*only),
                    _ => {
                        plan.gates.push(Gate { label: self.label(node), after });
                        Passage::Through(Prerequisite::Gate(plan.gates.len() - 1))
                    }
                },
            };
            if let Some(slot) = passages.get_mut(node) {
                *slot = passage;
            }
        }
        without_dead_ends(&mut plan);
        let kept = self.desired.resources.iter().zip(self.decisions).filter(|(_, decision)| !decision.acts());
        plan.kept = kept.map(|(resource, _)| resource.id.clone()).collect();
        Ok(plan)
    }

    fn step(&self, node: usize, after: &mut Vec<Prerequisite>) -> Option<Step> {
        let decision = self.decisions.get(node).filter(|decision| decision.acts())?.as_ref()?;
        let (resource, kind, facility) = match self.desired.resources.get(node) {
            Some(resource) => {
                (&resource.id, resource.declaration.kind.value.clone(), resource.facility().cloned())
            }
            None => {
                let (id, recorded) = *self.removed.get(&node)?;
                (id, Arc::from(recorded.kind.as_str()), recorded.facility.as_deref().map(Arc::from))
            }
        };
        Some(Step {
            action: decision.action,
            resource: resource.clone(),
            kind,
            facility,
            causes: decision.causes.clone(),
            after: std::mem::take(after),
        })
    }

    fn resource(&self, node: usize) -> Option<&ResourceId> {
        let desired = self.desired.resources.get(node).map(|resource| &resource.id);
        desired.or_else(|| self.removed.get(&node).map(|(id, _)| *id))
    }

    fn label(&self, node: usize) -> String {
        if let Some(resource) = self.resource(node) {
            return resource.to_string();
        }
        let group =
            node.checked_sub(self.desired.resources.len()).and_then(|index| self.desired.groups.get(index));
        match group {
            Some(group) => group.label.clone(),
            // What stands behind the gate in front of deletions is all of one name.
            None => self
                .graph
                .dependents(node)
                .first()
                .and_then(|node| self.resource(*node))
                .map(|id| format!("all that used {}/{}", id.blueprint, id.name))
                .unwrap_or_default(),
        }
    }
}

/// Takes out the gates behind which nothing waits.
fn without_dead_ends(plan: &mut Plan) {
    let mut used = vec![false; plan.gates.len()];
    let mark = |after: &[Prerequisite], used: &mut Vec<bool>| {
        for prerequisite in after {
            if let Prerequisite::Gate(number) = prerequisite
                && let Some(slot) = used.get_mut(*number)
            {
                *slot = true;
            }
        }
    };
    plan.steps.iter().for_each(|step| mark(&step.after, &mut used));
    // Gates stand in order, so what waits for one stands behind it.
    for (number, gate) in plan.gates.iter().enumerate().rev() {
        if used.get(number).copied().unwrap_or(false) {
            mark(&gate.after, &mut used);
        }
    }
    let mut left = 0;
    let renumbered: Vec<usize> = used
        .iter()
        .map(|used| {
            left += usize::from(*used);
            left.saturating_sub(1)
        })
        .collect();
    let mut kept = used.iter();
    plan.gates.retain(|_| kept.next().copied().unwrap_or(false));
    let steps = plan.steps.iter_mut().map(|step| &mut step.after);
    for after in steps.chain(plan.gates.iter_mut().map(|gate| &mut gate.after)) {
        for prerequisite in after {
            if let Prerequisite::Gate(number) = prerequisite
                && let Some(new) = renumbered.get(*number)
            {
                *number = *new;
            }
        }
    }
}

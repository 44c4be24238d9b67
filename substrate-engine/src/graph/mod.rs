//! Who comes after whom: a directed graph of numbered things, its order, and its cycles with their whole path.

mod cycle;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

pub use cycle::Cycle;

/// Dependencies between nodes `0..n`. Time and memory are linear in nodes and dependencies.
///
/// ```
/// use substrate_engine::graph::DependencyGraph;
/// let mut graph = DependencyGraph::with_nodes(3);
/// graph.add_dependency(0, 2);
/// graph.add_dependency(1, 2);
/// assert_eq!(graph.order().as_deref(), Ok([2, 0, 1].as_slice()));
/// ```
#[derive(Debug, Clone, Default)]
pub struct DependencyGraph {
    /// Edges lead from a node to what it depends on.
    graph: DiGraph<(), (), u32>,
}

impl DependencyGraph {
    /// Nodes without dependencies.
    #[must_use]
    pub fn with_nodes(count: usize) -> Self {
        let mut graph = DiGraph::with_capacity(count, count);
        for _ in 0..count {
            graph.add_node(());
        }
        Self { graph }
    }

    /// Adds a node and returns its number.
    pub fn add_node(&mut self) -> usize {
        self.graph.add_node(()).index()
    }

    /// Lets `dependent` come after `dependency`. Twice is the same as once; a node that does not exist is ignored.
    pub fn add_dependency(&mut self, dependent: usize, dependency: usize) {
        if dependent < self.len() && dependency < self.len() {
            self.graph.add_edge(NodeIndex::new(dependent), NodeIndex::new(dependency), ());
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `node` depends on directly, in ascending order.
    #[must_use]
    pub fn dependencies(&self, node: usize) -> Vec<usize> {
        self.neighbours(node, Direction::Outgoing)
    }

    /// What depends on `node` directly, in ascending order.
    #[must_use]
    pub fn dependents(&self, node: usize) -> Vec<usize> {
        self.neighbours(node, Direction::Incoming)
    }

    fn neighbours(&self, node: usize, direction: Direction) -> Vec<usize> {
        let neighbours = self.graph.neighbors_directed(NodeIndex::new(node), direction);
        let mut neighbours: Vec<usize> = neighbours.map(NodeIndex::index).collect();
        neighbours.sort_unstable();
        neighbours.dedup();
        neighbours
    }

    /// Every node after all that it depends on; among those that could come next, the lowest number comes first. So
    /// the order depends on the graph alone, not on the order in which dependencies were added.
    ///
    /// # Errors
    /// The cycles, when there are any: at least one of every group of nodes that go around.
    pub fn order(&self) -> Result<Vec<usize>, Vec<Cycle>> {
        // `petgraph::algo::toposort` breaks ties by insertion and names one node of a cycle only.
        let mut waiting_for: Vec<usize> = Vec::with_capacity(self.len());
        let mut ready = BinaryHeap::new();
        for node in 0..self.len() {
            let count = self.graph.neighbors_directed(NodeIndex::new(node), Direction::Outgoing).count();
            waiting_for.push(count);
            if count == 0 {
                ready.push(Reverse(node));
            }
        }
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(node)) = ready.pop() {
            order.push(node);
            for dependent in self.graph.neighbors_directed(NodeIndex::new(node), Direction::Incoming) {
                if let Some(count) = waiting_for.get_mut(dependent.index()) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(Reverse(dependent.index()));
                    }
                }
            }
        }
        if order.len() == self.len() { Ok(order) } else { Err(cycle::cycles(&self.graph)) }
    }
}

//! Cycles, with their whole path.

use std::collections::VecDeque;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

/// Nodes of which each depends on the next, and the last one on the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// The nodes, beginning with the lowest number.
    pub nodes: Vec<usize>,
}

/// One shortest cycle through the lowest node of every group of nodes that go around.
///
/// The groups come from `kosaraju_scc`: `tarjan_scc` is recursive, and a chain of ten thousand resources would
/// overflow the stack and end the process.
pub(super) fn cycles(graph: &DiGraph<(), (), u32>) -> Vec<Cycle> {
    let groups = kosaraju_scc(graph);
    let mut group_of = vec![usize::MAX; graph.node_count()];
    for (number, group) in groups.iter().enumerate() {
        for node in group {
            if let Some(slot) = group_of.get_mut(node.index()) {
                *slot = number;
            }
        }
    }
    let mut cycles: Vec<Cycle> = groups
        .iter()
        .filter_map(|group| group.iter().min().copied())
        .filter_map(|first| shortest_cycle(graph, first, &group_of))
        .collect();
    cycles.sort_by(|left, right| left.nodes.cmp(&right.nodes));
    cycles
}

/// Breadth first from `first` along dependencies of its group, until one leads back to it.
fn shortest_cycle(graph: &DiGraph<(), (), u32>, first: NodeIndex<u32>, group_of: &[usize]) -> Option<Cycle> {
    let group = group_of.get(first.index())?;
    let mut reached_from = std::collections::HashMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(node) = queue.pop_front() {
        let mut next: Vec<NodeIndex<u32>> = graph.neighbors(node).collect();
        next.sort_unstable();
        for dependency in next {
            if dependency == first {
                let mut nodes = vec![node.index()];
                let mut at = node;
                while at != first {
                    at = *reached_from.get(&at)?;
                    nodes.push(at.index());
                }
                nodes.reverse();
                return Some(Cycle { nodes });
            }
            if group_of.get(dependency.index()) == Some(group) && !reached_from.contains_key(&dependency) {
                reached_from.insert(dependency, node);
                queue.push_back(dependency);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::DependencyGraph;

    fn graph(nodes: usize, edges: &[(usize, usize)]) -> DependencyGraph {
        let mut graph = DependencyGraph::with_nodes(nodes);
        for (dependent, dependency) in edges {
            graph.add_dependency(*dependent, *dependency);
        }
        graph
    }

    fn cycles(nodes: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
        graph(nodes, edges).order().unwrap_err().into_iter().map(|cycle| cycle.nodes).collect()
    }

    #[test]
    fn a_cycle_is_reported_with_its_whole_path() {
        assert_eq!(cycles(5, &[(0, 1), (1, 2), (2, 3), (3, 1), (4, 0)]), [[1, 2, 3]]);
    }

    #[test]
    fn a_node_that_depends_on_itself_is_a_cycle() {
        assert_eq!(cycles(2, &[(1, 1)]), [[1]]);
    }

    #[test]
    fn every_separate_cycle_is_reported() {
        assert_eq!(cycles(4, &[(0, 1), (1, 0), (2, 3), (3, 2)]), [[0, 1], [2, 3]]);
    }

    #[test]
    fn a_cycle_of_a_hundred_thousand_overflows_no_stack() {
        let count = 100_000;
        let edges: Vec<(usize, usize)> = (0..count).map(|node| (node, (node + 1) % count)).collect();
        assert_eq!(cycles(count, &edges)[0].len(), count);
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_is_ordered() {
        let edges: Vec<(usize, usize)> = (1..100_000).map(|node| (node - 1, node)).collect();
        let order = graph(100_000, &edges).order().unwrap();
        assert_eq!((order[0], order[99_999]), (99_999, 0));
    }

    #[test]
    fn a_dependency_that_is_added_twice_counts_once() {
        let graph = graph(2, &[(0, 1), (0, 1)]);
        assert_eq!(graph.order().unwrap(), [1, 0]);
        assert_eq!((graph.dependencies(0), graph.dependents(1)), (vec![1], vec![0]));
    }
}

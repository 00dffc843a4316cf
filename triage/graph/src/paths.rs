//! Shortest paths from the roots, to explain why a node is alive.

use crate::graph::{Follow, Graph};
use crate::roots::{GroupId, Roots};

/// Marks a node that was not reached.
const NONE: u32 = u32::MAX;

/// How a root holds a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPath {
    /// The root.
    pub group: GroupId,
    /// From the node that the root refers to, down to the node asked for.
    pub nodes: Vec<u32>,
}

/// A breadth-first forest from the roots: 4 bytes per node.
pub struct ShortestPaths {
    nodes: u32,
    /// A node, or `nodes + group` for a node that a root refers to.
    parent: Vec<u32>,
}

impl ShortestPaths {
    /// Computes the forest. `rank` orders root kinds: everything that a kind of lower rank reaches is explained by it,
    /// even if another kind has a shorter path. Kinds without a rank hold nothing. O(n + e) over all ranks.
    #[must_use]
    pub fn compute(
        graph: &Graph,
        roots: &Roots,
        follow: Follow,
        rank: impl Fn(u8) -> Option<u8>,
    ) -> Self {
        let nodes = graph.nodes();
        let mut paths = Self {
            nodes,
            parent: vec![NONE; nodes as usize],
        };
        let mut slots: Vec<(u8, u32, u32)> = roots
            .slots()
            .filter(|&(_, node)| node < nodes)
            .filter_map(|(group, node)| Some((rank(roots.kind(group)?)?, group.0, node)))
            .collect();
        slots.sort_unstable();
        let (mut frontier, mut next) = (Vec::new(), Vec::new());
        for same_rank in slots.chunk_by(|a, b| a.0 == b.0) {
            for &(_, group, node) in same_rank {
                paths.reach(node, nodes.saturating_add(group), &mut frontier);
            }
            while !frontier.is_empty() {
                for node in frontier.drain(..) {
                    for target in graph.successors(node, follow) {
                        paths.reach(target, node, &mut next);
                    }
                }
                std::mem::swap(&mut frontier, &mut next);
            }
        }
        paths
    }

    fn reach(&mut self, node: u32, from: u32, frontier: &mut Vec<u32>) {
        let parent = &mut self.parent[node as usize];
        if *parent == NONE {
            *parent = from;
            frontier.push(node);
        }
    }

    /// The path to `node`; `None` when no ranked root reaches it.
    #[must_use]
    pub fn path(&self, node: u32) -> Option<RootPath> {
        let mut nodes = Vec::new();
        let mut at = node;
        loop {
            let parent = *self.parent.get(at as usize)?;
            if parent == NONE {
                return None;
            }
            nodes.push(at);
            if parent >= self.nodes {
                nodes.reverse();
                return Some(RootPath {
                    group: GroupId(parent - self.nodes),
                    nodes,
                });
            }
            at = parent;
        }
    }

    /// The node before `node` on its path; `None` for a node that a root refers to, and for one that is not reached.
    #[must_use]
    pub fn parent(&self, node: u32) -> Option<u32> {
        self.parent
            .get(node as usize)
            .copied()
            .filter(|&p| p < self.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::GraphError;

    #[test]
    fn the_better_kind_explains_even_if_its_path_is_longer() -> Result<(), GraphError> {
        // static -> 0 -> 1 -> 2; stack -> 2, 3; handle (no rank) -> 4.
        let graph = Graph::from_edges(5, &[(0, 1), (1, 2), (3, 4)])?;
        let mut roots = Roots::new();
        let (stack, statics, handle) = (roots.group(2), roots.group(1), roots.group(3));
        roots.add(stack, 2);
        roots.add(stack, 3);
        roots.add(statics, 0);
        roots.add(handle, 4);
        let rank = |kind| (kind < 3).then_some(kind);
        let paths = ShortestPaths::compute(&graph, &roots, Follow::STRONG, rank);
        let path = |group, nodes: &[u32]| {
            Some(RootPath {
                group,
                nodes: nodes.to_vec(),
            })
        };
        assert_eq!(paths.path(2), path(statics, &[0, 1, 2]));
        assert_eq!(paths.path(4), path(stack, &[3, 4]));
        assert_eq!(paths.path(5), None);
        let only_handles =
            ShortestPaths::compute(&graph, &roots, Follow::STRONG, |k| (k == 3).then_some(0));
        assert_eq!(only_handles.path(0), None);
        assert_eq!(only_handles.path(4), path(handle, &[4]));
        Ok(())
    }
}

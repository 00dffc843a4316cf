//! Reachability.

use crate::graph::{Follow, Graph};
use crate::node_set::NodeSet;

/// Marks what is reachable, from one set of roots after the other.
///
/// Dependent handles need no iteration to a fixed point: a secondary is visited the moment its primary is.
/// O(n + e) for all calls together; 1/8 byte per node and a stack of at most 4 bytes per marked node.
pub struct Marker<'g> {
    graph: &'g Graph,
    follow: Follow,
    marked: NodeSet,
    stack: Vec<u32>,
}

impl<'g> Marker<'g> {
    /// Nothing is marked yet.
    #[must_use]
    pub fn new(graph: &'g Graph, follow: Follow) -> Self {
        Self {
            graph,
            follow,
            marked: NodeSet::new(graph.nodes()),
            stack: Vec::new(),
        }
    }

    /// Marks what `roots` reach and calls `visit` for every node that was not marked before.
    pub fn mark(&mut self, roots: impl IntoIterator<Item = u32>, mut visit: impl FnMut(u32)) {
        for root in roots {
            if root >= self.graph.nodes() || !self.marked.insert(root) {
                continue;
            }
            visit(root);
            self.stack.push(root);
            while let Some(node) = self.stack.pop() {
                for next in self.graph.successors(node, self.follow) {
                    if self.marked.insert(next) {
                        visit(next);
                        self.stack.push(next);
                    }
                }
            }
        }
    }

    /// What is marked so far.
    #[must_use]
    pub fn marked(&self) -> &NodeSet {
        &self.marked
    }

    /// What is marked.
    #[must_use]
    pub fn into_marked(self) -> NodeSet {
        self.marked
    }
}

/// For every node the first of several root sets that reaches it: 1 byte per node.
///
/// With the sets "strong roots", "ready for finalization", "registered for finalization" it tells live objects from
/// those that wait for their finalizer and from garbage.
pub struct Reached {
    first: Vec<u8>,
}

/// Mark of a node that no set reaches.
const NOBODY: u8 = u8::MAX;
/// The most root sets.
pub const MAX_SETS: usize = NOBODY as usize;

impl Reached {
    /// Marks from each of the sets in turn; sets beyond [`MAX_SETS`] are not looked at.
    #[must_use]
    pub fn by_first<I: IntoIterator<Item = u32>>(
        graph: &Graph,
        sets: impl IntoIterator<Item = I>,
        follow: Follow,
    ) -> Self {
        let mut first = vec![NOBODY; graph.nodes() as usize];
        let mut marker = Marker::new(graph, follow);
        for (i, roots) in sets.into_iter().take(MAX_SETS).enumerate() {
            marker.mark(roots, |node| first[node as usize] = i as u8);
        }
        Self { first }
    }

    /// Index of the first set that reaches `node`.
    #[must_use]
    pub fn by(&self, node: u32) -> Option<usize> {
        let first = *self.first.get(node as usize)?;
        (first != NOBODY).then_some(usize::from(first))
    }

    /// Nodes and bytes by the set that reaches them first; the last element is what no set reaches.
    #[must_use]
    pub fn totals(&self, sets: usize, size: impl Fn(u32) -> u64) -> Vec<(u64, u64)> {
        let mut totals = vec![(0, 0); sets + 1];
        for (node, &by) in self.first.iter().enumerate() {
            let (count, bytes): &mut (u64, u64) = &mut totals[usize::from(by).min(sets)];
            *count += 1;
            *bytes = bytes.saturating_add(size(node as u32));
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::GraphError;
    use crate::graph::{EdgeClass, ExtraEdge};

    #[test]
    fn sets_claim_nodes_in_order_and_ephemerons_follow_their_primary() -> Result<(), GraphError> {
        // 0 -> 1; dependent 1 => 2 => 3 (a chain of ephemerons); 4 -> 1, 4 -> 5; 6 alone.
        let dependent = |from, to| ExtraEdge {
            from,
            to,
            class: EdgeClass::Dependent,
            tag: 0,
        };
        let graph = Graph::from_edges(7, &[(0, 1), (4, 1), (4, 5)])?
            .with_extra([dependent(2, 3), dependent(1, 2)]);
        let reached = Reached::by_first(&graph, [vec![0], vec![4]], Follow::LIVE);
        let by: Vec<_> = (0..7).map(|n| reached.by(n)).collect();
        assert_eq!(
            by,
            [Some(0), Some(0), Some(0), Some(0), Some(1), Some(1), None]
        );
        assert_eq!(reached.totals(2, |_| 10), [(4, 40), (2, 20), (1, 10)]);
        let strong = Reached::by_first(&graph, [[0]], Follow::STRONG);
        assert_eq!(strong.by(2), None);
        Ok(())
    }

    #[test]
    fn a_root_that_is_no_node_is_ignored() -> Result<(), GraphError> {
        let graph = Graph::from_edges(1, &[])?;
        let mut marker = Marker::new(&graph, Follow::LIVE);
        marker.mark([7, u32::MAX], |_| ());
        assert!(marker.marked().is_empty());
        Ok(())
    }
}

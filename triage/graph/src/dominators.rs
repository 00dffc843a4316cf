//! Dominators by the SEMI-NCA algorithm.
//!
//! L. Georgiadis, "Linear-Time Algorithms for Dominators and Related Problems", Princeton 2005, section 2.3. Chosen over
//! the iterative algorithm (Cooper, Harvey, Kennedy), which needs one pass per link of a list that is entered from
//! both ends: such lists (LRU caches, timers, linked queues) are ordinary in .NET heaps.
//!
//! A depth-first search comes first ([`Search`]); what follows works in its numbers.

use crate::error::GraphError;
use crate::graph::{Follow, Graph};
use crate::roots::{GroupId, Roots};
use crate::search::Search;

/// Marks an unreachable node and other absent numbers.
pub(crate) const NONE: u32 = u32::MAX;

/// Who dominates a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// Another node.
    Node(u32),
    /// One group of roots and nobody else.
    Group(GroupId),
    /// Several groups of roots together; none of them alone.
    Several,
}

/// Immediate dominators of everything that the roots reach: 8 bytes per reachable node.
pub struct Dominators {
    pub(crate) nodes: u32,
    pub(crate) groups: u32,
    /// Preorder number to vertex: node, `nodes + group`, or `nodes + groups` for the top (number 0).
    pub(crate) order: Vec<u32>,
    /// Preorder number to that of the immediate dominator; 0 for the top itself.
    pub(crate) idom: Vec<u32>,
}

impl Dominators {
    /// Computes the dominators: [`Search::new`] and [`Search::solve`] in one.
    ///
    /// # Errors
    /// [`GraphError::TooManyNodes`], [`GraphError::TooManyEdges`].
    pub fn compute(
        graph: &Graph,
        roots: &Roots,
        follow: Follow,
        rank: impl Fn(u8) -> u8,
    ) -> Result<Self, GraphError> {
        Search::new(graph, roots, follow, rank)?.solve(graph, graph.rows())
    }

    /// Number of nodes that the roots reach.
    #[must_use]
    pub fn reachable(&self) -> u32 {
        self.order.len() as u32 - 1 - self.groups
    }

    /// Nodes, groups, vertices by preorder number, immediate dominators by preorder number.
    pub(crate) fn into_parts(self) -> (u32, u32, Vec<u32>, Vec<u32>) {
        (self.nodes, self.groups, self.order, self.idom)
    }
}

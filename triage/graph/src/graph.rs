//! The object graph: strong edges in rows, the few edges of other classes beside them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::error::GraphError;
use crate::node_set::NodeSet;
use crate::rows::{EdgeSink, Edges, Listed, Rows, Sources, Targets};

/// Ids from here on are never nodes: room for root groups and marks.
pub(crate) const MAX_NODES: u64 = u32::MAX as u64 - 2;

/// What an edge that is not strong means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EdgeClass {
    /// Keeps its target alive. These are in the rows, never among the extra edges.
    Strong = 0,
    /// Primary to secondary of a dependent handle (an ephemeron): the secondary lives as long as the primary does.
    Dependent = 1,
    /// Does not keep its target alive.
    Weak = 2,
    /// Holds only until the target's finalizer has run.
    Finalizer = 3,
}

/// Classes of edges to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follow(u8);

impl Follow {
    /// Strong edges only.
    pub const STRONG: Self = Self(1 << EdgeClass::Strong as u8);
    /// What the collector follows when it decides what lives: strong edges, and dependent handles of live primaries.
    pub const LIVE: Self = Self::STRONG.and(EdgeClass::Dependent);

    /// These classes and one more.
    #[must_use]
    pub const fn and(self, class: EdgeClass) -> Self {
        Self(self.0 | 1 << class as u8)
    }

    /// Whether edges of `class` are followed.
    #[must_use]
    pub const fn follows(self, class: EdgeClass) -> bool {
        self.0 & 1 << class as u8 != 0
    }
}

/// An edge that is not strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtraEdge {
    /// Source; the primary of a dependent handle.
    pub from: u32,
    /// Target; the secondary of a dependent handle.
    pub to: u32,
    /// Its class.
    pub class: EdgeClass,
    /// Whatever the caller wants to find again, such as the index of the handle.
    pub tag: u32,
}

/// Nodes `0..nodes` and their edges: strong ones packed, 16 bytes per extra edge, and 1/8 byte per node when there are extra edges.
#[derive(Debug, Clone)]
pub struct Graph {
    strong: Rows,
    extra: Arc<Extra>,
    dropped: u64,
}

/// Edges that are not strong: few, and shared by everything that is made of a graph.
#[derive(Debug, Clone)]
pub(crate) struct Extra {
    /// In order.
    edges: Vec<ExtraEdge>,
    /// Nodes that have some.
    from: NodeSet,
}

impl Extra {
    fn new(nodes: u32, mut edges: Vec<ExtraEdge>) -> Self {
        edges.sort_unstable();
        let mut from = NodeSet::new(if edges.is_empty() { 0 } else { nodes });
        for edge in &edges {
            from.insert(edge.from);
        }
        Self { edges, from }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[ExtraEdge] {
        &self.edges
    }

    #[inline]
    pub(crate) fn of(&self, node: u32) -> &[ExtraEdge] {
        if !self.from.contains(node) {
            return &[];
        }
        let from = self.edges.partition_point(|e| e.from < node);
        let len = self.edges[from..].partition_point(|e| e.from == node);
        &self.edges[from..from + len]
    }
}

impl Graph {
    /// Packs the strong edges of a source.
    ///
    /// # Errors
    /// See [`Rows::pack`].
    pub fn pack(edges: &impl Edges) -> Result<Self, GraphError> {
        let strong = Rows::pack(edges)?;
        Ok(Self {
            extra: Arc::new(Extra::new(strong.nodes(), Vec::new())),
            strong,
            dropped: 0,
        })
    }

    /// Packs strong edges that come in any order; `source` is called once for each stretch of nodes, in parallel.
    ///
    /// # Errors
    /// See [`Rows::pack`].
    pub fn build(
        nodes: u64,
        source: impl Fn(Range<u32>, &mut EdgeSink) + Sync,
    ) -> Result<Self, GraphError> {
        let count = u32::try_from(nodes).ok().filter(|_| nodes <= MAX_NODES);
        let listed = Listed {
            nodes: count.ok_or(GraphError::TooManyNodes {
                nodes,
                groups: 0,
                max: MAX_NODES,
            })?,
            source,
            dropped: AtomicU64::new(0),
        };
        let graph = Self::pack(&listed)?;
        Ok(Self {
            dropped: listed.dropped.into_inner(),
            ..graph
        })
    }

    /// Every edge the other way round, of all classes. O(n + e).
    ///
    /// # Errors
    /// [`GraphError::TooManyEdges`].
    pub fn reversed(&self) -> Result<Reversed, GraphError> {
        let back = |edge: &ExtraEdge| ExtraEdge {
            from: edge.to,
            to: edge.from,
            ..*edge
        };
        let extra = self.extra.edges.iter().map(back).collect();
        Ok(Reversed {
            strong: Sources::of(&self.strong)?,
            extra: Extra::new(self.nodes(), extra),
        })
    }

    /// Builds from a list of strong edges; for small graphs and tests.
    ///
    /// # Errors
    /// See [`Rows::pack`].
    pub fn from_edges(nodes: u64, edges: &[(u32, u32)]) -> Result<Self, GraphError> {
        Self::build(nodes, |range, sink| {
            for &(from, to) in edges.iter().filter(|(from, _)| range.contains(from)) {
                sink.edge(from, to);
            }
        })
    }

    /// Adds edges that are not strong. Strong ones and those that lead nowhere are dropped and counted.
    #[must_use]
    pub fn with_extra(mut self, edges: impl IntoIterator<Item = ExtraEdge>) -> Self {
        let nodes = self.nodes();
        let mut extra = self.extra.edges.clone();
        for edge in edges {
            if edge.from < nodes && edge.to < nodes && edge.class != EdgeClass::Strong {
                extra.push(edge);
            } else {
                self.dropped += 1;
            }
        }
        self.extra = Arc::new(Extra::new(nodes, extra));
        self
    }

    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.strong.nodes()
    }

    /// Number of strong edges; several from one node to another count as one.
    #[must_use]
    pub fn strong_edges(&self) -> u64 {
        self.strong.edges()
    }

    /// Edges that led to no node and were left out.
    #[must_use]
    pub fn dropped_edges(&self) -> u64 {
        self.dropped
    }

    /// The strong edges of all nodes.
    #[must_use]
    pub fn rows(&self) -> &Rows {
        &self.strong
    }

    /// Targets of the strong edges of `node`, ascending.
    ///
    /// # Panics
    /// There is no such node.
    #[must_use]
    #[inline]
    pub fn strong(&self, node: u32) -> Targets<'_> {
        self.strong.row(node)
    }

    /// Edges of `node` that are not strong.
    #[must_use]
    #[inline]
    pub fn extra(&self, node: u32) -> &[ExtraEdge] {
        self.extra.of(node)
    }

    pub(crate) fn all_extra(&self) -> Arc<Extra> {
        Arc::clone(&self.extra)
    }

    /// Targets of all edges of `node` whose class is followed.
    ///
    /// # Panics
    /// There is no such node.
    #[inline]
    pub fn successors(&self, node: u32, follow: Follow) -> impl Iterator<Item = u32> {
        let strong = follow
            .follows(EdgeClass::Strong)
            .then(|| self.strong(node))
            .into_iter();
        let extra = self.extra(node).iter();
        strong
            .flatten()
            .chain(extra.filter(move |e| follow.follows(e.class)).map(|e| e.to))
    }

    /// Class of the strongest edge between two nodes.
    ///
    /// # Panics
    /// There is no such node.
    #[must_use]
    pub fn class(&self, from: u32, to: u32) -> Option<EdgeClass> {
        if self.strong(from).any(|target| target == to) {
            return Some(EdgeClass::Strong);
        }
        self.extra(from)
            .iter()
            .filter(|e| e.to == to)
            .map(|e| e.class)
            .min()
    }
}

/// A graph's edges the other way round, for searches backwards: 4 bytes per node and per edge.
#[derive(Debug)]
pub struct Reversed {
    strong: Sources,
    extra: Extra,
}

impl Reversed {
    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.strong.nodes()
    }

    /// Nodes with an edge to `node` whose class is followed.
    ///
    /// # Panics
    /// There is no such node.
    pub fn predecessors(&self, node: u32, follow: Follow) -> impl Iterator<Item = u32> {
        let strong = if follow.follows(EdgeClass::Strong) {
            self.strong.of_node(node)
        } else {
            &[]
        };
        let extra = self.extra.of(node).iter();
        strong
            .iter()
            .copied()
            .chain(extra.filter(move |e| follow.follows(e.class)).map(|e| e.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_kept_apart() -> Result<(), GraphError> {
        let extra = |from, to, class| ExtraEdge {
            from,
            to,
            class,
            tag: 9,
        };
        let graph = Graph::from_edges(4, &[(0, 1)])?.with_extra([
            extra(1, 3, EdgeClass::Weak),
            extra(1, 2, EdgeClass::Dependent),
            extra(2, 4, EdgeClass::Weak),
            extra(2, 3, EdgeClass::Strong),
        ]);
        assert_eq!(graph.dropped_edges(), 2);
        let all = |node, follow| graph.successors(node, follow).collect::<Vec<_>>();
        assert_eq!(all(1, Follow::STRONG), [0u32; 0]);
        assert_eq!(all(1, Follow::LIVE), [2]);
        assert_eq!(all(1, Follow::LIVE.and(EdgeClass::Weak)), [2, 3]);
        assert_eq!(graph.class(0, 1), Some(EdgeClass::Strong));
        assert_eq!(graph.class(1, 3), Some(EdgeClass::Weak));
        assert_eq!(graph.class(3, 1), None);
        Ok(())
    }

    #[test]
    fn more_nodes_than_ids_are_refused_before_anything_is_allocated() {
        let error = Graph::build(1 << 32, |_, _| {}).err();
        assert!(matches!(error, Some(GraphError::TooManyNodes { .. })));
    }
}

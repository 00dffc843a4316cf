//! Why a graph could not be built.

/// A graph that does not fit the number types, or an edge source that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Ids are `u32`, and a few are needed for roots.
    #[error("{nodes} nodes and {groups} root groups do not fit 32-bit ids; at most {max} do")]
    TooManyNodes {
        /// Nodes asked for.
        nodes: u64,
        /// Root groups asked for.
        groups: u64,
        /// The most that fit.
        max: u64,
    },
    /// Positions of edges are `u32`.
    #[error("{edges} edges do not fit 32-bit positions; at most {max} do")]
    TooManyEdges {
        /// Edges found.
        edges: u64,
        /// The most that fit.
        max: u64,
    },
    /// A row that is no row.
    #[error(
        "the edges of node {node} contradict themselves: nodes must rise, and so must the targets of each, and lead to nodes"
    )]
    BadRow {
        /// The first such node.
        node: u32,
    },
    /// A later pass over the edges did not give what the first one counted.
    #[error(
        "the edges changed between two passes over them: {counted} were counted, {found} were found; read a capture, not what runs"
    )]
    Unstable {
        /// Edges of the first pass.
        counted: u64,
        /// Edges of a later one.
        found: u64,
    },
}

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
    /// Edge positions are `u32`.
    #[error("{edges} edges do not fit 32-bit positions; at most {max} do")]
    TooManyEdges {
        /// Edges found.
        edges: u64,
        /// The most that fit.
        max: u64,
    },
    /// Rows that are no rows.
    #[error(
        "the rows of edges contradict themselves: starts must rise from 0 to the number of edges, and lead to nodes"
    )]
    BadRows,
    /// The second pass over the edges did not give what the first pass counted.
    #[error(
        "the edges of node {node} changed between counting and filling: the source is not stable"
    )]
    Unstable {
        /// First node whose edges differ.
        node: u32,
    },
}

//! Numbers only: graphs in packed rows, reachability, dominators, retained size, paths.
//!
//! Invariant: nothing here names a runtime type; nodes are numbers. No I/O.
//!
//! # What costs what
//!
//! `n` nodes, `e` strong edges, `b` edges that are not in the depth-first tree (about `e - n` in a heap), of which at most
//! `2 n + 4 million` are held at once.
//!
//! | step | time | bytes held | further bytes while it runs |
//! |---|---|---|---|
//! | [`Graph`] | O(n + e), chunks in parallel | 2 per node, and per edge from some bits to 3 or 4 bytes | none |
//! | [`Marker`], [`Reached`] | O(n + e) | 1/8 per node; 1 per node | 4 per node on the deepest frontier |
//! | [`Owners`] | O(n + e) | 6 per node | 1/8 per node, 4 per node of the two widest levels |
//! | [`Search`] | O(n + e) | 8 per node | 1/8 per node |
//! | [`Dominators`] | O((n + e) log n) at worst, linear in practice | 8 per node | 20 per node + 4 per `b` edge; no graph |
//! | [`DominatorTree`] | O(n) | 20 per node | 8 per node |
//! | [`paths::from_each_kind`] | O(n + e) | none | 4 per node, 8 per node on the widest frontier |
//!
//! ```
//! use leakhound_graph::{DominatorTree, Dominators, Follow, Graph, Roots};
//!
//! // 0 -> 1 -> {2, 3}; 4 -> 3; 5 is garbage.
//! let edges = [(0, 1), (1, 2), (1, 3), (4, 3), (5, 2)];
//! let graph = Graph::from_edges(6, &edges)?;
//! let mut roots = Roots::new();
//! let cache = roots.group(0);
//! roots.add(cache, 0);
//! let stack = roots.group(1);
//! roots.add(stack, 4);
//!
//! let dominators = Dominators::compute(&graph, &roots, Follow::STRONG, |_kind| 0)?;
//! let tree = DominatorTree::new(dominators, 1, |_node| 100);
//! assert_eq!(tree.retained(0), 300); // itself, 1 and 2; node 3 is shared with 4
//! assert_eq!(tree.retained_by_group(stack), 100);
//! assert_eq!(tree.idom(5), None); // unreachable
//! # Ok::<(), leakhound_graph::GraphError>(())
//! ```

pub mod dominator_tree;
pub mod dominators;
pub mod error;
pub mod graph;
pub mod node_set;
pub mod owners;
pub mod paths;
pub mod reach;
pub mod roots;
pub mod rows;
pub mod search;
mod semi_nca;

pub use dominator_tree::{DominatorTree, TypeRetained};
pub use dominators::{Dominators, Holder};
pub use error::GraphError;
pub use graph::{EdgeClass, ExtraEdge, Follow, Graph, Reversed};
pub use node_set::NodeSet;
pub use owners::{Owners, Share};
pub use paths::RootPath;
pub use reach::{Marker, Reached};
pub use roots::{GroupId, Roots};
pub use rows::{EdgeSink, Edges, RowBuffer, Rows};
pub use search::Search;

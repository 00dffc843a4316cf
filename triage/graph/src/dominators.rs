//! Dominators by the SEMI-NCA algorithm.
//!
//! L. Georgiadis, "Linear-Time Algorithms for Dominators and Related Problems", Princeton 2005, section 2.3. Chosen over
//! the iterative algorithm (Cooper, Harvey, Kennedy), which needs one pass per link of a list that is entered from
//! both ends: such lists (LRU caches, timers, linked queues) are ordinary in .NET heaps.
//!
//! The graph is extended by one vertex per root group and one above all groups. Work happens in preorder numbers of a
//! depth-first walk without recursion. Tree edges are not stored again as predecessors, since a vertex's parent is
//! known anyway: in a heap that leaves a fraction of the edges.

use crate::error::GraphError;
use crate::graph::{ExtraEdge, Follow, Graph, MAX_NODES};
use crate::roots::{GroupId, Roots};

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

/// Immediate dominators of everything that the roots reach: 12 bytes per node.
pub struct Dominators {
    nodes: u32,
    groups: u32,
    /// Preorder number to vertex: node, `nodes + group`, or `nodes + groups` for the top (number 0).
    order: Vec<u32>,
    /// Preorder number to that of the immediate dominator; 0 for the top itself.
    idom: Vec<u32>,
    /// Node to preorder number.
    number: Vec<u32>,
    group_number: Vec<u32>,
}

impl Dominators {
    /// Computes the dominators. While it runs it needs 16 bytes per reachable node, 4 bytes per edge outside the
    /// depth-first tree, and for a path of `k` nodes a stack of up to 4 `k` bytes.
    ///
    /// # Errors
    /// [`GraphError::TooManyNodes`], [`GraphError::TooManyEdges`].
    pub fn compute(graph: &Graph, roots: &Roots, follow: Follow) -> Result<Self, GraphError> {
        let (nodes, groups) = (graph.nodes(), roots.groups());
        if u64::from(nodes) + u64::from(groups) > MAX_NODES {
            return Err(GraphError::TooManyNodes {
                nodes: nodes.into(),
                groups: groups.into(),
                max: MAX_NODES,
            });
        }
        let space = Space::new(graph, roots, follow);
        let walk = Walk::depth_first(&space);
        let (starts, preds) = predecessors(&space, &walk)?;
        let Walk {
            order,
            parent,
            number,
            group_number,
        } = walk;
        let idom = semi_nca(parent, &starts, &preds);
        Ok(Self {
            nodes,
            groups,
            order,
            idom,
            number,
            group_number,
        })
    }

    /// Immediate dominator of `node`; `None` when no root reaches it.
    #[must_use]
    pub fn idom(&self, node: u32) -> Option<Holder> {
        let number = self.number_of(node)?;
        Some(self.holder(self.idom[number as usize]))
    }

    /// Dominators of `node` from the nearest outwards; ends with a group or [`Holder::Several`].
    pub fn chain(&self, node: u32) -> impl Iterator<Item = Holder> {
        let mut at = self.number_of(node);
        std::iter::from_fn(move || {
            let next = self.idom[at? as usize];
            let holder = self.holder(next);
            at = matches!(holder, Holder::Node(_)).then_some(next);
            Some(holder)
        })
    }

    /// Whether a root reaches `node`.
    #[must_use]
    pub fn is_reachable(&self, node: u32) -> bool {
        self.number_of(node).is_some()
    }

    /// Number of nodes that the roots reach.
    #[must_use]
    pub fn reachable(&self) -> u32 {
        self.order.len() as u32 - 1 - self.groups
    }

    /// Nodes of the graph, reachable or not.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    pub(crate) fn number_of(&self, node: u32) -> Option<u32> {
        self.number
            .get(node as usize)
            .copied()
            .filter(|&n| n != NONE)
    }

    pub(crate) fn number_of_group(&self, group: GroupId) -> Option<u32> {
        self.group_number.get(group.0 as usize).copied()
    }

    pub(crate) fn idoms(&self) -> &[u32] {
        &self.idom
    }

    pub(crate) fn holder(&self, number: u32) -> Holder {
        let vertex = self.order[number as usize];
        if vertex < self.nodes {
            Holder::Node(vertex)
        } else if vertex - self.nodes < self.groups {
            Holder::Group(GroupId(vertex - self.nodes))
        } else {
            Holder::Several
        }
    }

    /// The node with this preorder number, unless it stands for a group or the top.
    pub(crate) fn node_at(&self, number: u32) -> Option<u32> {
        let vertex = self.order[number as usize];
        (vertex < self.nodes).then_some(vertex)
    }
}

/// The graph with its root groups and the vertex above them.
struct Space<'g> {
    graph: &'g Graph,
    follow: Follow,
    nodes: u32,
    groups: u32,
    group_starts: Vec<u32>,
    group_nodes: Vec<u32>,
}

impl<'g> Space<'g> {
    fn new(graph: &'g Graph, roots: &Roots, follow: Follow) -> Self {
        let (group_starts, group_nodes) = roots.rows(graph.nodes());
        Self {
            graph,
            follow,
            nodes: graph.nodes(),
            groups: roots.groups(),
            group_starts,
            group_nodes,
        }
    }

    fn top(&self) -> u32 {
        self.nodes + self.groups
    }

    /// Nodes below a node or group.
    #[inline]
    fn row(&self, vertex: u32) -> &[u32] {
        if vertex < self.nodes {
            return self.graph.strong(vertex);
        }
        let group = (vertex - self.nodes) as usize;
        &self.group_nodes[self.group_starts[group] as usize..self.group_starts[group + 1] as usize]
    }

    /// Edges of other classes; those that `follow` leaves out are not to be followed.
    #[inline]
    fn extra(&self, vertex: u32) -> &[ExtraEdge] {
        if vertex < self.nodes {
            self.graph.extra(vertex)
        } else {
            &[]
        }
    }

    /// Everything below a node or group.
    #[inline]
    fn successors(&self, vertex: u32) -> impl Iterator<Item = u32> {
        let extra = self.extra(vertex).iter();
        let followed = extra.filter(|e| self.follow.follows(e.class)).map(|e| e.to);
        self.row(vertex).iter().copied().chain(followed)
    }
}

/// A depth-first walk: everything but `number` and `group_number` is indexed by preorder number.
struct Walk {
    order: Vec<u32>,
    parent: Vec<u32>,
    number: Vec<u32>,
    group_number: Vec<u32>,
}

impl Walk {
    fn depth_first(space: &Space<'_>) -> Self {
        let mut walk = Self {
            order: vec![space.top()],
            parent: vec![0],
            number: vec![NONE; space.nodes as usize],
            group_number: Vec::new(),
        };
        // How many edges of each vertex on the current path have been followed. The path itself is the parents.
        let mut cursor = vec![0u32];
        for group in 0..space.groups {
            let first = walk.order.len() as u32;
            walk.group_number.push(first);
            walk.enter(space.nodes + group, 0, &mut cursor);
            let mut at = first;
            loop {
                let vertex = walk.order[at as usize];
                if let Some(next) = walk.unvisited(space, vertex, &mut cursor[at as usize]) {
                    let number = walk.order.len() as u32;
                    walk.number[next as usize] = number;
                    walk.enter(next, at, &mut cursor);
                    at = number;
                } else if at == first {
                    break;
                } else {
                    at = walk.parent[at as usize];
                }
            }
        }
        walk
    }

    fn enter(&mut self, vertex: u32, parent: u32, cursor: &mut Vec<u32>) {
        self.order.push(vertex);
        self.parent.push(parent);
        cursor.push(0);
    }

    /// Next node below `vertex` that was not visited, from the cursor on.
    #[inline]
    fn unvisited(&self, space: &Space<'_>, vertex: u32, cursor: &mut u32) -> Option<u32> {
        let row = space.row(vertex);
        while let Some(&next) = row.get(*cursor as usize) {
            *cursor += 1;
            if self.number[next as usize] == NONE {
                return Some(next);
            }
        }
        let extra = space.extra(vertex);
        while let Some(edge) = extra.get(*cursor as usize - row.len()) {
            *cursor += 1;
            if space.follow.follows(edge.class) && self.number[edge.to as usize] == NONE {
                return Some(edge.to);
            }
        }
        None
    }
}

/// Rows of predecessors by preorder number, without the edges of the depth-first tree.
fn predecessors(space: &Space<'_>, walk: &Walk) -> Result<(Vec<u32>, Vec<u32>), GraphError> {
    let each = |visit: &mut dyn FnMut(u32, u32)| {
        for (from, &vertex) in walk.order.iter().enumerate().skip(1) {
            let from = from as u32;
            for next in space.successors(vertex) {
                let to = walk.number[next as usize];
                if walk.parent[to as usize] != from && to != from {
                    visit(from, to);
                }
            }
        }
    };
    let mut starts = vec![0u32; walk.order.len() + 1];
    let mut total = 0u64;
    each(&mut |_, to| {
        total += 1;
        starts[to as usize] = starts[to as usize].wrapping_add(1);
    });
    if total >= u64::from(u32::MAX) {
        return Err(GraphError::TooManyEdges {
            edges: total,
            max: u64::from(u32::MAX) - 1,
        });
    }
    let mut end = 0;
    for slot in &mut starts {
        end += *slot;
        *slot = end;
    }
    // Filled from the back: each slot ends up at the start of its row.
    let mut preds = vec![0u32; total as usize];
    each(&mut |from, to| {
        let slot = &mut starts[to as usize];
        *slot -= 1;
        preds[*slot as usize] = from;
    });
    Ok((starts, preds))
}

/// Immediate dominators from parents and predecessors, all in preorder numbers.
fn semi_nca(parent: Vec<u32>, starts: &[u32], preds: &[u32]) -> Vec<u32> {
    let n = parent.len() as u32;
    let mut semi = parent.clone();
    // `ancestor` is compressed towards the roots of the linked forest; `label` is the least semidominator on the way.
    let mut ancestor = parent.clone();
    let mut idom = parent;
    let mut label: Vec<u32> = (0..n).collect();
    let mut stack = Vec::new();
    for w in (1..n).rev() {
        let row = starts[w as usize] as usize..starts[w as usize + 1] as usize;
        let mut least = semi[w as usize];
        for &v in &preds[row] {
            least = least.min(eval(v, w + 1, &mut ancestor, &mut label, &mut stack));
        }
        semi[w as usize] = least;
        label[w as usize] = least;
    }
    for w in 1..n {
        let limit = semi[w as usize];
        let mut d = idom[w as usize];
        while d > limit {
            d = idom[d as usize];
        }
        idom[w as usize] = d;
    }
    idom
}

/// Least semidominator on the path from `v` up to the last vertex that is linked (numbers from `linked` on are).
#[inline]
fn eval(v: u32, linked: u32, ancestor: &mut [u32], label: &mut [u32], stack: &mut Vec<u32>) -> u32 {
    if ancestor[v as usize] < linked {
        return label[v as usize];
    }
    let mut at = v;
    while ancestor[at as usize] >= linked {
        stack.push(at);
        at = ancestor[at as usize];
    }
    // `at` is the topmost linked vertex of the path; everything below it is hung directly under its parent.
    let top = ancestor[at as usize];
    let mut least = label[at as usize];
    while let Some(x) = stack.pop() {
        least = least.min(label[x as usize]);
        label[x as usize] = least;
        ancestor[x as usize] = top;
    }
    least
}

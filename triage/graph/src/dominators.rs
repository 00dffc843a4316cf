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

/// Immediate dominators of everything that the roots reach: 8 bytes per reachable node.
pub struct Dominators {
    nodes: u32,
    groups: u32,
    /// Preorder number to vertex: node, `nodes + group`, or `nodes + groups` for the top (number 0).
    order: Vec<u32>,
    /// Preorder number to that of the immediate dominator; 0 for the top itself.
    idom: Vec<u32>,
}

/// The part of the work that needs the graph; [`Search::solve`] does the rest without it.
pub struct Search {
    nodes: u32,
    groups: u32,
    order: Vec<u32>,
    parent: Vec<u32>,
    starts: Vec<u32>,
    preds: Vec<u32>,
}

impl Search {
    /// Walks the graph and gathers predecessors. While it runs it needs 16 bytes per reachable node, 4 per node of the
    /// deepest path and 4 per edge outside the depth-first tree; the numbers of nodes (4 bytes each) are not kept.
    ///
    /// `rank` orders kinds of roots: a node belongs to the lowest rank that reaches it, and what reaches it from a higher rank,
    /// root or node, counts for nothing. Retained sizes then are those of a heap without the higher ranks: a doubtful root
    /// never takes anything away from a sure one.
    ///
    /// # Errors
    /// [`GraphError::TooManyNodes`], [`GraphError::TooManyEdges`].
    pub fn new(
        graph: &Graph,
        roots: &Roots,
        follow: Follow,
        rank: impl Fn(u8) -> u8,
    ) -> Result<Self, GraphError> {
        let (nodes, groups) = (graph.nodes(), roots.groups());
        if u64::from(nodes) + u64::from(groups) > MAX_NODES {
            return Err(GraphError::TooManyNodes {
                nodes: nodes.into(),
                groups: groups.into(),
                max: MAX_NODES,
            });
        }
        let space = Space::new(graph, roots, follow, rank);
        let walk = Walk::depth_first(&space);
        let (starts, preds) = predecessors(&space, &walk)?;
        let Walk { order, parent, .. } = walk;
        Ok(Self {
            nodes,
            groups,
            order,
            parent,
            starts,
            preds,
        })
    }

    /// Finds the immediate dominators. While it runs it needs 12 further bytes per reachable node.
    #[must_use]
    pub fn solve(self) -> Dominators {
        Dominators {
            nodes: self.nodes,
            groups: self.groups,
            order: self.order,
            idom: semi_nca(self.parent, self.starts, self.preds),
        }
    }
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
        Ok(Search::new(graph, roots, follow, rank)?.solve())
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

/// The graph with its root groups and the vertex above them.
struct Space<'g> {
    graph: &'g Graph,
    follow: Follow,
    nodes: u32,
    groups: u32,
    /// Groups with the ranks of their kinds, lowest first.
    ranked: Vec<(u8, u32)>,
    group_starts: Vec<u32>,
    group_nodes: Vec<u32>,
}

impl<'g> Space<'g> {
    fn new(graph: &'g Graph, roots: &Roots, follow: Follow, rank: impl Fn(u8) -> u8) -> Self {
        let (group_starts, group_nodes) = roots.rows(graph.nodes());
        let mut ranked: Vec<(u8, u32)> = (0..roots.groups())
            .map(|group| (roots.kind(GroupId(group)).map_or(u8::MAX, &rank), group))
            .collect();
        ranked.sort_unstable();
        Self {
            graph,
            follow,
            nodes: graph.nodes(),
            groups: roots.groups(),
            ranked,
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

    /// Calls `visit` with everything below a node or group.
    #[inline]
    fn each(&self, vertex: u32, mut visit: impl FnMut(u32)) {
        for &next in self.row(vertex) {
            visit(next);
        }
        for edge in self.extra(vertex) {
            if self.follow.follows(edge.class) {
                visit(edge.to);
            }
        }
    }
}

/// A depth-first walk, rank by rank: `order` and `parent` are indexed by preorder number, `number` by node.
struct Walk {
    order: Vec<u32>,
    parent: Vec<u32>,
    number: Vec<u32>,
    /// First number of each rank.
    rank_starts: Vec<u32>,
}

impl Walk {
    fn depth_first(space: &Space<'_>) -> Self {
        let room = space.nodes as usize + space.groups as usize + 1;
        let mut walk = Self {
            order: Vec::with_capacity(room),
            parent: Vec::with_capacity(room),
            number: vec![NONE; space.nodes as usize],
            rank_starts: Vec::new(),
        };
        walk.enter(space.top(), 0);
        // How many edges of each vertex on the current path have been followed. The path itself is the parents.
        let mut cursors = Vec::new();
        let mut rank = None;
        for &(own_rank, group) in &space.ranked {
            let first = walk.order.len() as u32;
            if rank != Some(own_rank) {
                rank = Some(own_rank);
                walk.rank_starts.push(first);
            }
            walk.enter(space.nodes + group, 0);
            let mut at = first;
            let mut cursor = 0u32;
            loop {
                let vertex = walk.order[at as usize];
                if let Some(next) = walk.unvisited(space, vertex, &mut cursor) {
                    let number = walk.order.len() as u32;
                    walk.number[next as usize] = number;
                    walk.enter(next, at);
                    cursors.push(cursor);
                    (at, cursor) = (number, 0);
                } else if let Some(above) = cursors.pop() {
                    (at, cursor) = (walk.parent[at as usize], above);
                } else {
                    break;
                }
            }
        }
        walk
    }

    fn enter(&mut self, vertex: u32, parent: u32) {
        self.order.push(vertex);
        self.parent.push(parent);
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

    /// Calls `visit` with every edge (from, to) that counts and is not of the tree.
    #[inline]
    fn each_cross_edge(&self, space: &Space<'_>, mut visit: impl FnMut(u32, u32)) {
        let mut ranks = self.rank_starts.iter().copied().peekable();
        let mut rank_start = 0;
        for (from, &vertex) in (0u32..).zip(&self.order).skip(1) {
            while let Some(start) = ranks.next_if(|start| *start <= from) {
                rank_start = start;
            }
            space.each(vertex, |next| {
                let to = self.number[next as usize];
                // What a lower rank reaches has a smaller number than everything of this one.
                if to >= rank_start && to != from && self.parent[to as usize] != from {
                    visit(from, to);
                }
            });
        }
    }
}

/// Rows of predecessors by preorder number, without the edges of the depth-first tree.
fn predecessors(space: &Space<'_>, walk: &Walk) -> Result<(Vec<u32>, Vec<u32>), GraphError> {
    let mut starts = vec![0u32; walk.order.len() + 1];
    let mut total = 0u64;
    walk.each_cross_edge(space, |_, to| {
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
    walk.each_cross_edge(space, |from, to| {
        let slot = &mut starts[to as usize];
        *slot -= 1;
        preds[*slot as usize] = from;
    });
    Ok((starts, preds))
}

/// A vertex of the linked forest. Both are read together, so they lie together.
#[derive(Clone, Copy)]
struct Link {
    /// Compressed towards the roots of the forest.
    ancestor: u32,
    /// Least semidominator on the way to it.
    label: u32,
}

/// Immediate dominators from parents and predecessors, all in preorder numbers.
fn semi_nca(parent: Vec<u32>, starts: Vec<u32>, preds: Vec<u32>) -> Vec<u32> {
    let n = parent.len() as u32;
    let mut semi = parent.clone();
    let mut links: Vec<Link> = (0u32..)
        .zip(&parent)
        .map(|(label, &ancestor)| Link { ancestor, label })
        .collect();
    let mut idom = parent;
    let mut stack = Vec::new();
    for w in (1..n).rev() {
        let row = &preds[starts[w as usize] as usize..starts[w as usize + 1] as usize];
        let mut least = semi[w as usize];
        for &v in row {
            least = least.min(eval(v, w + 1, &mut links, &mut stack));
        }
        semi[w as usize] = least;
        links[w as usize].label = least;
    }
    drop((starts, preds, links));
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
fn eval(v: u32, linked: u32, links: &mut [Link], stack: &mut Vec<u32>) -> u32 {
    let mut link = links[v as usize];
    if link.ancestor < linked {
        return link.label;
    }
    let mut at = v;
    while link.ancestor >= linked {
        stack.push(at);
        at = link.ancestor;
        link = links[at as usize];
    }
    // `at` is the topmost linked vertex of the path; everything below it is hung directly under its parent.
    let Link {
        ancestor,
        label: mut least,
    } = link;
    while let Some(x) = stack.pop() {
        let own = &mut links[x as usize];
        least = least.min(own.label);
        *own = Link {
            ancestor,
            label: least,
        };
    }
    least
}

//! A depth-first search from the roots: the first half of finding dominators, and the last that needs edges in any order.

use std::borrow::Borrow;
use std::sync::Arc;

use crate::dominators::Dominators;
use crate::error::GraphError;
use crate::graph::{Extra, ExtraEdge, Follow, Graph, MAX_NODES};
use crate::node_set::NodeSet;
use crate::roots::{GroupId, Roots};
use crate::rows::{Edges, Targets};
use crate::semi_nca::SemiNca;

/// Nodes with more edges keep their place while what is below them is searched; others look for it again.
const LONG: usize = 256;
/// Predecessors that are held at once, for each node and besides.
const ROOM_PER_NODE: u64 = 2;
const ROOM: u64 = 4 << 20;

/// The order of a depth-first walk, and who led to whom: 8 bytes per reachable node.
///
/// The graph is extended by one vertex per root group and one above all groups.
pub struct Search {
    pub(crate) nodes: u32,
    pub(crate) groups: u32,
    /// Preorder number to vertex: node, `nodes + group`, or `nodes + groups` for the top (number 0).
    pub(crate) order: Vec<u32>,
    /// Preorder number to that of the vertex above it in the walk.
    pub(crate) parent: Vec<u32>,
    /// First number of each rank.
    pub(crate) rank_starts: Vec<u32>,
    pub(crate) held: Held,
    pub(crate) follow: Follow,
    pub(crate) extra: Arc<Extra>,
    /// No more edges than this count and are not of the walk's tree.
    cross_edges: u64,
}

/// What groups hold.
pub(crate) struct Held {
    starts: Vec<u32>,
    nodes: Vec<u32>,
}

impl Held {
    pub(crate) fn by(&self, group: u32) -> &[u32] {
        let group = group as usize;
        &self.nodes[self.starts[group] as usize..self.starts[group + 1] as usize]
    }
}

impl Search {
    /// Walks the graph. Besides what it keeps it needs 1/8 byte per node.
    ///
    /// `rank` orders kinds of roots: a node belongs to the lowest rank that reaches it, and what reaches it from a higher rank,
    /// root or node, counts for nothing. Retained sizes then are those of a heap without the higher ranks: a doubtful root
    /// never takes anything away from a sure one.
    ///
    /// # Errors
    /// [`GraphError::TooManyNodes`].
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
        // Groups with the ranks of their kinds, lowest first.
        let mut ranked: Vec<(u8, u32)> = (0..groups)
            .map(|group| (roots.kind(GroupId(group)).map_or(u8::MAX, &rank), group))
            .collect();
        ranked.sort_unstable();
        let (starts, held_nodes) = roots.rows(nodes);
        let held = Held {
            starts,
            nodes: held_nodes,
        };
        let mut walk = Walk::new(graph, follow, groups);
        let mut rank_starts = Vec::new();
        for own in ranked.chunk_by(|a, b| a.0 == b.0) {
            rank_starts.push(walk.order.len() as u32);
            for &(_, group) in own {
                let number = walk.enter(nodes + group, 0);
                for &node in held.by(group) {
                    walk.below(node, number);
                }
            }
        }
        let Walk { order, parent, .. } = walk;
        let extra = graph.all_extra();
        let edges = graph.strong_edges() + (extra.all().len() + held.nodes.len()) as u64;
        Ok(Self {
            nodes,
            groups,
            cross_edges: edges.saturating_sub(order.len() as u64 - 1 - u64::from(groups)),
            order,
            parent,
            rank_starts,
            held,
            follow,
            extra,
        })
    }

    /// Finds the immediate dominators: in further 16 bytes per reachable node and 4 per predecessor with a greater number, of
    /// which it holds at most two per node and four million at once. When there are more and the graph is not small beside them, it goes first, and
    /// `again` is asked for its strong edges several times.
    ///
    /// # Errors
    /// [`GraphError::TooManyEdges`]; [`GraphError::Unstable`] when `again` does not give the same edges each time.
    pub fn solve(
        self,
        graph: impl Borrow<Graph>,
        again: &impl Edges,
    ) -> Result<Dominators, GraphError> {
        let room = self.order.len() as u64 * ROOM_PER_NODE + ROOM;
        self.solve_within(graph, again, room)
    }

    /// As [`Self::solve`], but holds at most `room` predecessors, or those of a single node.
    ///
    /// # Errors
    /// As for [`Self::solve`].
    pub fn solve_within(
        self,
        graph: impl Borrow<Graph>,
        again: &impl Edges,
        room: u64,
    ) -> Result<Dominators, GraphError> {
        let rows = graph.borrow().rows().bytes() / size_of::<u32>() as u64;
        // One pass uses the graph and lets it go. Where more are needed it stays as long as it is small beside what they gather.
        let fits = self.cross_edges <= room;
        let stays = !fits && rows <= room / 2;
        let room = if stays { room - rows } else { room };
        let mut graph = (fits || stays).then_some(graph);
        let mut work = SemiNca::new(self);
        match &graph {
            Some(graph) => work.count(graph.borrow().rows())?,
            None => work.count(again)?,
        }
        while let Some(block) = work.next_block(room) {
            let predecessors = match &graph {
                Some(graph) => work.predecessors(block.clone(), graph.borrow().rows())?,
                None => work.predecessors(block.clone(), again)?,
            };
            if fits || block.start <= 1 {
                graph = None;
            }
            work.semidominators(block, &predecessors);
        }
        Ok(work.finish())
    }
}

/// The walk itself, without recursion: the path is the parents.
struct Walk<'g> {
    graph: &'g Graph,
    follow: Follow,
    order: Vec<u32>,
    parent: Vec<u32>,
    visited: NodeSet,
    /// Nodes of the path with many edges, and how far they are.
    open: Vec<Open<'g>>,
}

struct Open<'g> {
    number: u32,
    strong: Targets<'g>,
    extra: &'g [ExtraEdge],
}

impl<'g> Walk<'g> {
    fn new(graph: &'g Graph, follow: Follow, groups: u32) -> Self {
        let nodes = graph.nodes();
        let room = nodes as usize + groups as usize + 1;
        let mut walk = Self {
            graph,
            follow,
            order: Vec::with_capacity(room),
            parent: Vec::with_capacity(room),
            visited: NodeSet::new(nodes),
            open: Vec::new(),
        };
        walk.enter(nodes + groups, 0);
        walk
    }

    fn enter(&mut self, vertex: u32, parent: u32) -> u32 {
        let number = self.order.len() as u32;
        self.order.push(vertex);
        self.parent.push(parent);
        number
    }

    /// Visits a node that a group holds, and everything below it.
    fn below(&mut self, node: u32, group: u32) {
        if !self.visited.insert(node) {
            return;
        }
        let mut at = self.enter(node, group);
        while at != group {
            match self.unvisited(at) {
                Some(next) => {
                    self.visited.insert(next);
                    at = self.enter(next, at);
                }
                None => at = self.parent[at as usize],
            }
        }
    }

    /// The next node to visit from a vertex.
    #[inline]
    fn unvisited(&mut self, number: u32) -> Option<u32> {
        let visited = &self.visited;
        let next = |strong: &mut Targets<'_>, extra: &mut &[ExtraEdge]| {
            if let Some(next) = strong.find(|target| !visited.contains(*target)) {
                return Some(next);
            }
            while let Some((edge, rest)) = extra.split_first() {
                *extra = rest;
                if self.follow.follows(edge.class) && !visited.contains(edge.to) {
                    return Some(edge.to);
                }
            }
            None
        };
        if let Some(open) = self.open.last_mut().filter(|open| open.number == number) {
            let found = next(&mut open.strong, &mut open.extra);
            if found.is_none() {
                self.open.pop();
            }
            return found;
        }
        let node = self.order[number as usize];
        let (mut strong, mut extra) = (self.graph.strong(node), self.graph.extra(node));
        let long = strong.len() + extra.len() > LONG;
        let found = next(&mut strong, &mut extra);
        if long && found.is_some() {
            self.open.push(Open {
                number,
                strong,
                extra,
            });
        }
        found
    }
}

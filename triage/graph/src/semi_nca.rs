//! The SEMI-NCA algorithm, in preorder numbers of a depth-first walk, from the last to the first.
//!
//! Of the predecessors with smaller numbers, which are not linked into the forest when a vertex has its turn, only the least counts:
//! that is one number for each vertex. The others, whose edges lead back or across, are needed for one vertex after the other, so
//! that those of a block of vertices can be gathered, used and forgotten before those of the next block are gathered by another
//! pass over all edges. In a heap they are a fraction of the edges.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use crate::dominators::{Dominators, NONE};
use crate::error::GraphError;
use crate::node_set::NodeSet;
use crate::rows::Edges;
use crate::search::Search;

/// Edges that are looked at together.
const BATCH: usize = 256;
/// Nodes whose edges are one piece of parallel work.
const STRETCH: u32 = 1 << 16;
/// Links that are followed beforehand.
const STEPS: usize = 4;

/// What is known of a vertex.
struct Vertex {
    /// Parent in the walk; in the end the immediate dominator.
    above: u32,
    /// First the end of its later predecessors among those of all; their start when they have been gathered; then its
    /// semidominator.
    mark: AtomicU32,
}

/// A vertex of the linked forest. Both are read together, so they lie together.
#[derive(Clone, Copy)]
struct Link {
    /// Compressed towards the roots of the forest.
    ancestor: u32,
    /// Least semidominator on the way to it; before it is linked, its own least predecessor.
    label: u32,
}

/// Predecessors with greater numbers, of a block of vertices.
pub(crate) struct Predecessors {
    /// Position of the first among those of all vertices.
    base: u32,
    numbers: Vec<u32>,
}

/// The work: 16 bytes per vertex, 20 from the first block on.
pub(crate) struct SemiNca {
    search: Search,
    /// Node or group to preorder number.
    number: Vec<u32>,
    vertices: Vec<Vertex>,
    /// The least predecessor with a smaller number; until there are links.
    least: Vec<AtomicU32>,
    links: Vec<Link>,
    /// Vertices from here on are done.
    done: u32,
}

impl SemiNca {
    pub(crate) fn new(mut search: Search) -> Self {
        let (order, parent) = (
            std::mem::take(&mut search.order),
            std::mem::take(&mut search.parent),
        );
        let vertices: Vec<Vertex> = parent
            .iter()
            .map(|above| Vertex {
                above: *above,
                mark: AtomicU32::new(0),
            })
            .collect();
        // Who led to a vertex is one of them.
        let least = parent.into_iter().map(AtomicU32::new).collect();
        let mut number = vec![NONE; search.nodes as usize + search.groups as usize + 1];
        for (at, vertex) in (0u32..).zip(&order) {
            number[*vertex as usize] = at;
        }
        Self {
            number,
            done: vertices.len() as u32,
            vertices,
            least,
            links: Vec::new(),
            search,
        }
    }

    /// Finds the least predecessor of each vertex and counts those with greater numbers.
    pub(crate) fn count(&mut self, edges: &impl Edges) -> Result<(), GraphError> {
        let pass = Pass {
            search: &self.search,
            number: &self.number,
            edges,
            block: 0..self.done,
            wanted: None,
        };
        let (vertices, least) = (&self.vertices, &self.least);
        pass.each(|from, to| {
            if from < to {
                least[to as usize].fetch_min(from, Ordering::Relaxed);
            } else {
                vertices[to as usize].mark.fetch_add(1, Ordering::Relaxed);
            }
            true
        });
        let max = u64::from(u32::MAX);
        let mut end = 0u64;
        for vertex in &mut self.vertices {
            let mark = vertex.mark.get_mut();
            end += u64::from(*mark);
            // What does not fit is an error just below.
            *mark = end as u32;
        }
        if end > max {
            return Err(GraphError::TooManyEdges { edges: end, max });
        }
        Ok(())
    }

    /// The next vertices to solve: as many as have at most `room` predecessors, but one at least.
    pub(crate) fn next_block(&self, room: u64) -> Option<Range<u32>> {
        let last = self.done.checked_sub(1).filter(|last| *last > 0)?;
        let mark = |vertex: &Vertex| vertex.mark.load(Ordering::Relaxed);
        let end = mark(&self.vertices[last as usize]);
        let before = &self.vertices[..last as usize];
        let before = before.partition_point(|vertex| u64::from(end - mark(vertex)) > room);
        Some((before as u32 + 1).min(last)..self.done)
    }

    /// Gathers the predecessors of a block.
    pub(crate) fn predecessors(
        &mut self,
        block: Range<u32>,
        edges: &impl Edges,
    ) -> Result<Predecessors, GraphError> {
        let mark = |at: u32| self.vertices[at as usize].mark.load(Ordering::Relaxed);
        let base = mark(block.start - 1);
        let total = mark(block.end - 1) - base;
        let numbers: Vec<AtomicU32> = (0..total).map(|_| AtomicU32::new(0)).collect();
        let whole = block == (1..self.vertices.len() as u32);
        let pass = Pass {
            search: &self.search,
            number: &self.number,
            edges,
            wanted: (!whole).then(|| self.nodes_of(&block)),
            block,
        };
        let vertices = &self.vertices;
        // Filled from the back: each mark ends up at the start of its row.
        let found = pass.each(|from, to| {
            if from < to {
                return false;
            }
            let mark = vertices[to as usize].mark.fetch_sub(1, Ordering::Relaxed);
            let slot = mark.wrapping_sub(base).wrapping_sub(1);
            if let Some(number) = numbers.get(slot as usize) {
                number.store(from, Ordering::Relaxed);
            }
            true
        });
        if found != u64::from(total) {
            return Err(GraphError::Unstable {
                counted: total.into(),
                found,
            });
        }
        Ok(Predecessors {
            base,
            numbers: numbers.into_iter().map(AtomicU32::into_inner).collect(),
        })
    }

    /// The nodes with these numbers. Most edges of a pass lead to others; a bit for each node tells, and bits lie near.
    fn nodes_of(&self, block: &Range<u32>) -> NodeSet {
        let mut nodes = NodeSet::new(self.search.nodes);
        for (node, number) in (0..self.search.nodes).zip(&self.number) {
            if block.contains(number) {
                nodes.insert(node);
            }
        }
        nodes
    }

    /// Finds the semidominators of a block: the last one that was not solved before.
    pub(crate) fn semidominators(&mut self, block: Range<u32>, predecessors: &Predecessors) {
        if self.links.is_empty() {
            let link = |(label, vertex): (u32, &Vertex)| Link {
                ancestor: vertex.above,
                label,
            };
            let least = std::mem::take(&mut self.least).into_iter();
            let least = least.map(AtomicU32::into_inner);
            self.links = least.zip(&self.vertices).map(link).collect();
        }
        let Predecessors { base, numbers } = predecessors;
        let (links, mut stack) = (&mut self.links, Vec::new());
        let mut end = numbers.len();
        // Rows are used from the last to the first: what comes next lies before.
        let mut touched = end;
        for w in block.clone().rev() {
            let vertex = &mut self.vertices[w as usize];
            let mark = vertex.mark.get_mut();
            let start = (mark.saturating_sub(*base) as usize).min(end);
            if start < touched {
                let from = start.saturating_sub(BATCH);
                touch(links, w + 1, &numbers[from..touched]);
                touched = from;
            }
            let mut least = links[w as usize].label;
            for &v in &numbers[start..end] {
                least = least.min(eval(v, w + 1, links, &mut stack));
            }
            *mark = least;
            links[w as usize].label = least;
            end = start;
        }
        self.done = block.start;
    }

    /// Immediate dominators from semidominators.
    pub(crate) fn finish(mut self) -> Dominators {
        self.links = Vec::new();
        for w in 1..self.vertices.len() {
            let mut above = self.vertices[w].above;
            let semidominator = *self.vertices[w].mark.get_mut();
            while above > semidominator {
                above = self.vertices[above as usize].above;
            }
            self.vertices[w].above = above;
        }
        let mut order = vec![0; self.vertices.len()];
        for (vertex, number) in (0u32..).zip(&self.number) {
            if let Some(slot) = order.get_mut(*number as usize) {
                *slot = vertex;
            }
        }
        self.number = Vec::new();
        Dominators {
            nodes: self.search.nodes,
            groups: self.search.groups,
            order,
            idom: self.vertices.iter().map(|vertex| vertex.above).collect(),
        }
    }
}

/// One pass over all edges, for the predecessors of a block of vertices.
struct Pass<'a, E> {
    search: &'a Search,
    number: &'a [u32],
    edges: &'a E,
    block: Range<u32>,
    /// Nodes of the block, when there are others.
    wanted: Option<NodeSet>,
}

impl<E: Edges> Pass<'_, E> {
    /// Calls `visit` with the number of each predecessor and of its vertex; stretches of nodes in parallel. How often it said yes.
    fn each(&self, visit: impl Fn(u32, u32) -> bool + Sync) -> u64 {
        let search = self.search;
        let stretches = (0..search.nodes.div_ceil(STRETCH)).into_par_iter();
        let strong: u64 = stretches
            .with_max_len(1)
            .map_init(
                || Box::new(Batch::default()),
                |batch, stretch| {
                    let start = stretch * STRETCH;
                    let nodes = start..start.saturating_add(STRETCH).min(search.nodes);
                    self.edges.each_row(nodes, &mut |node, targets| {
                        self.add(batch, node, targets.iter().copied(), &visit);
                    });
                    batch.flush(self.number, &visit);
                    std::mem::take(&mut batch.counted)
                },
            )
            .sum();
        let mut batch = Batch::default();
        for edge in search.extra.all() {
            if search.follow.follows(edge.class) {
                self.add(&mut batch, edge.from, [edge.to], &visit);
            }
        }
        for group in 0..search.groups {
            let held = search.held.by(group).iter().copied();
            self.add(&mut batch, search.nodes + group, held, &visit);
        }
        batch.flush(self.number, &visit);
        strong + batch.counted
    }

    /// Edges from a node or group.
    #[inline]
    fn add(
        &self,
        batch: &mut Batch,
        vertex: u32,
        targets: impl IntoIterator<Item = u32>,
        visit: &impl Fn(u32, u32) -> bool,
    ) {
        let from = self.number[vertex as usize];
        // What leads into the block from before it was counted, and matters no more.
        if from == NONE || (self.wanted.is_some() && from <= self.block.start) {
            return;
        }
        let mut ranks = self.search.rank_starts.iter().rev().copied();
        let rank = ranks.find(|start| *start <= from).unwrap_or(0);
        for to in targets {
            if self
                .wanted
                .as_ref()
                .is_none_or(|wanted| wanted.contains(to))
            {
                if batch.is_full() {
                    batch.flush(self.number, visit);
                }
                batch.add(from, rank, to);
            }
        }
    }
}

/// Edges that are looked at together, one question after the other and without branches: so the waits for memory overlap. Most
/// edges of a large heap lead to what no cache holds.
struct Batch {
    len: usize,
    /// Edges to which the visitor said yes.
    counted: u64,
    from: [u32; BATCH],
    /// First number of the rank of each `from`.
    rank: [u32; BATCH],
    /// A node; then its number.
    to: [u32; BATCH],
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            len: 0,
            counted: 0,
            from: [0; BATCH],
            rank: [0; BATCH],
            to: [0; BATCH],
        }
    }
}

impl Batch {
    #[inline]
    fn is_full(&self) -> bool {
        self.len == BATCH
    }

    #[inline]
    fn add(&mut self, from: u32, rank: u32, to: u32) {
        self.from[self.len] = from;
        self.rank[self.len] = rank;
        self.to[self.len] = to;
        self.len += 1;
    }

    /// Visits what counts, and begins anew.
    fn flush(&mut self, number: &[u32], visit: &impl Fn(u32, u32) -> bool) {
        for to in &mut self.to[..self.len] {
            *to = number[*to as usize];
        }
        let mut kept = 0;
        for at in 0..self.len {
            let (from, rank, to) = (self.from[at], self.rank[at], self.to[at]);
            self.from[kept] = from;
            self.to[kept] = to;
            // What a lower rank reaches has a smaller number than everything of this one. What is not reached has none.
            kept += usize::from((to >= rank) & (to != from) & (to != NONE));
        }
        for (from, to) in self.from.iter().zip(&self.to).take(kept) {
            self.counted += u64::from(visit(*from, *to));
        }
        self.len = 0;
    }
}

/// Reads the links that `eval` will follow from some vertices, step by step for all of them: the waits for memory overlap.
#[inline]
fn touch(links: &[Link], linked: u32, numbers: &[u32]) {
    let mut at = [0; BATCH];
    for numbers in numbers.chunks(BATCH) {
        let at = &mut at[..numbers.len()];
        at.copy_from_slice(numbers);
        for _ in 0..STEPS {
            let mut followed = false;
            for v in at.iter_mut() {
                let ancestor = links[*v as usize].ancestor;
                if ancestor >= linked {
                    *v = ancestor;
                    followed = true;
                }
            }
            if !followed {
                break;
            }
        }
        std::hint::black_box(&at);
    }
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

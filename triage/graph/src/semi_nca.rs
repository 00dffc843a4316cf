//! The SEMI-NCA algorithm, in preorder numbers of a depth-first walk, from the last to the first.
//!
//! Of the predecessors with smaller numbers, which are not linked into the forest when a vertex has its turn, only the least counts:
//! that is one number for each vertex. The others, whose edges lead back or across, are needed for one vertex after the other, so
//! that those of a block of vertices can be gathered, used and forgotten before those of the next block are gathered by another
//! pass over all edges. In a heap they are a fraction of the edges.

use std::ops::Range;

use crate::dominators::{Dominators, NONE};
use crate::error::GraphError;
use crate::node_set::NodeSet;
use crate::rows::Edges;
use crate::search::Search;

/// Edges that are looked at together.
const BATCH: usize = 256;
/// Links that are followed beforehand.
const STEPS: usize = 4;

/// What is known of a vertex.
#[derive(Clone, Copy)]
struct Vertex {
    /// Parent in the walk; in the end the immediate dominator.
    above: u32,
    /// First the end of its later predecessors among those of all; their start when they have been gathered; then its
    /// semidominator.
    mark: u32,
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
    least: Vec<u32>,
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
                mark: 0,
            })
            .collect();
        // Who led to a vertex is one of them.
        let least = parent;
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

    /// Finds the least predecessor of each vertex and counts those with greater numbers; two threads, each for its half.
    pub(crate) fn count(&mut self, edges: &impl Edges) -> Result<(), GraphError> {
        let half = self.done / 2;
        let (low, high) = self.vertices.split_at_mut(half as usize);
        let (low_least, high_least) = self.least.split_at_mut(half as usize);
        let pass = Pass {
            search: &self.search,
            number: &self.number,
            edges,
        };
        let count = |own: Range<u32>, vertices: &mut [Vertex], least: &mut [u32]| {
            let mut total = 0u64;
            pass.each(own.clone(), Which::All, |from, to| {
                let at = (to - own.start) as usize;
                if from < to {
                    least[at] = least[at].min(from);
                } else {
                    vertices[at].mark = vertices[at].mark.saturating_add(1);
                    total += 1;
                }
            });
            total
        };
        let (a, b) = rayon::join(
            || count(0..half, low, low_least),
            || count(half..self.done, high, high_least),
        );
        let max = u64::from(u32::MAX);
        if a + b > max {
            return Err(GraphError::TooManyEdges { edges: a + b, max });
        }
        let mut end = 0;
        for vertex in &mut self.vertices {
            end += vertex.mark;
            vertex.mark = end;
        }
        Ok(())
    }

    /// The next vertices to solve: as many as have at most `room` predecessors, but one at least.
    pub(crate) fn next_block(&self, room: u64) -> Option<Range<u32>> {
        let last = self.done.checked_sub(1).filter(|last| *last > 0)?;
        let end = self.vertices[last as usize].mark;
        let before = &self.vertices[..last as usize];
        let before = before.partition_point(|vertex| u64::from(end - vertex.mark) > room);
        Some((before as u32 + 1).min(last)..self.done)
    }

    /// Gathers the predecessors of a block; two threads, each for half of them.
    pub(crate) fn predecessors(
        &mut self,
        block: Range<u32>,
        edges: &impl Edges,
    ) -> Result<Predecessors, GraphError> {
        let mark = |vertices: &[Vertex], at: u32| vertices[at as usize].mark;
        let base = mark(&self.vertices, block.start - 1);
        let total = mark(&self.vertices, block.end - 1) - base;
        let own = &self.vertices[block.start as usize..block.end as usize];
        let half = own.partition_point(|vertex| vertex.mark - base <= total / 2) as u32;
        let half = block.start + half;
        let half_mark = mark(&self.vertices, half - 1);
        let mut numbers = vec![0u32; total as usize];
        let pass = Pass {
            search: &self.search,
            number: &self.number,
            edges,
        };
        let own = &mut self.vertices[block.start as usize..block.end as usize];
        let (low, high) = own.split_at_mut((half - block.start) as usize);
        let (low_numbers, high_numbers) = numbers.split_at_mut((half_mark - base) as usize);
        // Filled from the back: each mark ends up at the start of its row.
        let fill = |own: Range<u32>, vertices: &mut [Vertex], base: u32, numbers: &mut [u32]| {
            let mut found = 0u64;
            pass.each(own.clone(), Which::Later, |from, to| {
                found += 1;
                let vertex = &mut vertices[(to - own.start) as usize];
                let slot = vertex.mark.wrapping_sub(base).wrapping_sub(1);
                if let Some(number) = numbers.get_mut(slot as usize) {
                    *number = from;
                    vertex.mark -= 1;
                }
            });
            found
        };
        let (a, b) = rayon::join(
            || fill(block.start..half, low, base, low_numbers),
            || fill(half..block.end, high, half_mark, high_numbers),
        );
        if a + b != u64::from(total) {
            return Err(GraphError::Unstable {
                counted: total.into(),
                found: a + b,
            });
        }
        Ok(Predecessors { base, numbers })
    }

    /// Finds the semidominators of a block: the last one that was not solved before.
    pub(crate) fn semidominators(&mut self, block: Range<u32>, predecessors: &Predecessors) {
        if self.links.is_empty() {
            let link = |(label, vertex): (u32, &Vertex)| Link {
                ancestor: vertex.above,
                label,
            };
            let least = std::mem::take(&mut self.least);
            self.links = least.into_iter().zip(&self.vertices).map(link).collect();
        }
        let Predecessors { base, numbers } = predecessors;
        let (links, mut stack) = (&mut self.links, Vec::new());
        let mut end = numbers.len();
        // Rows are used from the last to the first: what comes next lies before.
        let mut touched = end;
        for w in block.clone().rev() {
            let vertex = &mut self.vertices[w as usize];
            let start = (vertex.mark.saturating_sub(*base) as usize).min(end);
            if start < touched {
                let from = start.saturating_sub(BATCH);
                touch(links, w + 1, &numbers[from..touched]);
                touched = from;
            }
            let mut least = links[w as usize].label;
            for &v in &numbers[start..end] {
                least = least.min(eval(v, w + 1, links, &mut stack));
            }
            vertex.mark = least;
            links[w as usize].label = least;
            end = start;
        }
        self.done = block.start;
    }

    /// Immediate dominators from semidominators.
    pub(crate) fn finish(mut self) -> Dominators {
        self.links = Vec::new();
        for w in 1..self.vertices.len() {
            let Vertex { mut above, mark } = self.vertices[w];
            while above > mark {
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

/// Which predecessors a pass looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// With greater numbers.
    Later,
}

/// One pass over all edges.
struct Pass<'a, E> {
    search: &'a Search,
    number: &'a [u32],
    edges: &'a E,
}

impl<E: Edges> Pass<'_, E> {
    /// Calls `visit` with the numbers of every predecessor of some vertices and of the vertex.
    fn each(&self, own: Range<u32>, which: Which, mut visit: impl FnMut(u32, u32)) {
        let search = self.search;
        // Most edges of a pass lead to the vertices of others. A bit for each node tells, and bits lie near.
        let mut wanted = NodeSet::new(search.nodes);
        for (node, number) in (0..search.nodes).zip(self.number) {
            if own.contains(number) {
                wanted.insert(node);
            }
        }
        let mut batch = Batch::default();
        let mut add = |from: u32, rank: u32, to: u32| {
            if !wanted.contains(to) {
                return;
            }
            if batch.is_full() {
                batch.flush(self.number, which, &mut visit);
            }
            batch.add(from, rank, to);
        };
        let of = |vertex: u32| {
            let from = self.number[vertex as usize];
            let ranks = search.rank_starts.iter().rev();
            let rank = ranks.copied().find(|start| *start <= from);
            (from, rank.unwrap_or(0))
        };
        let is_asked = |from: u32| from != NONE && (which == Which::All || from > own.start);
        self.edges.each_row(0..search.nodes, &mut |node, targets| {
            let (from, rank) = of(node);
            if is_asked(from) {
                targets.iter().for_each(|target| add(from, rank, *target));
            }
        });
        for edge in search.extra.all() {
            let (from, rank) = of(edge.from);
            if is_asked(from) && search.follow.follows(edge.class) {
                add(from, rank, edge.to);
            }
        }
        for group in 0..search.groups {
            let (from, rank) = of(search.nodes + group);
            let held = search.held.by(group).iter();
            if is_asked(from) {
                held.for_each(|node| add(from, rank, *node));
            }
        }
        batch.flush(self.number, which, &mut visit);
    }
}

/// Edges that are looked at together, one question after the other and without branches: so the waits for memory overlap. Most
/// edges of a large heap lead to what no cache holds.
struct Batch {
    len: usize,
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
    fn flush(&mut self, number: &[u32], which: Which, visit: &mut impl FnMut(u32, u32)) {
        for to in &mut self.to[..self.len] {
            *to = number[*to as usize];
        }
        let mut kept = 0;
        for at in 0..self.len {
            let (from, rank, to) = (self.from[at], self.rank[at], self.to[at]);
            self.from[kept] = from;
            self.to[kept] = to;
            // What a lower rank reaches has a smaller number than everything of this one.
            let counts = (to >= rank) & (to != from) & ((which == Which::All) | (from > to));
            kept += usize::from(counts);
        }
        for (from, to) in self.from.iter().zip(&self.to).take(kept) {
            visit(*from, *to);
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

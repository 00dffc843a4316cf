//! Rows of edges, packed: what each node leads to, in far less than the 32 bits per edge of plain numbers.
//!
//! A row is a set: ascending, each target once. It is written as its length, the distance from the node to the first target, and
//! the gaps between the others, all in the width of the widest. Objects that refer to their neighbours take a few bits per edge,
//! edges to anywhere take what the number of nodes needs, and a node without edges takes a byte.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::GraphError;
use crate::graph::MAX_NODES;

/// Nodes that are packed by one thread, and whose rows lie together.
const CHUNK: u32 = 1 << 16;
/// Nodes that share one start: the others of a group are found by stepping over rows.
const GROUP: u32 = 4;
/// A length that does not fit its byte follows in four.
const LONG: u8 = u8::MAX;
/// Bits are read eight bytes at a time, also the last ones.
const PADDING: usize = 8;
/// Targets that are gathered before they are put in order for the first time.
const GATHERED: usize = 1 << 16;

/// A source of edges that can be asked again and again, for any stretch of nodes, and always says the same.
pub trait Edges: Sync {
    /// Number of nodes.
    fn nodes(&self) -> u32;

    /// Calls `row` with the nodes of a stretch that have edges, ascending, and with the targets of each: ascending, none twice.
    fn each_row(&self, nodes: Range<u32>, row: &mut dyn FnMut(u32, &[u32]));
}

/// The targets of one node while they are gathered: in any order, some of them often. Takes at most eight bytes for each
/// different one (and half a megabyte), however often they come.
#[derive(Debug)]
pub struct RowBuffer {
    targets: Vec<u32>,
    /// Length at which repetitions are thrown out.
    full: usize,
}

impl Default for RowBuffer {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            full: GATHERED,
        }
    }
}

impl RowBuffer {
    /// One more target.
    #[inline]
    pub fn push(&mut self, target: u32) {
        if self.targets.len() >= self.full {
            self.settle();
            self.full = GATHERED.max(self.targets.len() * 2);
        }
        self.targets.push(target);
    }

    /// Hands the row over, if there is one, and begins anew.
    #[inline]
    pub fn finish(&mut self, row: impl FnOnce(&[u32])) {
        if self.targets.is_empty() {
            return;
        }
        self.settle();
        row(&self.targets);
        if self.targets.capacity() > GATHERED {
            *self = Self::default();
        }
        self.targets.clear();
    }

    fn settle(&mut self) {
        if !self.targets.is_sorted_by(|a, b| a < b) {
            self.targets.sort_unstable();
            self.targets.dedup();
        }
    }
}

/// Packed rows of all nodes.
#[derive(Debug, Clone)]
pub struct Rows {
    nodes: u32,
    edges: u64,
    chunks: Vec<Chunk>,
}

#[derive(Debug, Clone)]
struct Chunk {
    /// Where the row of every [`GROUP`]th node begins.
    starts: Box<[u32]>,
    bytes: Box<[u8]>,
    edges: u64,
}

impl Rows {
    /// Packs the rows of a source, chunks of nodes in parallel.
    ///
    /// # Errors
    /// [`GraphError::TooManyNodes`], [`GraphError::TooManyEdges`]; [`GraphError::BadRow`] when the source does not keep to what
    /// [`Edges`] asks for.
    pub fn pack(edges: &impl Edges) -> Result<Self, GraphError> {
        let nodes = edges.nodes();
        if u64::from(nodes) > MAX_NODES {
            return Err(GraphError::TooManyNodes {
                nodes: nodes.into(),
                groups: 0,
                max: MAX_NODES,
            });
        }
        let chunks = (0..nodes.div_ceil(CHUNK))
            .into_par_iter()
            .with_max_len(1)
            .map_init(Vec::new, |bytes, chunk| {
                let start = chunk * CHUNK;
                let range = start..start.saturating_add(CHUNK).min(nodes);
                Chunk::pack(edges, range, nodes, bytes)
            })
            .collect::<Result<Vec<Chunk>, GraphError>>()?;
        Ok(Self {
            nodes,
            edges: chunks.iter().map(|chunk| chunk.edges).sum(),
            chunks,
        })
    }

    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    /// Number of edges.
    #[must_use]
    pub fn edges(&self) -> u64 {
        self.edges
    }

    /// Bytes that the rows take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let size = |chunk: &Chunk| chunk.bytes.len() + chunk.starts.len() * size_of::<u32>();
        self.chunks.iter().map(|chunk| size(chunk) as u64).sum()
    }

    /// Targets of a node, ascending.
    ///
    /// # Panics
    /// There is no such node.
    #[must_use]
    #[inline]
    pub fn row(&self, node: u32) -> Targets<'_> {
        let chunk = &self.chunks[(node / CHUNK) as usize];
        let place = node % CHUNK;
        let mut head = Head::read(
            &chunk.bytes,
            chunk.starts[(place / GROUP) as usize] as usize,
        );
        for _ in 0..place % GROUP {
            head = Head::read(&chunk.bytes, head.end());
        }
        head.targets(&chunk.bytes, node)
    }

    /// Reads a byte near the row of a node, so that the row is at hand when it is needed.
    #[inline]
    pub(crate) fn touch(&self, node: u32) -> u8 {
        let chunk = &self.chunks[(node / CHUNK) as usize];
        chunk.bytes[chunk.starts[(node % CHUNK / GROUP) as usize] as usize]
    }
}

impl Edges for Rows {
    fn nodes(&self) -> u32 {
        self.nodes
    }

    fn each_row(&self, nodes: Range<u32>, row: &mut dyn FnMut(u32, &[u32])) {
        let end = nodes.end.min(self.nodes);
        let mut node = nodes.start;
        let mut targets = Vec::new();
        while node < end {
            let chunk = &self.chunks[(node / CHUNK) as usize];
            let stop = (node / CHUNK + 1).saturating_mul(CHUNK).min(end);
            let place = node % CHUNK;
            let mut at = chunk.starts[(place / GROUP) as usize] as usize;
            for _ in 0..place % GROUP {
                at = Head::read(&chunk.bytes, at).end();
            }
            for node in node..stop {
                let head = Head::read(&chunk.bytes, at);
                if head.count > 0 {
                    targets.clear();
                    targets.extend(head.targets(&chunk.bytes, node));
                    row(node, &targets);
                }
                at = head.end();
            }
            node = stop;
        }
    }
}

impl Chunk {
    fn pack(
        edges: &impl Edges,
        range: Range<u32>,
        nodes: u32,
        bytes: &mut Vec<u8>,
    ) -> Result<Self, GraphError> {
        bytes.clear();
        let mut starts = Vec::with_capacity(range.len().div_ceil(GROUP as usize));
        let mut next = range.start;
        let mut count = 0u64;
        let mut bad = None;
        let mut open = |node: u32, bytes: &[u8]| {
            if node.is_multiple_of(GROUP) {
                // Wraps only when the chunk is refused below.
                starts.push(bytes.len() as u32);
            }
        };
        edges.each_row(range.clone(), &mut |node, targets| {
            let ascending = targets.is_sorted_by(|a, b| a < b);
            let known = targets.last().is_none_or(|last| *last < nodes);
            if node < next || node >= range.end || !ascending || !known {
                bad.get_or_insert(node);
                return;
            }
            for empty in next..node {
                open(empty, bytes);
                bytes.push(0);
            }
            open(node, bytes);
            encode(node, targets, bytes);
            count += targets.len() as u64;
            next = node + 1;
        });
        for empty in next..range.end {
            open(empty, bytes);
            bytes.push(0);
        }
        if let Some(node) = bad {
            return Err(GraphError::BadRow { node });
        }
        bytes.extend([0; PADDING]);
        if u32::try_from(bytes.len()).is_err() {
            return Err(GraphError::TooManyEdges {
                edges: count,
                max: u32::MAX.into(),
            });
        }
        Ok(Self {
            starts: starts.into_boxed_slice(),
            bytes: bytes.as_slice().into(),
            edges: count,
        })
    }
}

/// Writes a row of ascending targets.
fn encode(node: u32, targets: &[u32], bytes: &mut Vec<u8>) {
    let Some(&first) = targets.first() else {
        bytes.push(0);
        return;
    };
    match u8::try_from(targets.len()) {
        Ok(count) if count < LONG => bytes.push(count),
        _ => {
            bytes.push(LONG);
            bytes.extend((targets.len() as u32).to_le_bytes());
        }
    }
    let gaps = || targets.windows(2).map(|pair| pair[1] - pair[0] - 1);
    let width = u32::BITS - gaps().fold(0, |all, gap| all | gap).leading_zeros();
    let distance = first.wrapping_sub(node).cast_signed();
    // Near ones of either sign become small numbers.
    let distance = (distance << 1 ^ distance >> 31).cast_unsigned();
    let distance_bytes = (u32::BITS - distance.leading_zeros()).div_ceil(8).max(1);
    bytes.push((width | (distance_bytes - 1) << 6) as u8);
    bytes.extend(&distance.to_le_bytes()[..distance_bytes as usize]);
    let (mut word, mut bits) = (0u64, 0);
    for gap in gaps() {
        word |= u64::from(gap) << bits;
        bits += width;
        while bits >= 8 {
            bytes.push(word as u8);
            word >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        bytes.push(word as u8);
    }
}

/// How a row begins.
struct Head {
    count: u32,
    /// Bits of each gap.
    width: u32,
    distance_bytes: u32,
    /// Where the distance to the first target stands; after an empty row, its end.
    at: usize,
}

impl Head {
    #[inline]
    fn read(bytes: &[u8], at: usize) -> Self {
        let (count, at) = match bytes[at] {
            0 => {
                return Self {
                    count: 0,
                    width: 0,
                    distance_bytes: 0,
                    at: at + 1,
                };
            }
            LONG => (word(bytes, at + 1) as u32, at + 5),
            count => (count.into(), at + 1),
        };
        let shape = u32::from(bytes[at]);
        Self {
            count,
            width: shape & 63,
            distance_bytes: (shape >> 6) + 1,
            at: at + 1,
        }
    }

    /// Where the next row begins.
    #[inline]
    fn end(&self) -> usize {
        let gaps = u64::from(self.count.saturating_sub(1)) * u64::from(self.width);
        self.at + self.distance_bytes as usize + gaps.div_ceil(8) as usize
    }

    #[inline]
    fn targets<'r>(&self, bytes: &'r [u8], node: u32) -> Targets<'r> {
        let mut first = 0;
        if self.count > 0 {
            let distance = word(bytes, self.at) as u32;
            let distance = distance & u32::MAX >> (u32::BITS - self.distance_bytes * 8);
            let signed = (distance >> 1).cast_signed() ^ -(distance & 1).cast_signed();
            first = node.wrapping_add_signed(signed);
        }
        Targets {
            bytes,
            bit: (self.at as u64 + u64::from(self.distance_bytes)) * 8,
            width: self.width,
            next: first,
            left: self.count,
        }
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes
        .get(at..at + 8)
        .and_then(|eight| eight.try_into().ok());
    eight.map_or(0, u64::from_le_bytes)
}

/// Targets of one node, ascending.
#[derive(Debug, Clone)]
pub struct Targets<'r> {
    bytes: &'r [u8],
    /// Where the next gap stands.
    bit: u64,
    width: u32,
    next: u32,
    left: u32,
}

impl Iterator for Targets<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let target = self.next;
        if self.left > 0 {
            let gap = word(self.bytes, (self.bit / 8) as usize) >> (self.bit % 8);
            let gap = gap & ((1 << self.width) - 1);
            self.next = target.wrapping_add(gap as u32).wrapping_add(1);
            self.bit += u64::from(self.width);
        }
        Some(target)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Targets<'_> {}

/// What every node is led to from, in plain numbers: for searches backwards. 4 bytes per node and per edge.
#[derive(Debug)]
pub(crate) struct Sources {
    starts: Vec<u32>,
    sources: Vec<u32>,
}

impl Sources {
    /// # Errors
    /// [`GraphError::TooManyEdges`].
    pub(crate) fn of(edges: &Rows) -> Result<Self, GraphError> {
        let max = u64::from(u32::MAX);
        if edges.edges() > max {
            return Err(GraphError::TooManyEdges {
                edges: edges.edges(),
                max,
            });
        }
        let all = 0..edges.nodes();
        let mut starts = vec![0u32; all.len() + 1];
        edges.each_row(all.clone(), &mut |_, targets| {
            for target in targets {
                starts[*target as usize] += 1;
            }
        });
        let mut end = 0;
        for slot in &mut starts {
            end += *slot;
            *slot = end;
        }
        // Filled from the back: each slot ends up at the start of its row.
        let mut sources = vec![0u32; end as usize];
        edges.each_row(all, &mut |from, targets| {
            for target in targets {
                let slot = &mut starts[*target as usize];
                *slot -= 1;
                sources[*slot as usize] = from;
            }
        });
        Ok(Self { starts, sources })
    }

    pub(crate) fn nodes(&self) -> u32 {
        (self.starts.len() - 1) as u32
    }

    pub(crate) fn of_node(&self, node: u32) -> &[u32] {
        let i = node as usize;
        &self.sources[self.starts[i] as usize..self.starts[i + 1] as usize]
    }
}

/// Edges in any order, as a program lists them: sorted by stretch of nodes when they are asked for.
pub(crate) struct Listed<F> {
    pub(crate) nodes: u32,
    pub(crate) source: F,
    /// Edges that led nowhere, counted each time that they are seen.
    pub(crate) dropped: std::sync::atomic::AtomicU64,
}

/// Receives the edges of one stretch of nodes, in any order.
pub struct EdgeSink {
    nodes: Range<u32>,
    limit: u32,
    edges: Vec<(u32, u32)>,
    dropped: u64,
}

impl EdgeSink {
    /// Adds an edge. `from` must lie in the stretch that was asked for; edges that do not, and edges to nodes that do not
    /// exist, are dropped and counted.
    #[inline]
    pub fn edge(&mut self, from: u32, to: u32) {
        if self.nodes.contains(&from) && to < self.limit {
            self.edges.push((from, to));
        } else {
            self.dropped += 1;
        }
    }
}

impl<F: Fn(Range<u32>, &mut EdgeSink) + Sync> Edges for Listed<F> {
    fn nodes(&self) -> u32 {
        self.nodes
    }

    fn each_row(&self, nodes: Range<u32>, row: &mut dyn FnMut(u32, &[u32])) {
        let mut sink = EdgeSink {
            nodes: nodes.clone(),
            limit: self.nodes,
            edges: Vec::new(),
            dropped: 0,
        };
        (self.source)(nodes, &mut sink);
        self.dropped
            .fetch_add(sink.dropped, std::sync::atomic::Ordering::Relaxed);
        sink.edges.sort_unstable();
        sink.edges.dedup();
        let mut targets = Vec::new();
        for own in sink.edges.chunk_by(|a, b| a.0 == b.0) {
            targets.clear();
            targets.extend(own.iter().map(|edge| edge.1));
            row(own[0].0, &targets);
        }
    }
}

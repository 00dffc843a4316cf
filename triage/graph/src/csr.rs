//! Compressed sparse rows: the edges of node `i` are `targets[offsets[i]..offsets[i + 1]]`.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::GraphError;

/// Nodes handed to one call of the edge source.
const CHUNK: usize = 1 << 16;
/// The largest count of edges.
const MAX_EDGES: u64 = u32::MAX as u64 - 1;

/// Directed edges in 4 bytes per node and 4 bytes per edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    offsets: Vec<u32>,
    targets: Vec<u32>,
}

/// Receives the edges of one chunk of nodes, in any order.
pub struct EdgeSink<'a> {
    nodes: Range<u32>,
    limit: u32,
    pass: Pass<'a>,
    dropped: u64,
    overflow: Option<u32>,
}

enum Pass<'a> {
    /// Degrees of the chunk's nodes.
    Count { degrees: &'a mut [u32] },
    /// Cursors of the chunk's nodes (absolute positions) and the chunk's part of the targets.
    Fill {
        cursors: &'a mut [u32],
        ends: &'a [u32],
        targets: &'a mut [u32],
        base: u32,
    },
}

impl EdgeSink<'_> {
    /// Adds an edge. `from` must lie in the chunk that was asked for; edges that do not, and edges to nodes that do not
    /// exist, are dropped and counted.
    #[inline]
    pub fn edge(&mut self, from: u32, to: u32) {
        if !self.nodes.contains(&from) || to >= self.limit {
            self.dropped += 1;
            return;
        }
        let i = (from - self.nodes.start) as usize;
        match &mut self.pass {
            Pass::Count { degrees } => degrees[i] = degrees[i].saturating_add(1),
            Pass::Fill {
                cursors,
                ends,
                targets,
                base,
            } => {
                let at = cursors[i];
                if at >= ends[i] {
                    self.overflow.get_or_insert(from);
                    return;
                }
                targets[(at - *base) as usize] = to;
                cursors[i] = at + 1;
            }
        }
    }
}

impl Csr {
    /// Builds from an edge source, which is called twice for every chunk of nodes (first to count, then to fill) and
    /// must give the same edges both times. Chunks run in parallel.
    /// Returns the rows and how many edges led nowhere.
    ///
    /// # Errors
    /// [`GraphError::TooManyEdges`], [`GraphError::Unstable`].
    pub fn build(
        nodes: u32,
        source: impl Fn(Range<u32>, &mut EdgeSink<'_>) + Sync,
    ) -> Result<(Self, u64), GraphError> {
        let n = nodes as usize;
        let mut offsets = vec![0u32; n + 1];
        let dropped = count(nodes, &mut offsets[..n], &source);
        let mut total = 0u64;
        for slot in &mut offsets {
            let degree = u64::from(*slot);
            // Wraps only when the total is refused below.
            *slot = total as u32;
            total += degree;
        }
        if total > MAX_EDGES {
            return Err(GraphError::TooManyEdges {
                edges: total,
                max: MAX_EDGES,
            });
        }
        let mut targets = vec![0u32; total as usize];
        fill(nodes, &mut offsets, &mut targets, &source)?;
        Ok((Self { offsets, targets }, dropped))
    }

    /// Takes rows that are there already: node `i` has the targets `targets[starts[i]..starts[i + 1]]`. No copy is made.
    ///
    /// # Errors
    /// [`GraphError::TooManyEdges`]; [`GraphError::BadRows`] when the starts do not rise from 0 to the number of targets, or a
    /// target is no node.
    pub fn from_rows(starts: Vec<u32>, targets: Vec<u32>) -> Result<Self, GraphError> {
        if targets.len() as u64 > MAX_EDGES {
            return Err(GraphError::TooManyEdges {
                edges: targets.len() as u64,
                max: MAX_EDGES,
            });
        }
        let nodes = starts.len().saturating_sub(1);
        let whole = starts.first() == Some(&0) && starts.last() == Some(&(targets.len() as u32));
        if !whole
            || !starts.par_windows(2).all(|pair| pair[0] <= pair[1])
            || !targets.par_iter().all(|target| (*target as usize) < nodes)
        {
            return Err(GraphError::BadRows);
        }
        Ok(Self {
            offsets: starts,
            targets,
        })
    }

    /// The same edges the other way round. O(n + e).
    #[must_use]
    pub fn reversed(&self) -> Self {
        let mut offsets = vec![0u32; self.offsets.len()];
        for target in &self.targets {
            offsets[*target as usize] += 1;
        }
        let mut end = 0;
        for slot in &mut offsets {
            end += *slot;
            *slot = end;
        }
        // Filled from the back: each slot ends up at the start of its row.
        let mut targets = vec![0u32; self.targets.len()];
        for from in (0..self.nodes()).rev() {
            for target in self.row(from).iter().rev() {
                let slot = &mut offsets[*target as usize];
                *slot -= 1;
                targets[*slot as usize] = from;
            }
        }
        Self { offsets, targets }
    }

    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        (self.offsets.len() - 1) as u32
    }

    /// Number of edges.
    #[must_use]
    pub fn edges(&self) -> u32 {
        self.targets.len() as u32
    }

    /// Targets of the edges of `node`.
    #[must_use]
    #[inline]
    pub fn row(&self, node: u32) -> &[u32] {
        let i = node as usize;
        &self.targets[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }
}

/// First pass: degrees into `degrees`.
fn count(
    nodes: u32,
    degrees: &mut [u32],
    source: &(impl Fn(Range<u32>, &mut EdgeSink<'_>) + Sync),
) -> u64 {
    degrees
        .par_chunks_mut(CHUNK)
        .enumerate()
        .map(|(c, degrees)| {
            let range = chunk_range(c, degrees.len());
            let mut sink = EdgeSink {
                nodes: range.clone(),
                limit: nodes,
                pass: Pass::Count { degrees },
                dropped: 0,
                overflow: None,
            };
            source(range, &mut sink);
            sink.dropped
        })
        .sum()
}

/// Second pass. The offsets serve as cursors: afterwards each holds the start of the next row, hence the final shift.
fn fill(
    nodes: u32,
    offsets: &mut [u32],
    targets: &mut [u32],
    source: &(impl Fn(Range<u32>, &mut EdgeSink<'_>) + Sync),
) -> Result<(), GraphError> {
    let n = nodes as usize;
    let mut jobs = Vec::with_capacity(n / CHUNK + 1);
    let mut rest_targets = targets;
    let total = offsets[n];
    // Row ends of a chunk: the starts of the following rows, copied because the cursors move. One chunk at a time per thread.
    let starts: Vec<u32> = offsets[..n]
        .iter()
        .copied()
        .step_by(CHUNK)
        .chain([total])
        .collect();
    for (c, cursors) in offsets[..n].chunks_mut(CHUNK).enumerate() {
        let len = (starts[c + 1] - starts[c]) as usize;
        let (mine, rest) = rest_targets.split_at_mut(len);
        rest_targets = rest;
        jobs.push((c, cursors, mine));
    }
    let unstable = jobs
        .into_par_iter()
        .filter_map(|(c, cursors, targets)| {
            let mut ends: Vec<u32> = cursors[1..].to_vec();
            ends.push(starts[c + 1]);
            let range = chunk_range(c, cursors.len());
            let mut sink = EdgeSink {
                nodes: range.clone(),
                limit: nodes,
                pass: Pass::Fill {
                    cursors,
                    ends: &ends,
                    targets,
                    base: starts[c],
                },
                dropped: 0,
                overflow: None,
            };
            source(range.clone(), &mut sink);
            let overflow = sink.overflow;
            let short = cursors.iter().zip(&ends).position(|(at, end)| at != end);
            overflow.or(short.map(|i| range.start + i as u32))
        })
        .min();
    offsets.copy_within(0..n, 1);
    offsets[0] = 0;
    unstable.map_or(Ok(()), |node| Err(GraphError::Unstable { node }))
}

fn chunk_range(chunk: usize, len: usize) -> Range<u32> {
    let start = (chunk * CHUNK) as u32;
    start..start + len as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn rows_hold_the_edges_in_the_order_given_across_chunks() -> Result<(), GraphError> {
        let n = 3 * CHUNK as u32 + 7;
        let (csr, dropped) = Csr::build(n, |nodes, sink| {
            for i in nodes.rev() {
                for k in 0..i % 4 {
                    sink.edge(i, (i.wrapping_mul(7) + k) % n);
                }
            }
        })?;
        assert_eq!((csr.nodes(), dropped), (n, 0));
        for i in [0, 1, 2, 3, CHUNK as u32 - 1, CHUNK as u32, n - 1] {
            let expected: Vec<u32> = (0..i % 4).map(|k| (i.wrapping_mul(7) + k) % n).collect();
            assert_eq!(csr.row(i), expected);
        }
        Ok(())
    }

    #[test]
    fn edges_that_lead_nowhere_are_counted_not_followed() -> Result<(), GraphError> {
        let (csr, dropped) = Csr::build(3, |_, sink| {
            sink.edge(0, 3);
            sink.edge(7, 0);
            sink.edge(1, 2);
        })?;
        assert_eq!((csr.edges(), dropped), (1, 2));
        assert_eq!(csr.row(1), [2]);
        let (empty, _) = Csr::build(0, |_, _| {})?;
        assert_eq!((empty.nodes(), empty.edges()), (0, 0));
        Ok(())
    }

    #[test]
    fn rows_are_taken_as_they_are_or_refused() {
        let rows = Csr::from_rows(vec![0, 2, 2, 3], vec![1, 2, 0]);
        let rows = rows.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((rows.row(0), rows.row(2)), (&[1, 2][..], &[0][..]));
        let back = rows.reversed();
        let rows_back: Vec<&[u32]> = (0..3).map(|i| back.row(i)).collect();
        assert_eq!(rows_back, [&[2][..], &[0], &[0]]);
        for (starts, targets) in [
            (vec![], vec![]),
            (vec![0, 1], vec![1]),
            (vec![0, 1], vec![]),
            (vec![1, 1], vec![0]),
            (vec![0, 2, 1, 2], vec![0, 0]),
        ] {
            assert_eq!(Csr::from_rows(starts, targets), Err(GraphError::BadRows));
        }
    }

    #[test]
    fn a_source_that_changes_its_mind_is_refused() {
        for (first, second) in [(1, 2), (2, 1), (0, 1)] {
            let calls = AtomicU32::new(0);
            let built = Csr::build(2, |_, sink| {
                let n = if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                    first
                } else {
                    second
                };
                for _ in 0..n {
                    sink.edge(1, 0);
                }
            });
            assert_eq!(built.err(), Some(GraphError::Unstable { node: 1 }));
        }
    }
}

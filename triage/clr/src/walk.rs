//! The linear walk: every object of every range, in parallel over ranges.
//!
//! A heap is a row of objects without gaps, but for the allocation contexts of running threads. On damage the walk looks, word
//! by word, for the next thing that is an object and whose follower is one too, and counts what it skipped.

use crate::completeness::{Log, Problem};
use crate::limits;
use crate::segments::{Generation, HeapRange};
use crate::shapes::{Shape, ShapeCache, ShapeTable, TypeId};
use crate::window::{PIECE_BYTES, SMALL_PIECE_BYTES, Window};
use leakhound_dump::Memory;
use rayon::prelude::*;
use serde::Serialize;

/// An object as the walk meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its address.
    pub address: u64,
    /// Its bytes, header and padding included.
    pub size: u64,
    /// Its type.
    pub type_id: TypeId,
    /// Generation of the range it lies in.
    pub generation: Generation,
}

/// Free blocks by size: bucket i holds those of at least `32 << i` bytes and less than twice that; the first also smaller ones.
pub const FREE_BUCKETS: usize = 24;

/// What the walk saw in one range, or the sum over many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RangeStats {
    /// Objects, without free blocks.
    pub object_count: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Free blocks.
    pub free_count: u64,
    /// Their bytes.
    pub free_bytes: u64,
    /// The largest of them.
    pub largest_free_bytes: u64,
    /// Free blocks by size, see [`FREE_BUCKETS`].
    pub free_histogram: [u64; FREE_BUCKETS],
    /// Bytes in the allocation contexts of threads: handed out, not yet objects.
    pub allocation_context_bytes: u64,
    /// Bytes that were neither: damage or pages that the dump lacks.
    pub skipped_bytes: u64,
}

impl RangeStats {
    fn free(&mut self, bytes: u64) {
        self.free_count += 1;
        self.free_bytes += bytes;
        self.largest_free_bytes = self.largest_free_bytes.max(bytes);
        let bucket = (bytes >> 5).checked_ilog2().unwrap_or(0) as usize;
        self.free_histogram[bucket.min(FREE_BUCKETS - 1)] += 1;
    }

    /// Adds another range's numbers.
    pub fn add(&mut self, other: &Self) {
        self.object_count += other.object_count;
        self.object_bytes += other.object_bytes;
        self.free_count += other.free_count;
        self.free_bytes += other.free_bytes;
        self.largest_free_bytes = self.largest_free_bytes.max(other.largest_free_bytes);
        self.free_histogram
            .iter_mut()
            .zip(other.free_histogram)
            .for_each(|(a, b)| *a += b);
        self.allocation_context_bytes += other.allocation_context_bytes;
        self.skipped_bytes += other.skipped_bytes;
    }
}

/// Result of a walk.
pub struct Walk<A> {
    /// One for each piece of work; the caller adds them up.
    pub accumulators: Vec<A>,
    /// What was seen in each range, in address order.
    pub ranges: Vec<(HeapRange, RangeStats)>,
}

/// What a walk needs to know of a heap.
pub(crate) struct Walker<'a> {
    pub memory: &'a dyn Memory,
    pub shapes: &'a ShapeTable,
    pub alloc_contexts: &'a [(u64, u64)],
    pub log: &'a Log,
}

impl Walker<'_> {
    /// Walks all ranges; `new` makes an accumulator for each piece of parallel work.
    pub fn walk<A: Send>(
        &self,
        ranges: &[HeapRange],
        new: impl Fn() -> A + Sync,
        visit: impl Fn(&mut A, Object) + Sync,
    ) -> Walk<A> {
        type Piece<'t, A> = (ShapeCache<'t>, A, Vec<(HeapRange, RangeStats)>);
        let pieces: Vec<Piece<'_, A>> = ranges
            .par_iter()
            .with_max_len(1)
            .fold(
                || (ShapeCache::new(self.shapes), new(), Vec::new()),
                |(mut cache, mut accumulator, mut stats), range| {
                    let seen = self
                        .walk_range(range, &mut cache, |object| visit(&mut accumulator, object));
                    stats.push((*range, seen));
                    (cache, accumulator, stats)
                },
            )
            .collect();
        let mut walk = Walk {
            accumulators: Vec::new(),
            ranges: Vec::new(),
        };
        for (_, accumulator, stats) in pieces {
            walk.accumulators.push(accumulator);
            walk.ranges.extend(stats);
        }
        walk.ranges.sort_by_key(|(range, _)| range.start);
        walk
    }

    /// Walks one range.
    pub fn walk_range(
        &self,
        range: &HeapRange,
        cache: &mut ShapeCache<'_>,
        mut visit: impl FnMut(Object),
    ) -> RangeStats {
        let piece = if matches!(range.generation, Generation::Loh) {
            SMALL_PIECE_BYTES
        } else {
            PIECE_BYTES
        };
        let mut window = Window::new(self.memory, range.start, range.end, piece);
        let mut stats = RangeStats::default();
        let mut contexts = self.contexts_in(range).iter().copied().peekable();
        let mut next_context = contexts.peek().map_or(u64::MAX, |c| c.0);
        let mut cursor = range.start;
        let mut resync_budget = limits::RESYNC_BYTES;
        while cursor < range.end {
            if cursor >= next_context {
                let (pointer, limit) = contexts.next().unwrap_or((u64::MAX, 0));
                next_context = contexts.peek().map_or(u64::MAX, |c| c.0);
                // The runtime keeps room for one smallest object behind the limit.
                let after = limit.saturating_add(24).min(range.end);
                if pointer == cursor && after > cursor {
                    stats.allocation_context_bytes += after - cursor;
                    cursor = after;
                }
                continue;
            }
            let object = window
                .header(cursor)
                .and_then(|(word, count)| Some((cache.get(word)?, count)));
            let fitting = object
                .map(|(shape, count)| (shape, shape.size(count)))
                .filter(|(_, size)| *size <= range.end - cursor);
            let Some((shape, size)) = fitting else {
                let next = self.resync(
                    range,
                    cursor,
                    next_context,
                    &mut window,
                    cache,
                    &mut resync_budget,
                );
                stats.skipped_bytes += next - cursor;
                cursor = next;
                continue;
            };
            if shape.id == TypeId::FREE {
                stats.free(size);
            } else {
                stats.object_count += 1;
                stats.object_bytes += size;
                visit(Object {
                    address: cursor,
                    size,
                    type_id: shape.id,
                    generation: range.generation,
                });
            }
            cursor += size;
        }
        stats
    }

    /// Allocation contexts never lie in large object or frozen ranges.
    fn contexts_in(&self, range: &HeapRange) -> &[(u64, u64)] {
        if matches!(range.generation, Generation::Loh | Generation::Frozen) {
            return &[];
        }
        let from = self.alloc_contexts.partition_point(|c| c.0 < range.start);
        let to = self.alloc_contexts.partition_point(|c| c.0 < range.end);
        &self.alloc_contexts[from..to]
    }

    /// The next address where objects go on.
    #[cold]
    fn resync(
        &self,
        range: &HeapRange,
        damaged: u64,
        next_context: u64,
        window: &mut Window<'_>,
        cache: &mut ShapeCache<'_>,
        budget: &mut u64,
    ) -> u64 {
        let mut at = damaged;
        if window.header(at).is_some() {
            self.log.count(Problem::DamagedObject);
        } else {
            self.log.count(Problem::MissingHeapPages);
        }
        loop {
            at = at.saturating_add(8);
            if at >= range.end {
                return range.end;
            }
            if at == next_context {
                return at;
            }
            let Some((word, count)) = window.header(at) else {
                // A hole: on to the next page that is there (the loop adds the word that is taken off here).
                at = self.next_present(at + 8) - 8;
                continue;
            };
            *budget = budget.saturating_sub(8);
            if *budget == 0 {
                self.log.count(Problem::LimitReached);
                return range.end;
            }
            let Some(shape) = cache.get(word) else {
                continue;
            };
            let end = at.saturating_add(shape.size(count));
            if end == range.end || end == next_context {
                return at;
            }
            if end < range.end && self.starts_object(end, range, window, cache) {
                return at;
            }
        }
    }

    /// The first address from `at` on that the dump has.
    fn next_present(&self, at: u64) -> u64 {
        let regions = self.memory.regions();
        let next = regions.partition_point(|r| r.end <= at);
        regions
            .get(next)
            .map_or(!7, |r| at.max(r.start.saturating_add(7) & !7))
    }

    fn starts_object(
        &self,
        at: u64,
        range: &HeapRange,
        window: &mut Window<'_>,
        cache: &mut ShapeCache<'_>,
    ) -> bool {
        let header = window.header(at);
        let shape: Option<(Shape, u32)> =
            header.and_then(|(word, count)| Some((cache.get(word)?, count)));
        shape.is_some_and(|(shape, count)| shape.size(count) <= range.end - at)
    }
}

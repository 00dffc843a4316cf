//! The linear walk of one range, or of a part of it.
//!
//! A heap is a row of objects without gaps, but for the allocation contexts of running threads. On damage the walk looks, word
//! by word, for the next thing that is an object and whose follower is one too, and counts what it skipped.
//!
//! What happens from an object on depends on nothing but its address and on what is left of the budget for such searches: that
//! is what lets [`crate::parallel`] put a range together from parts.

use crate::completeness::{Log, Problem};
use crate::segments::{Generation, HeapRange};
use crate::shapes::{ShapeCache, ShapeTable, TypeId};
use crate::window::{HEADER_BYTES, PIECE_BYTES, SMALL_PIECE_BYTES, Window, header};
use leakhound_dump::Memory;
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
    /// Bytes of one range that may be searched for objects after damage.
    pub search_bytes: u64,
    pub log: &'a Log,
}

/// One thread's means to walk.
pub(crate) struct Tools<'a> {
    pub cache: ShapeCache<'a>,
    window: Window<'a>,
    small_window: Window<'a>,
}

/// Where a walk stands: all that what follows depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// Address of the next object.
    pub at: u64,
    /// Bytes that may still be searched for objects after damage.
    pub search_bytes: u64,
}

/// Damage that a walk met, not yet in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    objects: u64,
    pages: u64,
    limits: u64,
}

impl Damage {
    /// Puts it into the log.
    pub fn report(self, log: &Log) {
        for (problem, times) in [
            (Problem::DamagedObject, self.objects),
            (Problem::MissingHeapPages, self.pages),
            (Problem::LimitReached, self.limits),
        ] {
            log.add(problem, times);
        }
    }
}

/// What was seen on the way from one position to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub stats: RangeStats,
    pub damage: Damage,
    pub end: Position,
}

impl<'a> Walker<'a> {
    /// What one thread needs.
    pub fn tools(&self) -> Tools<'a> {
        Tools {
            cache: ShapeCache::new(self.shapes),
            window: Window::new(self.memory, PIECE_BYTES),
            small_window: Window::new(self.memory, SMALL_PIECE_BYTES),
        }
    }

    /// Where the walk of a range begins.
    pub fn start_of(&self, range: &HeapRange) -> Position {
        Position {
            at: range.start,
            search_bytes: self.search_bytes,
        }
    }

    /// Walks one range from end to end.
    pub fn walk_range(
        &self,
        range: &HeapRange,
        tools: &mut Tools<'a>,
        visit: impl FnMut(Object),
    ) -> RangeStats {
        let seen = self.walk_part(range, self.start_of(range), range.end, tools, visit);
        seen.damage.report(self.log);
        seen.stats
    }

    /// Walks all objects of a range that begin in `from.at..until`.
    pub fn walk_part(
        &self,
        range: &HeapRange,
        from: Position,
        until: u64,
        tools: &mut Tools<'a>,
        mut visit: impl FnMut(Object),
    ) -> Seen {
        let (cache, window) = tools.of(range);
        let mut stats = RangeStats::default();
        let mut damage = Damage::default();
        let mut contexts = self.contexts_in(range, from.at);
        let mut next_context = contexts.first().map_or(u64::MAX, |c| c.0);
        let mut cursor = from.at;
        let mut search_bytes = from.search_bytes;
        while cursor < until {
            if cursor >= next_context {
                let (pointer, limit) = contexts.first().copied().unwrap_or((u64::MAX, 0));
                contexts = contexts.get(1..).unwrap_or_default();
                next_context = contexts.first().map_or(u64::MAX, |c| c.0);
                // The runtime keeps room for one smallest object behind the limit.
                let after = limit.saturating_add(24).min(range.end);
                if pointer == cursor && after > cursor {
                    stats.allocation_context_bytes += after - cursor;
                    cursor = after;
                }
                continue;
            }
            let (room, stop) = (range.end - cursor, until.min(next_context) - cursor);
            let bytes = window.view(cursor, HEADER_BYTES);
            let mut done = 0;
            // Objects of known types, one after the other: nearly all of a heap passes through these lines.
            while done < stop {
                let Some((word, count)) = bytes.get(done as usize..).and_then(header) else {
                    break;
                };
                let Some(shape) = cache.known(word) else {
                    break;
                };
                let size = shape.size(count);
                if size > room - done {
                    break;
                }
                if shape.id == TypeId::FREE {
                    stats.free(size);
                } else {
                    stats.object_count += 1;
                    stats.object_bytes += size;
                    visit(Object {
                        address: cursor + done,
                        size,
                        type_id: shape.id,
                        generation: range.generation,
                    });
                }
                done += size;
            }
            cursor += done;
            if done > 0 {
                continue;
            }
            // The first object of its type is looked at here, and taken in the next round.
            if object_size(window, cache, cursor).is_none_or(|size| size > room) {
                let searched = self.resync(
                    range,
                    cursor,
                    next_context,
                    (&mut *cache, &mut *window),
                    &mut search_bytes,
                    &mut damage,
                );
                stats.skipped_bytes += searched - cursor;
                cursor = searched;
            }
        }
        Seen {
            stats,
            damage,
            end: Position {
                at: cursor,
                search_bytes,
            },
        }
    }

    /// An address in `from..until` at which a walk that comes from before may well arrive, found by looking.
    pub fn guess_object(
        &self,
        range: &HeapRange,
        from: u64,
        until: u64,
        tools: &mut Tools<'a>,
    ) -> Option<u64> {
        let (cache, window) = tools.of(range);
        let next_context = self
            .contexts_in(range, from)
            .first()
            .map_or(u64::MAX, |c| c.0);
        let until = until.min(from.saturating_add(GUESS_BYTES));
        let mut start = from.next_multiple_of(8);
        while start < until {
            if window.header(start).is_none() {
                start = self.next_present(start);
                continue;
            }
            let mut at = start;
            let plausible = (0..GUESS_OBJECTS).all(|_| {
                at == range.end
                    || at == next_context
                    || object_size(window, cache, at)
                        .filter(|size| *size <= range.end - at)
                        .inspect(|size| at += size)
                        .is_some()
            });
            if plausible {
                return Some(start);
            }
            start += 8;
        }
        None
    }

    /// Allocation contexts from an address on; they never lie in large object or frozen ranges.
    fn contexts_in(&self, range: &HeapRange, from: u64) -> &'a [(u64, u64)] {
        if matches!(range.generation, Generation::Loh | Generation::Frozen) {
            return &[];
        }
        let first = self.alloc_contexts.partition_point(|c| c.0 < from);
        let end = self.alloc_contexts.partition_point(|c| c.0 < range.end);
        self.alloc_contexts.get(first..end).unwrap_or_default()
    }

    /// The next address where objects go on.
    #[cold]
    fn resync(
        &self,
        range: &HeapRange,
        damaged: u64,
        next_context: u64,
        (cache, window): (&mut ShapeCache<'a>, &mut Window<'a>),
        search_bytes: &mut u64,
        damage: &mut Damage,
    ) -> u64 {
        let mut at = damaged;
        if window.header(at).is_some() {
            damage.objects += 1;
        } else {
            damage.pages += 1;
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
                // A hole: on to the next bytes that may be there, or to an allocation context that begins in it (the loop adds
                // the word that is taken off here).
                let present = self.next_present(at);
                at = if at < next_context {
                    present.min(next_context)
                } else {
                    present
                } - 8;
                continue;
            };
            *search_bytes = search_bytes.saturating_sub(8);
            if *search_bytes == 0 {
                damage.limits += 1;
                return range.end;
            }
            let Some(shape) = cache.get(word) else {
                continue;
            };
            let end = at.saturating_add(shape.size(count));
            if end == range.end || end == next_context {
                return at;
            }
            if end < range.end
                && object_size(window, cache, end).is_some_and(|size| size <= range.end - end)
            {
                return at;
            }
        }
    }

    /// The first address behind `missing` that the dump may have.
    fn next_present(&self, missing: u64) -> u64 {
        let regions = self.memory.regions();
        let at = missing.saturating_add(8);
        let next = regions.partition_point(|r| r.end <= at);
        match regions.get(next) {
            None => !7,
            Some(region) if region.start > missing => at.max(region.start.saturating_add(7) & !7),
            // What claims to be there and cannot be read is missing as a whole page or compressed frame.
            Some(_) => {
                let block = self.memory.block(at).map_or(0, |block| block.end & !7);
                block.max((missing & !(PAGE_BYTES - 1)).saturating_add(PAGE_BYTES))
            }
        }
    }
}

impl<'a> Tools<'a> {
    fn of(&mut self, range: &HeapRange) -> (&mut ShapeCache<'a>, &mut Window<'a>) {
        let window = if matches!(range.generation, Generation::Loh) {
            &mut self.small_window
        } else {
            &mut self.window
        };
        (&mut self.cache, window)
    }
}

/// Objects in a row that make a guess.
const GUESS_OBJECTS: usize = 32;
/// Bytes that are searched for a guess: more than an object of the small object heap can have.
const GUESS_BYTES: u64 = 1 << 17;
/// Dumps lack whole pages.
const PAGE_BYTES: u64 = 1 << 12;

/// Bytes of the object at an address, if there is one.
fn object_size(window: &mut Window<'_>, cache: &mut ShapeCache<'_>, at: u64) -> Option<u64> {
    let (word, count) = window.header(at)?;
    Some(cache.get(word)?.size(count))
}

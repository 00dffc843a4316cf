//! Heaps, generations and segments: where objects can lie.
//!
//! Regions or segments is a question to the process, never to its version: a runtime of 7 or later can run `libclrgc` with
//! segments. Source: gc/gcpriv.h (`heap_segment`, `generation`), reference/clr-reader.md §2 and §3.

use crate::completeness::{Log, Problem};
use crate::gc_vars::GcVars;
use crate::limits;
use leakhound_dump::{Memory, MemoryExt};
use serde::Serialize;
use std::collections::HashSet;

/// Age or kind of a part of the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// Generation 0.
    Gen0,
    /// Generation 1.
    Gen1,
    /// Generation 2.
    Gen2,
    /// Large object heap.
    Loh,
    /// Pinned object heap (5.0 and later).
    Poh,
    /// Frozen: never moved, never collected (string literals and type objects since 8).
    Frozen,
}

impl Generation {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::Gen0,
        Self::Gen1,
        Self::Gen2,
        Self::Loh,
        Self::Poh,
        Self::Frozen,
    ];

    /// As it is written: `gen0`, `gen1`, `gen2`, `loh`, `poh`, `frozen`.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["gen0", "gen1", "gen2", "loh", "poh", "frozen"][self as usize]
    }

    /// Generations 0, 1 and 2.
    #[must_use]
    pub fn is_small(self) -> bool {
        self <= Self::Gen2
    }
}

/// A stretch of one generation that objects lie in, without gaps but for allocation contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HeapRange {
    /// Index of the heap.
    pub heap: u32,
    /// Its generation.
    pub generation: Generation,
    /// Address of the first object.
    pub start: u64,
    /// Address after the last object.
    pub end: u64,
}

/// A segment or region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Index of the heap.
    pub heap: u32,
    /// Generation of its youngest part.
    pub generation: Generation,
    /// Address of the first object.
    pub start: u64,
    /// Address after the last object.
    pub allocated_end: u64,
    /// Address after the last committed byte.
    pub committed_end: u64,
    /// Address after the last reserved byte.
    pub reserved_end: u64,
    /// Its parts by generation, oldest first; one part but for the ephemeral segment.
    pub parts: Vec<HeapRange>,
}

impl Segment {
    /// Committed bytes, from the page of the first object on.
    #[must_use]
    pub fn committed_bytes(&self) -> u64 {
        self.committed_end.saturating_sub(self.start & !0xFFF)
    }

    /// Reserved bytes, from the page of the first object on.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved_end.saturating_sub(self.start & !0xFFF)
    }

    /// Committed bytes after the last object.
    #[must_use]
    pub fn tail_bytes(&self) -> u64 {
        self.committed_end.saturating_sub(self.allocated_end)
    }

    /// Gives up everything from an address on.
    fn end_at(&mut self, end: u64) {
        self.allocated_end = self.allocated_end.min(end);
        self.committed_end = self.committed_end.min(end);
        self.reserved_end = self.reserved_end.min(end);
        for part in &mut self.parts {
            part.end = part.end.min(end);
        }
        self.parts.retain(|part| part.start < part.end);
    }
}

/// One GC heap: the only one of workstation GC, or one of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heap {
    /// Its index.
    pub index: u32,
    /// Its segments in address order.
    pub segments: Vec<Segment>,
    /// Address of its finalization queue.
    #[serde(skip)]
    pub(crate) finalize_queue: u64,
    /// Allocation contexts of its generations: pointer and limit.
    #[serde(skip)]
    pub(crate) alloc_contexts: Vec<(u64, u64)>,
}

/// All heaps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heaps {
    pub heaps: Vec<Heap>,
    pub regions: bool,
    pub server: bool,
}

/// Where things lie in a server heap; workstation has them as variables.
struct HeapPlace {
    generation_table: u64,
    ephemeral_segment: u64,
    alloc_allocated: u64,
    finalize_queue: u64,
}

impl Heaps {
    /// Reads every heap's generations and segment lists.
    pub fn read(memory: &dyn Memory, vars: &GcVars, log: &Log) -> Option<Self> {
        let offsets = GenerationOffsets::read(memory, vars);
        let server = vars.heap_count != 0;
        let places = places(memory, vars, log)?;
        let mut heaps = Heaps {
            heaps: Vec::new(),
            regions: false,
            server,
        };
        for (index, place) in places.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            heaps.regions |= offsets.has_regions(memory, vars, place);
            heaps.heaps.push(read_heap(
                memory,
                vars,
                &offsets,
                index,
                place,
                heaps.regions,
                log,
            ));
        }
        settle_overlaps(&mut heaps.heaps, log);
        Some(heaps)
    }

    /// Every range that objects lie in, in address order.
    pub fn ranges(&self) -> Vec<HeapRange> {
        let parts = self
            .heaps
            .iter()
            .flat_map(|h| &h.segments)
            .flat_map(|s| &s.parts);
        let mut ranges: Vec<HeapRange> = parts.copied().filter(|r| r.start < r.end).collect();
        ranges.sort_by_key(|r| r.start);
        ranges
    }
}

/// Addresses of the finalization queues of all heaps; `None` when one of them cannot be told.
pub(crate) fn finalize_queues(memory: &dyn Memory, vars: &GcVars) -> Option<Vec<u64>> {
    let log = Log::default();
    let places = places(memory, vars, &log)?;
    let queues = places.iter().map(|place| place.finalize_queue).collect();
    log.snapshot().is_whole().then_some(queues)
}

fn places(memory: &dyn Memory, vars: &GcVars, log: &Log) -> Option<Vec<HeapPlace>> {
    if vars.heap_count != 0 {
        server_heaps(memory, vars, log)
    } else {
        Some(vec![workstation_heap(memory, vars)?])
    }
}

/// Offsets in `generation`: allocation context, start segment, start of allocation (-1: regions).
struct GenerationOffsets {
    context: u64,
    segment: u64,
    start: Option<u64>,
}

impl GenerationOffsets {
    fn read(memory: &dyn Memory, vars: &GcVars) -> Self {
        // Before 6.0 there is no array and the offsets are these (gc/dac_generation_fields.h).
        let fixed = Self {
            context: 0,
            segment: 56,
            start: Some(64),
        };
        let offset = |i: u64| memory.u32(vars.generation_field_offsets.checked_add(i * 4)?);
        let inside = |v: u32| u64::from(v) + 16 <= vars.generation_size;
        if vars.generation_field_offsets == 0 {
            return fixed;
        }
        match (offset(0), offset(1), offset(2)) {
            (Some(context), Some(segment), Some(start)) if inside(context) && inside(segment) => {
                Self {
                    context: context.into(),
                    segment: segment.into(),
                    start: inside(start).then_some(start.into()),
                }
            }
            _ => fixed,
        }
    }

    fn has_regions(&self, memory: &dyn Memory, vars: &GcVars, place: &HeapPlace) -> bool {
        let segment = |i: u64| {
            memory.u64(
                place
                    .generation_table
                    .wrapping_add(i * vars.generation_size)
                    .wrapping_add(self.segment),
            )
        };
        self.start.is_none() || segment(0) != segment(1)
    }
}

fn workstation_heap(memory: &dyn Memory, vars: &GcVars) -> Option<HeapPlace> {
    Some(HeapPlace {
        generation_table: vars.generation_table,
        ephemeral_segment: memory.u64(vars.ephemeral_segment)?,
        alloc_allocated: memory.u64(vars.alloc_allocated)?,
        finalize_queue: memory.u64(vars.finalize_queue)?,
    })
}

fn server_heaps(memory: &dyn Memory, vars: &GcVars, log: &Log) -> Option<Vec<HeapPlace>> {
    let claimed = memory.u32(vars.heap_count)?;
    if claimed > limits::HEAPS {
        log.count(Problem::LimitReached);
    }
    let array = memory.u64(vars.heaps)?;
    // Positions in the array of field offsets: alloc_allocated 0, ephemeral_heap_segment 1, finalize_queue 2, generation_table 18.
    // Before 6.0 a heap starts with these fields (gc/dac_gcheap_fields.h).
    let fixed = [0u64, 8, 16, 344];
    let offset = |i: usize| -> Option<u64> {
        if vars.heap_field_offsets == 0 {
            return Some(fixed[i]);
        }
        memory
            .u32(vars.heap_field_offsets.checked_add([0, 1, 2, 18][i] * 4)?)
            .map(u64::from)
    };
    let mut places = Vec::new();
    for index in 0..u64::from(claimed.min(limits::HEAPS)) {
        let Some(heap) = memory
            .u64(array.checked_add(index * 8)?)
            .filter(|h| *h != 0)
        else {
            log.count(Problem::DamagedSegmentList);
            continue;
        };
        let field = |i: usize| memory.u64(heap.checked_add(offset(i)?)?);
        let place = || {
            Some(HeapPlace {
                alloc_allocated: field(0)?,
                ephemeral_segment: field(1)?,
                finalize_queue: field(2)?,
                generation_table: heap.checked_add(offset(3)?)?,
            })
        };
        match place() {
            Some(place) => places.push(place),
            // The other heaps are worth reading without it.
            None => log.count(Problem::DamagedSegmentList),
        }
    }
    (!places.is_empty()).then_some(places)
}

fn read_heap(
    memory: &dyn Memory,
    vars: &GcVars,
    offsets: &GenerationOffsets,
    index: u32,
    place: &HeapPlace,
    regions: bool,
    log: &Log,
) -> Heap {
    let mut heap = Heap {
        index,
        segments: Vec::new(),
        finalize_queue: place.finalize_queue,
        alloc_contexts: Vec::new(),
    };
    let mut starts = [0u64; 5];
    for number in 0..vars.generation_count.min(limits::GENERATIONS) {
        let at = place
            .generation_table
            .wrapping_add(number * vars.generation_size);
        let word = |offset: u64| memory.u64(at.wrapping_add(offset));
        if let (Some(pointer), Some(limit)) = (word(offsets.context), word(offsets.context + 8)) {
            heap.alloc_contexts.push((pointer, limit));
        }
        starts[number as usize] = offsets.start.and_then(word).unwrap_or(0);
        // With segments, generation 2 lists all of the small object heap.
        if !regions && number < 2 {
            continue;
        }
        let generation = Generation::ALL[number as usize];
        let first = word(offsets.segment);
        if first.is_none() {
            log.count(Problem::DamagedSegmentList);
        }
        let mut seen = HashSet::new();
        let mut next = first.unwrap_or(0);
        while next != 0 {
            if !seen.insert(next) || seen.len() > limits::SEGMENTS {
                log.count(Problem::DamagedSegmentList);
                break;
            }
            let Some((segment, following)) = read_segment(
                memory, index, generation, next, place, &starts, regions, log,
            ) else {
                log.count(Problem::DamagedSegmentList);
                break;
            };
            heap.segments.extend(segment);
            next = following;
        }
    }
    heap.segments.sort_by_key(|s| s.start);
    heap
}

/// Flag of a segment that an application or the runtime registered as read-only.
const READ_ONLY: u64 = 1;

/// The segment at an address (absent when its limits are impossible) and the next one's address.
#[expect(
    clippy::too_many_arguments,
    reason = "one call site; the arguments are what a segment is judged by"
)]
fn read_segment(
    memory: &dyn Memory,
    heap: u32,
    generation: Generation,
    at: u64,
    place: &HeapPlace,
    starts: &[u64; 5],
    regions: bool,
    log: &Log,
) -> Option<(Option<Segment>, u64)> {
    let bytes: [u8; 56] = memory.array(at)?;
    let word =
        |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap_or_default());
    let (allocated, committed_end, reserved_end, start, flags, next) =
        (word(0), word(1), word(2), word(4), word(5), word(6));
    let frozen = flags & READ_ONLY != 0;
    let ephemeral = at == place.ephemeral_segment && !frozen;
    // The field of the segment that is being allocated from is stale; the heap knows better.
    let allocated_end = if ephemeral {
        place.alloc_allocated
    } else {
        allocated
    };
    let aligned = start % 8 == 0 && allocated_end % 8 == 0 && start != 0;
    if !(aligned
        && start <= allocated_end
        && allocated_end <= reserved_end
        && reserved_end < 1 << 57)
    {
        log.count(Problem::ImplausibleSegment);
        return Some((None, next));
    }
    let part = |generation, start, end| HeapRange {
        heap,
        generation,
        start,
        end,
    };
    let (generation, parts) = if frozen {
        (
            Generation::Frozen,
            vec![part(Generation::Frozen, start, allocated_end)],
        )
    } else if ephemeral && !regions {
        let [gen0, gen1, ..] = *starts;
        if start <= gen1 && gen1 <= gen0 && gen0 <= allocated_end {
            let old = part(Generation::Gen2, start, gen1);
            (
                Generation::Gen0,
                vec![
                    old,
                    part(Generation::Gen1, gen1, gen0),
                    part(Generation::Gen0, gen0, allocated_end),
                ],
            )
        } else {
            log.count(Problem::ImplausibleSegment);
            (
                Generation::Gen2,
                vec![part(Generation::Gen2, start, allocated_end)],
            )
        }
    } else {
        (generation, vec![part(generation, start, allocated_end)])
    };
    let committed_end = committed_end.clamp(allocated_end, reserved_end);
    Some((
        Some(Segment {
            heap,
            generation,
            start,
            allocated_end,
            committed_end,
            reserved_end,
            parts,
        }),
        next,
    ))
}

/// Segments never overlap. Where a damaged dump says so, each ends where the next one starts, so that every byte that any of
/// them claims is still walked once; of two that start at the same address, the first is kept.
fn settle_overlaps(heaps: &mut [Heap], log: &Log) {
    let mut order: Vec<(u64, usize, usize)> = Vec::new();
    for (h, heap) in heaps.iter().enumerate() {
        let starts = heap.segments.iter().enumerate();
        order.extend(starts.map(|(s, segment)| (segment.start, h, s)));
    }
    order.sort_unstable();
    let mut twice = HashSet::new();
    for (i, (start, h, s)) in order.iter().enumerate() {
        if i > 0 && order[i - 1].0 == *start {
            twice.insert((*h, *s));
            log.count(Problem::ImplausibleSegment);
        }
        let next = order[i + 1..].iter().map(|next| next.0).find(|n| n > start);
        let segment = &mut heaps[*h].segments[*s];
        if let Some(next) = next.filter(|next| *next < segment.reserved_end) {
            log.count(Problem::ImplausibleSegment);
            segment.end_at(next);
        }
    }
    for (h, heap) in heaps.iter_mut().enumerate() {
        let mut s = 0;
        heap.segments.retain(|_| {
            s += 1;
            !twice.contains(&(h, s - 1))
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn segment(heap: u32, start: u64, end: u64, reserved_end: u64) -> Segment {
        let part = HeapRange {
            heap,
            generation: Generation::Gen2,
            start,
            end,
        };
        Segment {
            heap,
            generation: Generation::Gen2,
            start,
            allocated_end: end,
            committed_end: end,
            reserved_end,
            parts: vec![part],
        }
    }

    fn settle(lists: Vec<Vec<Segment>>) -> (Vec<(u64, u64)>, u64) {
        let heaps = lists.into_iter().enumerate().map(|(index, segments)| Heap {
            index: u32::try_from(index).unwrap(),
            segments,
            finalize_queue: 0,
            alloc_contexts: Vec::new(),
        });
        let mut heaps = Heaps {
            heaps: heaps.collect(),
            ..Heaps::default()
        };
        let log = Log::default();
        settle_overlaps(&mut heaps.heaps, &log);
        let ranges = heaps.ranges().iter().map(|r| (r.start, r.end)).collect();
        (ranges, log.snapshot().count(Problem::ImplausibleSegment))
    }

    #[test]
    fn segments_side_by_side_are_left_alone() {
        let lists = vec![
            vec![segment(0, 0x1000, 0x1800, 0x2000)],
            vec![segment(1, 0x2000, 0x2100, 0x3000)],
        ];
        assert_eq!(settle(lists), (vec![(0x1000, 0x1800), (0x2000, 0x2100)], 0));
    }

    #[test]
    fn a_segment_that_claims_everything_does_not_hide_the_others() {
        let lists = vec![
            vec![segment(0, 0x1000, 0x9000, 0x9000)],
            vec![
                segment(1, 0x2000, 0x2100, 0x3000),
                segment(1, 0x4000, 0x4800, 0x5000),
            ],
        ];
        assert_eq!(
            settle(lists),
            (
                vec![(0x1000, 0x2000), (0x2000, 0x2100), (0x4000, 0x4800)],
                1
            )
        );
    }

    #[test]
    fn a_segment_in_two_lists_is_walked_once() {
        let lists = vec![
            vec![segment(0, 0x1000, 0x1800, 0x2000)],
            vec![segment(1, 0x1000, 0x1400, 0x2000)],
        ];
        assert_eq!(settle(lists), (vec![(0x1000, 0x1800)], 1));
    }
}

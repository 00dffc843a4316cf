//! The heap by generation: reserved, committed, used, free, the largest hole.

use super::rows::{int, row, text};
use leakhound_clr::{FREE_BUCKETS, Generation, HeapRange, RangeStats, Runtime};
use leakhound_rules::FactSheet;
use std::collections::BTreeMap;

/// Rows kept: six generations of a hundred heaps.
const KEEP: usize = 600;

/// One generation over all heaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GenerationBytes {
    /// Address space.
    pub reserved: u64,
    /// Committed.
    pub committed: u64,
    /// In objects, dead or alive.
    pub used: u64,
    /// In holes between objects.
    pub free: u64,
    /// The largest hole.
    pub largest_free: u64,
    /// Holes.
    pub holes: u64,
    /// Objects.
    pub objects: u64,
    /// Not readable as objects.
    pub skipped: u64,
}

/// All generations, indexed by [`Generation`].
pub type Generations = [GenerationBytes; 6];

/// Adds up what the walk saw, and what the segments say.
#[must_use]
pub fn generations(runtime: &Runtime, ranges: &[(HeapRange, RangeStats)]) -> Generations {
    let mut all = Generations::default();
    for ((_, generation), bytes) in by_heap(runtime, ranges) {
        let sum = &mut all[generation as usize];
        sum.reserved += bytes.reserved;
        sum.committed += bytes.committed;
        sum.used += bytes.used;
        sum.free += bytes.free;
        sum.largest_free = sum.largest_free.max(bytes.largest_free);
        sum.holes += bytes.holes;
        sum.objects += bytes.objects;
        sum.skipped += bytes.skipped;
    }
    all
}

/// The same by heap.
fn by_heap(
    runtime: &Runtime,
    ranges: &[(HeapRange, RangeStats)],
) -> BTreeMap<(u32, Generation), GenerationBytes> {
    let mut all: BTreeMap<(u32, Generation), GenerationBytes> = BTreeMap::new();
    for (range, stats) in ranges {
        let generation = all.entry((range.heap, range.generation)).or_default();
        generation.used += stats.object_bytes;
        generation.free += stats.free_bytes;
        generation.largest_free = generation.largest_free.max(stats.largest_free_bytes);
        generation.holes += stats.free_count;
        generation.objects += stats.object_count;
        generation.skipped += stats.skipped_bytes;
    }
    for segment in runtime.heaps().iter().flat_map(|h| &h.segments) {
        // An ephemeral segment is shared by generations: older parts own their bytes, the youngest owns the rest.
        let mut older = 0;
        for part in &segment.parts {
            if part.generation != segment.generation {
                let bytes = part.end.saturating_sub(part.start);
                let own = all.entry((segment.heap, part.generation)).or_default();
                own.committed += bytes;
                own.reserved += bytes;
                older += bytes;
            }
        }
        let own = all.entry((segment.heap, segment.generation)).or_default();
        own.committed += segment.committed_bytes().saturating_sub(older);
        own.reserved += segment.reserved_bytes().saturating_sub(older);
    }
    all
}

/// Writes `generations` and `free_blocks`.
pub fn write_lists(runtime: &Runtime, ranges: &[(HeapRange, RangeStats)], sheet: &mut FactSheet) {
    let rows =
        by_heap(runtime, ranges)
            .into_iter()
            .take(KEEP)
            .map(|((heap, generation), bytes)| {
                row([
                    ("heap", int(heap.into())),
                    ("generation", text(generation.name())),
                    ("reserved", int(bytes.reserved)),
                    ("committed", int(bytes.committed)),
                    ("used", int(bytes.used)),
                    ("free", int(bytes.free)),
                    ("largest_free", int(bytes.largest_free)),
                    ("objects", int(bytes.objects)),
                    ("holes", int(bytes.holes)),
                ])
            });
    sheet.lists.insert("generations".to_owned(), rows.collect());

    let mut histograms: BTreeMap<Generation, [u64; FREE_BUCKETS]> = BTreeMap::new();
    for (range, stats) in ranges {
        let sums = histograms
            .entry(range.generation)
            .or_insert([0; FREE_BUCKETS]);
        for (sum, count) in sums.iter_mut().zip(stats.free_histogram) {
            *sum += count;
        }
    }
    let rows = histograms.into_iter().flat_map(|(generation, counts)| {
        (0u32..)
            .zip(counts)
            .filter(|(_, count)| *count > 0)
            .map(move |(bucket, count)| {
                row([
                    ("generation", text(generation.name())),
                    // The first row has the smaller ones too.
                    ("from", int(if bucket == 0 { 0 } else { 32 << bucket })),
                    ("count", int(count)),
                ])
            })
    });
    sheet.lists.insert("free_blocks".to_owned(), rows.collect());
}

/// Writes `heap.*`, `gen0.*` … `frozen.*`, `soh.*`, `gc.*`.
pub fn write(runtime: &Runtime, all: &Generations, sheet: &mut FactSheet) {
    let sum = |pick: fn(&GenerationBytes) -> u64| all.iter().map(pick).sum::<u64>();
    let committed = sum(|g| g.committed);
    let used = sum(|g| g.used);
    let free = sum(|g| g.free);
    let reserved: u64 = runtime
        .heaps()
        .iter()
        .flat_map(|h| &h.segments)
        .map(leakhound_clr::Segment::reserved_bytes)
        .sum();
    sheet.int("heap.reserved", reserved);
    sheet.int("heap.committed", committed);
    sheet.int("heap.used", used);
    sheet.int("heap.free", free);
    sheet.int("heap.empty", committed.saturating_sub(used + free));
    sheet.int("heap.objects", sum(|g| g.objects));
    for generation in Generation::ALL {
        let name = generation.name();
        let bytes = &all[generation as usize];
        sheet.int(&format!("{name}.committed"), bytes.committed);
        sheet.int(&format!("{name}.used"), bytes.used);
        if generation == Generation::Frozen {
            sheet.int("frozen.objects", bytes.objects);
        } else {
            sheet.int(&format!("{name}.reserved"), bytes.reserved);
            sheet.int(&format!("{name}.free"), bytes.free);
            sheet.int(&format!("{name}.largest_free"), bytes.largest_free);
            sheet.int(&format!("{name}.objects"), bytes.objects);
        }
    }
    let small = |pick: fn(&GenerationBytes) -> u64| {
        [Generation::Gen0, Generation::Gen1, Generation::Gen2]
            .iter()
            .map(|g| pick(&all[*g as usize]))
            .sum::<u64>()
    };
    sheet.int("soh.committed", small(|g| g.committed));
    sheet.int("soh.free", small(|g| g.free));

    let info = runtime.info();
    sheet.bool("gc.server", info.server_gc);
    sheet.int("gc.heaps", u64::from(info.heap_count));
    sheet.bool("gc.regions", info.regions);
    sheet.bool("gc.in_progress", info.gc_in_progress);

    let skipped = sum(|g| g.skipped);
    let walked = used + free + skipped;
    sheet.completeness.heap = (walked > 0).then(|| 1.0 - skipped as f64 / walked as f64);
    sheet.completeness.during_gc = Some(info.gc_in_progress);
}

/// The reserved address ranges of the heap, sorted and joined: what the byte account calls GC.
#[must_use]
pub fn address_ranges(runtime: &Runtime) -> Vec<(u64, u64)> {
    const PAGE_MASK: u64 = !0xFFF;
    let mut ranges: Vec<(u64, u64)> = runtime
        .heaps()
        .iter()
        .flat_map(|h| &h.segments)
        .map(|s| {
            (
                s.start & PAGE_MASK,
                s.reserved_end.max(s.committed_end).max(s.allocated_end),
            )
        })
        .filter(|r| r.0 < r.1)
        .collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
            _ => joined.push(range),
        }
    }
    joined
}

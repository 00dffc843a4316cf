//! The heap by generation: reserved, committed, used, free, the largest hole.

use leakhound_clr::{Generation, HeapRange, RangeStats, Runtime};
use leakhound_rules::FactSheet;

/// One generation over all heaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GenerationBytes {
    /// Committed.
    pub committed: u64,
    /// In objects, dead or alive.
    pub used: u64,
    /// In holes between objects.
    pub free: u64,
    /// The largest hole.
    pub largest_free: u64,
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
    for (range, stats) in ranges {
        let generation = &mut all[range.generation as usize];
        generation.used += stats.object_bytes;
        generation.free += stats.free_bytes;
        generation.largest_free = generation.largest_free.max(stats.largest_free_bytes);
        generation.objects += stats.object_count;
        generation.skipped += stats.skipped_bytes;
    }
    for segment in runtime.heaps().iter().flat_map(|h| &h.segments) {
        // An ephemeral segment is shared by generations: older parts own their bytes, the youngest owns the rest.
        let older: u64 = segment
            .parts
            .iter()
            .filter(|part| part.generation != segment.generation)
            .map(|part| {
                let bytes = part.end.saturating_sub(part.start);
                all[part.generation as usize].committed += bytes;
                bytes
            })
            .sum();
        all[segment.generation as usize].committed +=
            segment.committed_bytes().saturating_sub(older);
    }
    all
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
        if generation != Generation::Frozen {
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

//! A walk of the heap that asks the debugging library for every layout: segments, sizes, allocation contexts.

use crate::sos::{Dac, Generation, HeapDetails};
use anyhow::{Result, bail};
use leakhound_dump::{Memory, MemoryExt};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Smallest object: header, method table and one word.
const SMALLEST: u64 = 24;
/// A list of segments is not longer.
const MOST_SEGMENTS: usize = 1 << 20;
/// The frozen segments of 8 and later are read-only.
const READ_ONLY: u64 = 1;

/// A stretch of heap.
#[derive(Debug, Clone, Serialize)]
pub struct Segment {
    /// Index of the heap.
    pub heap: usize,
    /// Generation whose list it is in: 0 to 2, 3 large objects, 4 pinned objects. Without regions, 2 holds 0 and 1.
    pub generation: usize,
    /// Segment that objects of literals and types are frozen into.
    pub frozen: bool,
    /// First object.
    pub start: u64,
    /// After the last object.
    pub end: u64,
    /// End of the committed part.
    pub committed: u64,
    /// End of the reserved part.
    pub reserved: u64,
}

/// Objects of one method table.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Tally {
    pub count: u64,
    pub bytes: u64,
}

/// What the walk found.
#[derive(Debug, Default)]
pub struct Walk {
    pub tallies: BTreeMap<u64, Tally>,
    /// Segments whose last object did not end where the segment ends: address of the trouble.
    pub broken: Vec<u64>,
}

/// How large the objects of a method table are.
#[derive(Clone, Copy)]
struct Shape {
    base: u64,
    component: u64,
    /// Strings: the library leaves the terminator out of the base size, for it counts as one more character.
    more: u64,
}

impl Shape {
    fn of(dac: &Dac, table: u64) -> Result<Self> {
        let data = dac.method_table(table)?;
        let is_text = data.component_size == 2 && dac.type_name(table)? == "System.String";
        Ok(Self {
            base: u64::from(data.base_size),
            component: u64::from(data.component_size),
            more: u64::from(is_text),
        })
    }

    fn bytes(self, length: u32) -> u64 {
        let raw = self.base + self.component * (u64::from(length) + self.more);
        raw.max(SMALLEST).next_multiple_of(8)
    }
}

/// The segments of a heap, each once.
pub fn segments(
    dac: &Dac,
    heap: usize,
    details: &HeapDetails,
    generations: &[Generation],
) -> Result<Vec<Segment>> {
    // Without regions the youngest generations share the last segment of the oldest.
    let regions = match generations {
        [gen0, gen1, ..] => gen0.start_segment != gen1.start_segment,
        _ => bail!("the library reports {} generations", generations.len()),
    };
    let mut seen = BTreeSet::new();
    let mut segments = Vec::new();
    for (generation, table) in generations.iter().enumerate() {
        if !regions && generation < 2 {
            continue;
        }
        let mut address = table.start_segment;
        while address != 0 && seen.insert(address) && seen.len() < MOST_SEGMENTS {
            let data = dac.segment(address)?;
            let end = if address == details.ephemeral_segment {
                details.alloc_allocated
            } else {
                data.allocated
            };
            segments.push(Segment {
                heap,
                generation,
                frozen: data.flags & READ_ONLY != 0,
                start: data.mem,
                end,
                committed: data.committed,
                reserved: data.reserved,
            });
            address = data.next;
        }
    }
    Ok(segments)
}

/// Unused ends of the stretches that threads allocate from: start to end, jumped over.
pub fn gaps(dac: &Dac, generations: &[Generation]) -> Result<BTreeMap<u64, u64>> {
    let mut gaps = BTreeMap::new();
    let mut add = |pointer: u64, limit: u64| {
        if pointer != 0 && limit != 0 {
            gaps.insert(pointer, limit + SMALLEST);
        }
    };
    for generation in generations {
        add(generation.alloc_pointer, generation.alloc_limit);
    }
    let store = dac.thread_store()?;
    let mut address = store.first;
    for _ in 0..store.threads {
        if address == 0 {
            break;
        }
        let thread = dac.thread(address)?;
        add(thread.alloc_pointer, thread.alloc_limit);
        address = thread.next;
    }
    Ok(gaps)
}

/// Walks the segments object by object.
pub fn walk(
    dac: &Dac,
    memory: &dyn Memory,
    segments: &[Segment],
    gaps: &BTreeMap<u64, u64>,
) -> Walk {
    let mut walk = Walk::default();
    let mut tables: HashMap<u64, Option<Shape>> = HashMap::new();
    for segment in segments {
        let mut at = segment.start;
        while at < segment.end {
            if let Some(end) = gaps.get(&at) {
                at = *end;
                continue;
            }
            let Some(word) = memory.u64(at) else { break };
            let table = word & !7;
            let shape = *tables
                .entry(table)
                .or_insert_with(|| Shape::of(dac, table).ok());
            let (Some(shape), Some(length)) = (shape, memory.u32(at + 8)) else {
                break;
            };
            let bytes = shape.bytes(length);
            let tally = walk.tallies.entry(table).or_default();
            tally.count += 1;
            tally.bytes += bytes;
            at += bytes;
        }
        if at != segment.end {
            walk.broken.push(at);
        }
    }
    walk
}

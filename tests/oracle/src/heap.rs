//! A walk of the heap that asks the debugging library for every layout: segments, sizes, allocation contexts.

use crate::sos::Dac;
use crate::sos::answers::{Generation, HeapDetails};
use crate::testimony::Queue;
use anyhow::{Result, bail};
use leakhound_dump::{Memory, MemoryExt};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Smallest object: header, method table and one word.
const SMALLEST: u64 = 24;
/// A list of segments is not longer.
const MOST_SEGMENTS: usize = 1 << 20;
/// Objects in one part of a finalization queue.
const MOST_QUEUED: u64 = 1 << 24;
/// The frozen segments of 8 and later are read-only.
const READ_ONLY: u64 = 1;

/// A segment or region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Segment {
    /// First object.
    pub start: u64,
    /// After the last object.
    pub end: u64,
    /// End of the committed part.
    pub committed: u64,
    /// End of the reserved part.
    pub reserved: u64,
    /// Index of the heap.
    pub heap: usize,
}

/// What a segment holds of one generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    /// Index of the heap.
    pub heap: usize,
    /// `gen0` to `gen2`, `loh`, `poh`, `frozen`.
    pub generation: String,
    /// First object.
    pub start: u64,
    /// After the last object.
    pub end: u64,
    /// Count and bytes of objects.
    pub objects: (u64, u64),
    /// Count and bytes of free blocks.
    pub free: (u64, u64),
}

/// What the walk found.
#[derive(Debug, Default)]
pub struct Walk {
    /// Count and bytes by method table and generation.
    pub tallies: BTreeMap<u64, BTreeMap<String, (u64, u64)>>,
    /// Parts whose last object did not end where the part ends: address of the trouble.
    pub broken: Vec<u64>,
}

/// How large the objects of a method table are.
#[derive(Clone, Copy)]
struct Shape {
    base: u64,
    component: u64,
    /// Strings: the library leaves the terminator out of the base size, for it counts as one more character.
    more: u64,
    free: bool,
}

impl Shape {
    fn of(dac: &Dac, table: u64) -> Result<Self> {
        let data = dac.method_table(table)?;
        let is_text = data.component_size == 2 && dac.type_name(table)? == "System.String";
        Ok(Self {
            base: u64::from(data.base_size),
            component: u64::from(data.component_size),
            more: u64::from(is_text),
            free: data.is_free != 0,
        })
    }

    fn bytes(self, length: u32) -> u64 {
        let raw = self.base + self.component * (u64::from(length) + self.more);
        raw.max(SMALLEST).next_multiple_of(8)
    }
}

/// The segments of a heap, each once, and their parts.
pub fn segments(
    dac: &Dac,
    heap: usize,
    details: &HeapDetails,
    generations: &[Generation],
) -> Result<(Vec<Segment>, Vec<Part>)> {
    const NAMES: [&str; 5] = ["gen0", "gen1", "gen2", "loh", "poh"];
    let [gen0, gen1, ..] = generations else {
        bail!("the library reports {} generations", generations.len());
    };
    // Without regions the youngest generations share the last segment of the oldest.
    let regions = gen0.start_segment != gen1.start_segment;
    let mut seen = BTreeSet::new();
    let (mut segments, mut parts) = (Vec::new(), Vec::new());
    for (name, table) in NAMES.into_iter().zip(generations) {
        if !regions && matches!(name, "gen0" | "gen1") {
            continue;
        }
        let mut address = table.start_segment;
        while address != 0 && seen.insert(address) && seen.len() < MOST_SEGMENTS {
            let data = dac.segment(address)?;
            let young = address == details.ephemeral_segment;
            let end = if young {
                details.alloc_allocated
            } else {
                data.allocated
            };
            let mut part = |generation: &str, start, end| {
                parts.push(Part {
                    heap,
                    generation: generation.to_owned(),
                    start,
                    end,
                    objects: (0, 0),
                    free: (0, 0),
                });
            };
            if data.flags & READ_ONLY != 0 {
                part("frozen", data.mem, end);
            } else if young && !regions {
                part("gen2", data.mem, gen1.allocation_start);
                part("gen1", gen1.allocation_start, gen0.allocation_start);
                part("gen0", gen0.allocation_start, end);
            } else {
                part(name, data.mem, end);
            }
            segments.push(Segment {
                start: data.mem,
                end,
                committed: data.committed,
                reserved: data.reserved,
                heap,
            });
            address = data.next;
        }
    }
    parts.retain(|part| part.start < part.end);
    Ok((segments, parts))
}

/// The objects between the fill pointers of a finalization queue.
///
/// gc/gcpriv.h, `CFinalize`: one pointer for each generation, the oldest first, then critical and normal ready ones; each is the
/// end of its part. The library does not tell where the first part starts.
pub fn queue(memory: &dyn Memory, heap: usize, generations: usize, fill: &[u64]) -> Result<Queue> {
    let parts = generations + 2;
    let Some(ends) = fill.get(..parts).filter(|ends| ends.is_sorted()) else {
        bail!("{generations} generations with fill pointers {fill:x?}");
    };
    let mut lists = vec![None];
    for bounds in ends.windows(2) {
        if bounds[1] - bounds[0] > MOST_QUEUED * 8 {
            bail!("fill pointers {fill:x?}");
        }
        let places = (bounds[0]..bounds[1]).step_by(8);
        // Bit 0 marks an object that is being looked at.
        let objects = places.filter_map(|at| memory.u64(at));
        lists.push(Some(objects.map(|object| object & !1).collect()));
    }
    Ok(Queue { heap, parts: lists })
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
    for (_, thread) in dac.threads()? {
        add(thread.alloc_pointer, thread.alloc_limit);
    }
    Ok(gaps)
}

/// Walks the parts object by object and fills in what they hold.
pub fn walk(dac: &Dac, memory: &dyn Memory, parts: &mut [Part], gaps: &BTreeMap<u64, u64>) -> Walk {
    let mut walk = Walk::default();
    let mut shapes: HashMap<u64, Option<Shape>> = HashMap::new();
    for part in parts {
        let mut at = part.start;
        while at < part.end {
            if let Some(end) = gaps.get(&at) {
                at = *end;
                continue;
            }
            let Some(word) = memory.u64(at) else { break };
            let table = word & !7;
            let shape = *shapes
                .entry(table)
                .or_insert_with(|| Shape::of(dac, table).ok());
            let (Some(shape), Some(length)) = (shape, memory.u32(at + 8)) else {
                break;
            };
            let bytes = shape.bytes(length);
            let of_table = walk.tallies.entry(table).or_default();
            let tally = of_table.entry(part.generation.clone()).or_default();
            let sum = if shape.free {
                &mut part.free
            } else {
                &mut part.objects
            };
            for sum in [tally, sum] {
                sum.0 += 1;
                sum.1 += bytes;
            }
            at += bytes;
        }
        if at != part.end {
            walk.broken.push(at);
        }
    }
    walk
}

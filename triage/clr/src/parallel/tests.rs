#![allow(clippy::unwrap_used)]
use super::*;
use crate::completeness::{Completeness, Log, Problem};
use crate::method_table::MethodTable;
use crate::shapes::{Shape, ShapeTable, TypeId};
use leakhound_dump::{Memory, MemoryExt, Region, SyntheticMemory};
use proptest::prelude::*;
use std::sync::Arc;

const TABLES: u64 = 0x10_0000;
const HEAP: u64 = 0x1000_0000;
/// Base size and component size of every type; the first is that of free blocks.
const TYPES: [(u32, u16); 6] = [(24, 1), (24, 0), (40, 0), (22, 2), (24, 8), (17, 0)];

fn table(kind: usize) -> u64 {
    TABLES + 0x100 * kind as u64
}

fn put_tables(memory: &mut SyntheticMemory) {
    for (kind, (base_size, component_size)) in TYPES.iter().enumerate() {
        let flags = match component_size {
            0 => 0,
            size => 0x8000_0000 | u32::from(*size),
        };
        let at = table(kind);
        memory
            .map(at, 0x100)
            .put_u32(at, flags)
            .put_u32(at + 4, *base_size);
        // Its class points back at it.
        memory
            .put_u64(at + 40, at + 0x80)
            .put_u64(at + 0x80 + 16, at);
    }
}

/// Piece of a heap.
#[derive(Debug, Clone)]
enum Piece {
    Object {
        kind: usize,
        count: u32,
    },
    /// A free block with the remains of objects in it, whose chain ends where the block ends.
    Grave {
        objects: u32,
    },
    /// An allocation context of that many words, with remains or zeros in it.
    Context {
        words: u64,
        remains: bool,
    },
    /// Words that are no object.
    Garbage {
        words: u64,
        value: u64,
    },
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        20 => (0..TYPES.len(), 0..40u32).prop_map(|(kind, count)| Piece::Object { kind, count }),
        3 => (1..30u32).prop_map(|objects| Piece::Grave { objects }),
        1 => (0..20u64, any::<bool>()).prop_map(|(words, remains)| Piece::Context { words, remains }),
        1 => (1..40u64, prop_oneof![
            Just(0), any::<u64>(), Just(table(2)), Just(table(0)), Just(HEAP + 64),
        ]).prop_map(|(words, value)| Piece::Garbage { words, value }),
    ]
}

struct Heap {
    memory: SyntheticMemory,
    ranges: Vec<HeapRange>,
    contexts: Vec<(u64, u64)>,
}

fn build(ranges: &[Vec<Piece>], holes: &[(u16, u16)]) -> Heap {
    let mut memory = SyntheticMemory::new();
    put_tables(&mut memory);
    let mut heap = Heap {
        memory,
        ranges: Vec::new(),
        contexts: Vec::new(),
    };
    let mut bytes: Vec<u8> = Vec::new();
    let object = |bytes: &mut Vec<u8>, kind: usize, count: u32| {
        let (base_size, component_size) = TYPES[kind];
        let shape = Shape {
            id: TypeId(0),
            base_size,
            component_size,
        };
        let start = bytes.len();
        bytes.extend(table(kind).to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.resize(start + shape.size(count) as usize, 0);
    };
    for (number, pieces) in ranges.iter().enumerate() {
        // What lies between two ranges is not mapped.
        let base = HEAP + number as u64 * 0x100_0000;
        bytes.clear();
        for piece in pieces {
            match piece {
                Piece::Object { kind, count } => object(&mut bytes, *kind, *count),
                Piece::Grave { objects } => {
                    let start = bytes.len();
                    object(&mut bytes, 0, objects * 40);
                    for grave in 0..*objects as usize {
                        let at = start + 24 + grave * 40;
                        bytes[at..at + 8].copy_from_slice(&table(2).to_le_bytes());
                    }
                }
                Piece::Context { words, remains } => {
                    let start = base + bytes.len() as u64;
                    heap.contexts.push((start, start + words * 8));
                    let end = bytes.len() + *words as usize * 8 + 24;
                    while *remains && bytes.len() + 40 <= end {
                        object(&mut bytes, 2, 0);
                    }
                    bytes.resize(end, 0);
                }
                Piece::Garbage { words, value } => {
                    (0..*words).for_each(|_| bytes.extend(value.to_le_bytes()));
                }
            }
        }
        // Holes split what is there.
        let mut from = 0;
        for (skip, len) in holes {
            let hole = (from + usize::from(*skip) * 8).min(bytes.len());
            heap.memory.put(base + from as u64, &bytes[from..hole]);
            from = (hole + usize::from(*len) * 8).min(bytes.len());
        }
        heap.memory.put(base + from as u64, &bytes[from..]);
        heap.ranges.push(HeapRange {
            heap: 0,
            generation: [Generation::Gen2, Generation::Gen0, Generation::Poh][number % 3],
            start: base,
            end: base + bytes.len() as u64,
        });
    }
    heap.contexts.sort_unstable();
    heap.contexts.dedup_by_key(|c| c.0);
    heap
}

/// The same memory, not lent but copied, in blocks or not.
struct Copied {
    inner: SyntheticMemory,
    block_bytes: Option<u64>,
}

impl Memory for Copied {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        self.inner.read(address, buf)
    }
    fn regions(&self) -> &[Region] {
        self.inner.regions()
    }
    fn block(&self, address: u64) -> Option<Range<u64>> {
        let bytes = self.block_bytes?;
        let region = self
            .inner
            .regions()
            .iter()
            .find(|r| (r.start..r.end).contains(&address))?;
        let start = address - address % bytes;
        Some(start.max(region.start)..(start + bytes).min(region.end))
    }
}

/// Object by object: address, size and method table.
type Found = Vec<(u64, u64, u64)>;

/// The walk as simple as it can be: one word at a time, one thread, no buffers, no parts.
struct Plain<'a> {
    memory: &'a dyn Memory,
    shapes: &'a ShapeTable,
    log: Log,
    found: Found,
}

impl Plain<'_> {
    fn size(&self, at: u64) -> Option<(TypeId, u64)> {
        let (word, count) = (self.memory.u64(at)?, self.memory.u32(at + 8)?);
        let shape = self.shapes.resolve(word)?;
        Some((shape.id, shape.size(count)))
    }

    fn walk(&mut self, heap: &Heap, range: &HeapRange, search_bytes: u64) -> RangeStats {
        let mut stats = RangeStats::default();
        let mut left = search_bytes;
        let mut contexts = heap
            .contexts
            .iter()
            .filter(|c| (range.start..range.end).contains(&c.0))
            .peekable();
        let mut at = range.start;
        while at < range.end {
            if let Some((pointer, limit)) = contexts.next_if(|c| c.0 <= at) {
                if *pointer == at {
                    let after = (limit + 24).min(range.end);
                    stats.allocation_context_bytes += after - at;
                    at = after;
                }
                continue;
            }
            let next_context = contexts.peek().map_or(u64::MAX, |c| c.0);
            match self.size(at).filter(|(_, size)| *size <= range.end - at) {
                Some((TypeId::FREE, size)) => {
                    stats.add(&RangeStats {
                        free_count: 1,
                        free_bytes: size,
                        largest_free_bytes: size,
                        ..RangeStats::default()
                    });
                    let bucket = (size / 32).checked_ilog2().unwrap_or(0) as usize;
                    stats.free_histogram[bucket] += 1;
                    at += size;
                }
                Some((id, size)) => {
                    stats.object_count += 1;
                    stats.object_bytes += size;
                    let table = self.shapes.table(id).unwrap();
                    self.found.push((at, size, table.address));
                    at += size;
                }
                None => {
                    let next = self.search(range, at, next_context, &mut left);
                    stats.skipped_bytes += next - at;
                    at = next;
                }
            }
        }
        stats
    }

    fn header(&self, at: u64) -> bool {
        self.memory.array::<12>(at).is_some()
    }

    fn search(&self, range: &HeapRange, damaged: u64, next_context: u64, left: &mut u64) -> u64 {
        self.log.count(match self.header(damaged) {
            true => Problem::DamagedObject,
            false => Problem::MissingHeapPages,
        });
        for at in (damaged + 8..range.end).step_by(8) {
            if at == next_context {
                return at;
            }
            if !self.header(at) {
                continue;
            }
            *left = left.saturating_sub(8);
            if *left == 0 {
                self.log.count(Problem::LimitReached);
                return range.end;
            }
            let Some((_, size)) = self.size(at) else {
                continue;
            };
            let end = at + size;
            let follows = || {
                self.size(end)
                    .is_some_and(|(_, size)| size <= range.end - end)
            };
            if end == range.end || end == next_context || end < range.end && follows() {
                return at;
            }
        }
        range.end
    }
}

fn shapes(memory: &Arc<dyn Memory>) -> ShapeTable {
    let free = MethodTable::read(&**memory, table(0)).unwrap();
    ShapeTable::new(Arc::clone(memory), free)
}

fn in_jobs(
    heap: &Heap,
    memory: Arc<dyn Memory>,
    job_bytes: u64,
    search_bytes: u64,
) -> (Found, Vec<(HeapRange, RangeStats)>, Completeness) {
    let (shapes, log) = (shapes(&memory), Log::default());
    let walker = Walker {
        memory: &*memory,
        shapes: &shapes,
        alloc_contexts: &heap.contexts,
        search_bytes,
        log: &log,
    };
    let walk = walk_in_jobs(
        &walker,
        &heap.ranges,
        job_bytes,
        Vec::new,
        |found: &mut Found, object| {
            let table = shapes.table(object.type_id).unwrap();
            found.push((object.address, object.size, table.address));
        },
    );
    let mut found: Found = walk.accumulators.into_iter().flatten().collect();
    found.sort_unstable();
    (found, walk.ranges, log.snapshot())
}

/// Walks a heap in every way and holds each against the plain walk.
fn check(heap: &Heap, job_bytes: u64, search_bytes: u64) {
    let memory: Arc<dyn Memory> = Arc::new(heap.memory.clone());
    let shapes = shapes(&memory);
    let mut plain = Plain {
        memory: &*memory,
        shapes: &shapes,
        log: Log::default(),
        found: Vec::new(),
    };
    let mut expected = Vec::new();
    for range in &heap.ranges {
        expected.push((*range, plain.walk(heap, range, search_bytes)));
    }
    let copied = |block_bytes| -> Arc<dyn Memory> {
        Arc::new(Copied {
            inner: heap.memory.clone(),
            block_bytes,
        })
    };
    let ways = [
        (Arc::clone(&memory), 1 << 40),
        (memory.clone(), job_bytes),
        (copied(None), job_bytes),
        (copied(Some(256)), job_bytes),
        (copied(Some(4096)), 1 << 40),
    ];
    for (number, (memory, job_bytes)) in ways.into_iter().enumerate() {
        let (found, ranges, completeness) = in_jobs(heap, memory, job_bytes, search_bytes);
        assert_eq!(found, plain.found, "way {number}");
        assert_eq!(ranges, expected, "way {number}");
        assert_eq!(completeness, plain.log.snapshot(), "way {number}");
    }
}

#[test]
fn a_large_range_is_walked_in_parts_that_are_guessed() {
    let pieces: Vec<Piece> = (0..20_000)
        .map(|i| Piece::Object {
            kind: i % TYPES.len(),
            count: i as u32 % 23,
        })
        .collect();
    let heap = build(&[pieces], &[]);
    check(&heap, 40_000, 1 << 20);
    let memory: Arc<dyn Memory> = Arc::new(heap.memory.clone());
    let (shapes, log) = (shapes(&memory), Log::default());
    let walker = Walker {
        memory: &*memory,
        shapes: &shapes,
        alloc_contexts: &[],
        search_bytes: 1 << 20,
        log: &log,
    };
    let walk = walk_in_jobs(&walker, &heap.ranges, 40_000, || 0u32, |n, _| *n += 1);
    // Threads and guessed parts have accumulators of their own: with one or two threads there are many more than threads.
    assert!(walk.accumulators.len() > 20, "{:?}", walk.accumulators);
}

#[test]
fn remains_of_objects_that_mislead_a_guess_are_not_counted() {
    // Every part but the first begins in a free block full of dead objects.
    let pieces: Vec<Piece> = (0..40).map(|_| Piece::Grave { objects: 500 }).collect();
    check(&build(&[pieces], &[]), 15_000, 1 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn parts_are_what_one_walk_sees(
        ranges in prop::collection::vec(prop::collection::vec(piece(), 0..120), 1..4),
        holes in prop::collection::vec((0..600u16, 1..80u16), 0..4),
        job_bytes in 64u64..6_000,
        search_bytes in prop_oneof![Just(1u64 << 26), 8u64..2_000],
    ) {
        check(&build(&ranges, &holes), job_bytes & !7, search_bytes);
    }
}

//! The walk over heaps made by hand: gaps, damage, holes.

use super::*;
use crate::method_table::MethodTable;
use leakhound_dump::SyntheticMemory;
use proptest::prelude::*;
use std::sync::Arc;

const HEAP: u64 = 0x10_0000;
const FREE: u64 = 0x20_0000;
const PLAIN: u64 = 0x20_0100;
const ARRAY: u64 = 0x20_0200;

/// Memory with three types: free blocks, a class of 32 bytes, an array of bytes.
fn types() -> SyntheticMemory {
    let mut memory = SyntheticMemory::new();
    memory.map(0x20_0000, 0x1000).map(HEAP, 0x1000);
    memory.put_u32(FREE, 0x8000_0001).put_u32(FREE + 4, 24);
    for (table, flags, base, class) in [
        (PLAIN, 0, 32, 0x20_0400),
        (ARRAY, 0x8008_0001, 24, 0x20_0500),
    ] {
        memory
            .put_u32(table, flags)
            .put_u32(table + 4, base)
            .put_u64(table + 40, class)
            .put_u64(class + 16, table);
    }
    memory
}

/// Puts objects in a row and returns the address after the last.
fn row(memory: &mut SyntheticMemory, start: u64, objects: &[(u64, u32)]) -> u64 {
    objects.iter().fold(start, |at, (table, count)| {
        memory.put_u64(at, *table).put_u32(at + 8, *count);
        let size = if *table == PLAIN {
            32
        } else {
            (24 + u64::from(*count)).next_multiple_of(8)
        };
        at + size
    })
}

struct Seen {
    objects: Vec<(u64, u64)>,
    stats: RangeStats,
    problems: crate::Completeness,
}

fn walk(memory: SyntheticMemory, end: u64, alloc_contexts: &[(u64, u64)]) -> Seen {
    let free = MethodTable::read(&memory, FREE).expect("the free type was just written");
    let memory: Arc<dyn Memory> = Arc::new(memory);
    let shapes = ShapeTable::new(Arc::clone(&memory), free);
    let log = Log::default();
    let walker = Walker {
        memory: &*memory,
        shapes: &shapes,
        alloc_contexts,
        log: &log,
    };
    let range = HeapRange {
        heap: 0,
        generation: Generation::Gen0,
        start: HEAP,
        end,
    };
    let mut objects = Vec::new();
    let stats = walker.walk_range(&range, &mut ShapeCache::new(&shapes), |o| {
        objects.push((o.address - HEAP, o.size))
    });
    Seen {
        objects,
        stats,
        problems: log.snapshot(),
    }
}

#[test]
fn a_row_of_objects_and_free_blocks_is_walked_to_its_exact_end() {
    let mut memory = types();
    let end = row(
        &mut memory,
        HEAP,
        &[
            (PLAIN, 0),
            (FREE, 40),
            (ARRAY, 5),
            (PLAIN | 1, 0),
            (FREE, 0),
        ],
    );
    // A mark bit makes a word odd; the size above was computed without it.
    memory.put_u64(HEAP + 32 + 64 + 32, PLAIN | 1);
    let seen = walk(memory, end, &[]);
    assert_eq!(seen.objects, [(0, 32), (96, 32), (128, 32)]);
    assert_eq!(
        (
            seen.stats.free_count,
            seen.stats.free_bytes,
            seen.stats.largest_free_bytes
        ),
        (2, 88, 64)
    );
    assert_eq!(
        (seen.stats.free_histogram[0], seen.stats.free_histogram[1]),
        (1, 1)
    );
    assert!(seen.problems.is_whole());
}

#[test]
fn walk_skips_allocation_gap() {
    let mut memory = types();
    let gap = row(&mut memory, HEAP, &[(PLAIN, 0)]);
    let end = row(&mut memory, gap + 0x100 + 24, &[(ARRAY, 9)]);
    let seen = walk(memory, end, &[(gap, gap + 0x100)]);
    assert_eq!(seen.objects, [(0, 32), (32 + 0x118, 40)]);
    assert_eq!(seen.stats.allocation_context_bytes, 0x118);
    assert!(seen.problems.is_whole());
}

#[test]
fn after_damage_the_walk_goes_on_with_the_next_pair_of_objects() {
    let mut memory = types();
    let end = row(
        &mut memory,
        HEAP,
        &[(PLAIN, 0), (PLAIN, 0), (PLAIN, 0), (PLAIN, 0)],
    );
    memory.put_u64(HEAP + 32, 0xDEAD_BEEF_0000);
    let seen = walk(memory, end, &[]);
    assert_eq!(seen.objects, [(0, 32), (64, 32), (96, 32)]);
    assert_eq!(seen.stats.skipped_bytes, 32);
    assert_eq!(seen.problems.count(Problem::DamagedObject), 1);
}

#[test]
fn a_count_that_leads_out_of_the_range_is_damage() {
    let mut memory = types();
    let end = row(&mut memory, HEAP, &[(ARRAY, 8), (PLAIN, 0), (PLAIN, 0)]);
    memory.put_u32(HEAP + 8, u32::MAX);
    let seen = walk(memory, end, &[]);
    assert_eq!(seen.objects, [(32, 32), (64, 32)]);
    assert_eq!(seen.stats.skipped_bytes, 32);
}

#[test]
fn a_missing_page_is_skipped_and_counted() {
    let mut memory = types();
    // The first page ends inside of an array; the second page is not in the dump; objects go on at the third.
    let start = row(&mut memory, HEAP, &[(PLAIN, 0)]);
    row(&mut memory, start, &[(ARRAY, 100_000)]);
    memory.map(HEAP + 0x2000, 0x1000);
    let end = row(&mut memory, HEAP + 0x2000, &[(PLAIN, 0), (PLAIN, 0)]);
    let seen = walk(memory, end, &[]);
    assert_eq!(seen.objects, [(0, 32), (0x2000, 32), (0x2020, 32)]);
    assert_eq!(seen.stats.skipped_bytes, 0x2000 - 32);
}

proptest! {
    #[test]
    fn any_heap_is_accounted_for_to_the_last_byte(words in prop::collection::vec(prop_oneof![Just(PLAIN), Just(ARRAY), Just(FREE), Just(0), 0u64..64, any::<u64>()], 3..300),
        contexts in prop::collection::vec((0u64..2400, 0u64..2400), 0..3)) {
        let mut memory = types();
        words.iter().enumerate().for_each(|(i, word)| { memory.put_u64(HEAP + 8 * i as u64, *word); });
        let end = HEAP + 8 * words.len() as u64;
        let mut contexts: Vec<(u64, u64)> = contexts.iter().map(|(a, b)| (HEAP + (a & !7), HEAP + ((a + b) & !7))).collect();
        contexts.sort_unstable();
        let seen = walk(memory, end, &contexts);
        let stats = &seen.stats;
        prop_assert_eq!(stats.object_bytes + stats.free_bytes + stats.allocation_context_bytes + stats.skipped_bytes, end - HEAP);
        prop_assert_eq!(stats.object_count as usize, seen.objects.len());
        prop_assert!(seen.objects.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0));
    }
}

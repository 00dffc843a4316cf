//! One lie at a time, in a process made by hand: lists that bite their tails, segments that overlap, counts that nothing backs.
//! The reader ends, says that something is wrong, and still returns the rest.
#![allow(clippy::unwrap_used)]

#[path = "support/tiny_process.rs"]
mod tiny_process;

use leakhound_clr::{Generation, Options, Problem, RangeStats, Runtime};
use tiny_process::*;

fn open(tiny: Tiny) -> Runtime {
    Runtime::open(&tiny.image(), &Options::default()).unwrap()
}

/// The walk over all ranges, and what it and everything else complained of.
fn totals(runtime: &Runtime) -> RangeStats {
    let mut sum = RangeStats::default();
    for (_, stats) in runtime.walk(|| (), |(), _| ()).ranges {
        sum.add(&stats);
    }
    sum
}

/// Objects of one generation: an array, five nodes, pairs, a text.
const OBJECTS: u64 = 8;

#[test]
fn the_process_is_read_as_it_was_made() {
    let runtime = open(Tiny::default());
    assert_eq!(runtime.info().version.to_string(), "8.0.0");
    assert!(runtime.info().regions && !runtime.info().server_gc);
    let sum = totals(&runtime);
    assert_eq!(sum.object_count, 5 * OBJECTS);
    // Two smallest free blocks side by side are two, and a larger one follows.
    assert_eq!(sum.free_count, 5 * 3);
    assert_eq!(sum.free_histogram[0], 5 * 2);
    assert_eq!(sum.allocation_context_bytes, 0x40);
    assert_eq!(sum.skipped_bytes, 0);
    let snapshot = runtime.snapshot();
    let edges = runtime.edges(&snapshot);
    assert_eq!(edges.targets.len(), 5 * (2 + 5 + 2));
    let node = runtime
        .type_info(runtime.type_of_table(NODE).unwrap())
        .unwrap();
    assert_eq!(
        (node.name.as_str(), node.module.as_str()),
        ("Shop.Node", "Shop.dll")
    );
    let statics = runtime.statics();
    assert_eq!(statics.len(), 1, "{statics:?}");
    assert_eq!(
        (statics[0].name.as_str(), statics[0].object),
        ("Shop.Node.first", heap_of(4) + 56)
    );
    let handles = runtime.handles();
    assert_eq!(handles.len(), 3);
    assert_eq!(
        (handles[2].target, handles[2].secondary),
        (heap_of(2), heap_of(0))
    );
    let queue = runtime.finalization();
    let parts = (
        queue.registered.len(),
        queue.ready_critical.len(),
        queue.ready.len(),
    );
    assert_eq!(parts, (3, 1, 1));
    assert_eq!(runtime.threads().len(), 2);
    assert!(
        runtime.completeness().is_whole(),
        "{:?}",
        runtime.completeness()
    );
}

/// A lie, and what must be told of it.
fn told(lie: impl FnOnce(&mut Tiny), problem: Problem) -> (Runtime, RangeStats) {
    let mut tiny = Tiny::default();
    lie(&mut tiny);
    let runtime = open(tiny);
    let sum = totals(&runtime);
    let _ = (
        runtime.handles(),
        runtime.finalization(),
        runtime.statics(),
        runtime.thread_statics(),
    );
    let completeness = runtime.completeness();
    assert!(
        completeness.count(problem) > 0,
        "{problem:?}: {completeness:?}"
    );
    (runtime, sum)
}

#[test]
fn a_cyclic_list_of_segments() {
    let next = segment_of(2) + 48;
    let (_, sum) = told(
        |t| {
            t.put(next, segment_of(2));
        },
        Problem::DamagedSegmentList,
    );
    assert_eq!(
        sum.object_count,
        5 * OBJECTS,
        "every segment is walked, and once"
    );
}

#[test]
fn a_segment_in_the_lists_of_two_generations() {
    let next = segment_of(1) + 48;
    let (_, sum) = told(
        |t| {
            t.put(next, segment_of(2));
        },
        Problem::ImplausibleSegment,
    );
    assert_eq!(sum.object_count, 5 * OBJECTS);
}

#[test]
fn a_segment_that_claims_the_others_memory() {
    let end = heap_of(4) + GENERATION_HEAP_BYTES;
    let lie = |t: &mut Tiny| {
        for field in [0, 8, 16] {
            t.put(segment_of(1) + field, end);
        }
    };
    let (runtime, sum) = told(lie, Problem::ImplausibleSegment);
    assert_eq!(sum.object_count, 5 * OBJECTS);
    let large = runtime
        .ranges()
        .iter()
        .filter(|r| r.generation == Generation::Loh);
    assert_eq!(large.count(), 1, "it did not swallow the others");
}

#[test]
fn a_segment_with_impossible_limits_costs_that_segment_only() {
    let (_, sum) = told(
        |t| {
            t.put(segment_of(2), 8);
        },
        Problem::ImplausibleSegment,
    );
    assert_eq!(sum.object_count, 4 * OBJECTS);
}

#[test]
fn a_cyclic_list_of_threads() {
    let (runtime, _) = told(
        |t| {
            t.put(BASE + 0x1900 + THREAD_LINK, THREAD + THREAD_LINK);
        },
        Problem::DamagedThreadList,
    );
    assert_eq!(runtime.threads().len(), 2);
}

#[test]
fn a_cyclic_list_of_handle_segments() {
    let (runtime, _) = told(
        |t| {
            t.put(HANDLE_SEGMENT + 0x7C8, HANDLE_SEGMENT);
        },
        Problem::DamagedHandleTable,
    );
    assert_eq!(runtime.handles().len(), 3);
}

#[test]
fn a_cyclic_chain_of_generic_instances() {
    told(
        |t| {
            t.put(INSTANCE_ENTRY + 8, INSTANCE_ENTRY);
        },
        Problem::DamagedModule,
    );
}

#[test]
fn more_buckets_than_there_is_memory() {
    told(
        |t| {
            t.put(INSTANCE_BUCKETS, 3_000_000);
        },
        Problem::DamagedModule,
    );
}

#[test]
fn more_type_definitions_than_there_is_memory() {
    let started = std::time::Instant::now();
    told(
        |t| {
            t.put(TYPE_DEF_MAP + 16, 1 << 20);
        },
        Problem::DamagedModule,
    );
    assert!(started.elapsed().as_secs() < 20);
}

#[test]
fn a_cyclic_map_of_type_definitions_ends() {
    let mut tiny = Tiny::default();
    tiny.put(TYPE_DEF_MAP, TYPE_DEF_MAP);
    assert_eq!(open(tiny).statics().len(), 1);
}

#[test]
fn a_cyclic_list_of_assemblies_ends() {
    let mut tiny = Tiny::default();
    tiny.put(ASSEMBLIES, 60_000)
        .put(ASSEMBLIES + 8, ASSEMBLIES + 8);
    assert_eq!(open(tiny).modules().len(), 1);
}

#[test]
fn a_finalization_queue_whose_pointers_are_out_of_order() {
    told(
        |t| {
            t.put(FINALIZE + 16, FINALIZE);
        },
        Problem::DamagedFinalizationQueue,
    );
}

#[test]
fn a_heap_full_of_garbage() {
    let lie = |t: &mut Tiny| {
        for word in (heap_of(0)..heap_of(5)).step_by(8) {
            t.put(word, word.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        }
    };
    let (runtime, sum) = told(lie, Problem::DamagedObject);
    assert_eq!(sum.object_count, 0);
    let all: u64 = runtime.ranges().iter().map(|r| r.end - r.start).sum();
    assert_eq!(sum.skipped_bytes + sum.allocation_context_bytes, all);
}

#[test]
fn an_array_longer_than_its_segment_costs_itself_only() {
    let (_, sum) = told(
        |t| {
            t.put(heap_of(3) + 8, 1 << 30);
        },
        Problem::DamagedObject,
    );
    assert_eq!(sum.object_count, 5 * OBJECTS - 1);
    assert_eq!(sum.skipped_bytes, 56);
}

#[test]
fn any_words_may_lie() {
    // SplitMix64.
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let value = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ value >> 31
    };
    let pristine = Tiny::default();
    let mut opened = 0;
    for _ in 0..3_000 {
        let mut tiny = pristine.clone();
        for _ in 0..1 + next() % 6 {
            let nth = next() as usize % tiny.words();
            // A pointer into the process, a small number, or noise.
            let value = match next() % 3 {
                0 => BASE + next() % 0x4000,
                1 => next() % 256,
                _ => next(),
            };
            tiny.put_nth(nth, value);
        }
        let Ok(runtime) = Runtime::open(&tiny.image(), &Options::default()) else {
            continue;
        };
        opened += 1;
        for (range, stats) in runtime.walk(|| (), |(), _| ()).ranges {
            let seen = stats.object_bytes
                + stats.free_bytes
                + stats.allocation_context_bytes
                + stats.skipped_bytes;
            assert_eq!(seen, range.end - range.start);
        }
        let snapshot = runtime.snapshot();
        let _ = (
            runtime.edges(&snapshot),
            runtime.handles(),
            runtime.finalization(),
        );
        let _ = (
            runtime.statics(),
            runtime.thread_statics(),
            runtime.stack_roots(&snapshot),
        );
    }
    assert!(opened > 1_000, "{opened} opened");
}

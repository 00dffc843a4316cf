//! Asks a reading of a damaged dump for all there is, and holds it to what must be true of any reading.

use leakhound_clr::{Problem, RangeStats, Runtime, TypeId};

/// Asks a runtime for everything it can tell; the sum over the heap.
pub fn ask_everything(runtime: &Runtime) -> RangeStats {
    let walk = runtime.walk(|| 0_u64, |bytes, object| *bytes += object.size);
    let mut sum = RangeStats::default();
    for (range, stats) in &walk.ranges {
        let seen = stats.object_bytes
            + stats.free_bytes
            + stats.allocation_context_bytes
            + stats.skipped_bytes;
        assert_eq!(
            seen,
            range.end - range.start,
            "every byte is one of these: {range:x?} {stats:?}"
        );
        sum.add(stats);
    }
    assert_eq!(walk.accumulators.iter().sum::<u64>(), sum.object_bytes);
    let snapshot = runtime.snapshot();
    // A range that claims more than 32 GB has objects that a snapshot cannot number: it says so.
    let cut = runtime.completeness().count(Problem::LimitReached) > 0;
    assert!(
        snapshot.len() as u64 == sum.object_count
            || cut && (snapshot.len() as u64) < sum.object_count
    );
    let edges = runtime.edges(&snapshot);
    assert!(
        edges
            .targets
            .iter()
            .all(|target| (*target as usize) < snapshot.len())
    );
    for id in 0..u32::try_from(runtime.type_count()).unwrap() {
        let info = runtime.type_info(TypeId(id)).unwrap();
        assert!(info.name.len() < 8192);
        let _ = (
            runtime.instance_fields(TypeId(id)),
            runtime.element_type(TypeId(id)),
        );
    }
    for handle in runtime.handles() {
        let _ = (
            snapshot.index_around(handle.target),
            runtime.string_text(handle.target, 100),
        );
    }
    let _ = (
        runtime.finalization(),
        runtime.statics(),
        runtime.thread_statics(),
        runtime.stack_roots(&snapshot),
    );
    for thread in runtime.threads() {
        let _ = runtime.thread_name(thread);
    }
    sum
}

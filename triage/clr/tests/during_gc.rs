//! A dump that was taken while the collector was moving objects: most of it is read, the rest is counted, and it says so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_clr::{Options, RangeStats, Runtime};
use leakhound_testbed::{Version, dumps, runtimes, targets};

/// The collector compacts most of the time: a handful of dumps should do.
const TRIES: usize = 40;

fn check(version: Version) {
    let root = runtimes::get(version).unwrap();
    let launch = targets::app("compacting").unwrap().on(&root);
    let service = launch.env("SHOP_PERCENT", "40").start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heap.core");
    for attempt in 1..=TRIES {
        dumps::createdump(&root, service.pid(), dumps::Kind::Heap, &file).unwrap();
        let image = leakhound_dump::open(leakhound_archive::open_readable(&file).unwrap()).unwrap();
        let runtime = Runtime::open(&image, &Options::default()).unwrap();
        let walk = runtime.walk(|| 0_u64, |objects, _| *objects += 1);
        let mut sum = RangeStats::default();
        for (range, stats) in &walk.ranges {
            let seen = stats.object_bytes
                + stats.free_bytes
                + stats.allocation_context_bytes
                + stats.skipped_bytes;
            assert_eq!(
                seen,
                range.end - range.start,
                "{version}: {range:x?} {stats:?}"
            );
            sum.add(stats);
        }
        let completeness = runtime.completeness();
        if !runtime.info().gc_in_progress {
            // Between collections there is nothing to be lenient about.
            assert_eq!(sum.skipped_bytes, 0, "{version}: {completeness:?}");
            continue;
        }
        assert!(
            completeness
                .notes
                .iter()
                .any(|note| note.contains("approximate")),
            "{version}: {completeness:?}"
        );
        assert_eq!(
            sum.skipped_bytes > 0,
            !completeness.is_whole(),
            "{version}: {completeness:?}"
        );
        let recovered = sum.object_bytes + sum.free_bytes;
        let all = recovered + sum.skipped_bytes;
        println!(
            "{version}, try {attempt}: {} objects, {recovered} of {all} bytes recovered, {} skipped, {:?}",
            sum.object_count, sum.skipped_bytes, completeness.problems
        );
        assert!(sum.object_count > 100_000, "{version}: {sum:?}");
        if sum.skipped_bytes == 0 {
            // It was marking still, or done: the next dump may be worse.
            continue;
        }
        assert!(recovered * 100 >= all * 95, "{version}: {sum:?}");
        // Roots and references are asked for too: those that are being moved lead nowhere, and are counted.
        let snapshot = runtime.snapshot();
        let edges = runtime.edges(&snapshot);
        assert!(edges.targets.len() > snapshot.len() / 2, "{version}");
        let _ = (
            runtime.handles(),
            runtime.finalization(),
            runtime.statics(),
            runtime.stack_roots(&snapshot),
        );
        return;
    }
    panic!("{version}: none of {TRIES} dumps fell into the moving part of a collection");
}

#[test]
fn net31_in_the_middle_of_a_collection() {
    check(Version::Net31);
}

#[test]
fn net8_in_the_middle_of_a_collection() {
    check(Version::Net8);
}

#[test]
fn net10_in_the_middle_of_a_collection() {
    check(Version::Net10);
}

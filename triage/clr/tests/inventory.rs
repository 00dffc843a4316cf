//! The reader against a process that knows its own numbers: every runtime, several kinds of dump, the live process.
//!
//! Nothing is compared with the reader's own idea of anything: names, counts, method tables, addresses and sizes come from the
//! target's report (`tests/targets/inventory.cs`).
#![allow(clippy::unwrap_used)]

mod checks;

use checks::{census, check};
use leakhound_clr::{Generation, HandleKind, Options, Peeker, Runtime};
use leakhound_dump::{FileSearch, ProcessImage};
use leakhound_testbed::{Version, dumps, runtimes, service::Service, targets};
use std::path::Path;

fn open_dump(file: &Path, files: bool) -> ProcessImage {
    let source = leakhound_archive::open_readable(file).unwrap();
    let files = files.then(FileSearch::this_machine);
    leakhound_dump::open_with(
        source,
        &leakhound_dump::Options {
            files,
            ..Default::default()
        },
    )
    .unwrap()
}

fn start(version: Version, server: bool) -> Service {
    let root = runtimes::get(version).unwrap();
    let launch = targets::app("inventory").unwrap().on(&root);
    if server { launch.server_gc(2) } else { launch }
        .start()
        .unwrap()
}

#[test]
fn heap_dumps_of_every_runtime_read_as_the_target_says() {
    let folder = tempfile::tempdir().unwrap();
    for version in Version::ALL {
        let service = start(version, false);
        let file = folder.path().join("heap.core");
        dumps::createdump(
            &runtimes::get(version).unwrap(),
            service.pid(),
            dumps::Kind::Heap,
            &file,
        )
        .unwrap();
        // createdump of 3.1 leaves metadata out: the module files stand in.
        check(
            &open_dump(&file, version == Version::Net31),
            service.report(),
            &format!("{version:?} heap dump"),
        );
    }
}

#[test]
fn full_dumps_and_server_gc_read_as_the_target_says() {
    let folder = tempfile::tempdir().unwrap();
    for version in Version::ALL {
        let service = start(version, true);
        let file = folder.path().join("full.core");
        dumps::createdump(
            &runtimes::get(version).unwrap(),
            service.pid(),
            dumps::Kind::Full,
            &file,
        )
        .unwrap();
        check(
            &open_dump(&file, false),
            service.report(),
            &format!("{version:?} full dump, server GC"),
        );
    }
}

#[test]
fn gcore_dumps_need_the_module_files_and_say_so_without() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(Version::Net8, false);
    let file = dumps::gcore(service.pid(), &folder.path().join("core")).unwrap();
    check(
        &open_dump(&file, true),
        service.report(),
        "gcore with files",
    );
    let runtime = Runtime::open(&open_dump(&file, false), &Options::default()).unwrap();
    let census = census(&runtime);
    assert!(census.counts.len() > 30, "types are still told apart");
    for id in census.counts.keys() {
        let _ = runtime.type_info(*id);
    }
    let completeness = runtime.completeness();
    assert!(
        completeness.count(leakhound_clr::Problem::ModuleWithoutMetadata) > 0,
        "{completeness:?}"
    );
    assert!(
        completeness.count(leakhound_clr::Problem::UnnamedType) > 0,
        "{completeness:?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_live_process_reads_as_its_dump_does() {
    let service = start(Version::Net10, false);
    service.settle().unwrap();
    check(
        &leakhound_dump::live(service.pid()).unwrap(),
        service.report(),
        "live",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_peek_at_a_live_process_sees_what_the_target_says() {
    for version in Version::ALL {
        let service = start(version, false);
        let report = service.report();
        service.settle().unwrap();
        let image = leakhound_dump::live(service.pid()).unwrap();
        let peeker = Peeker::open(&image).unwrap();
        let started = std::time::Instant::now();
        let peek = peeker.peek().unwrap();
        let took = started.elapsed();
        let runtime = Runtime::open(&image, &Options::default()).unwrap();
        assert_eq!(peek.finalizer_ready, runtime.ready_count(), "{version}");
        assert_eq!(
            peek.handles.as_ref().unwrap()[&HandleKind::Pinned],
            runtime
                .handles()
                .iter()
                .filter(|h| h.kind == HandleKind::Pinned)
                .count() as u64
        );
        if let Some(bytes) = report["gc"]["loh_bytes"].as_u64() {
            assert_eq!(peek.bytes(Generation::Loh), bytes, "{version}");
            assert_eq!(
                peek.bytes(Generation::Gen2),
                report["gc"]["gen2_bytes"].as_u64().unwrap(),
                "{version}"
            );
        }
        let sum: u64 = peek.generations.values().sum();
        assert!(
            peek.committed_bytes >= sum && sum > 2_000_000,
            "{version}: {peek:?}"
        );
        assert!(!peek.gc_in_progress);
        // No collection came between the report and this.
        let counts = ["gen0", "gen1", "gen2"].map(|g| {
            report["runtime"][format!("{g}_collections")]
                .as_u64()
                .unwrap()
        });
        assert_eq!(peek.collections, Some(counts), "{version}");
        // A budget of 1 ms in release builds on an idle machine; here other tests compete.
        assert!(took.as_millis() < 250, "{version}: {took:?}");
        let pid = service.pid();
        drop(service);
        assert_eq!(peeker.peek(), None, "{version}: process {pid} is gone");
    }
}

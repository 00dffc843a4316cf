//! The reader against real processes in every configuration of the collector and of the host that changes where things lie.
//!
//! In each the same program runs, which reports about itself; every range must be walked to its exact end, every type have its
//! name, every reference lead to an object, and generations, handles, statics and finalizers be as the program says.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod checks;

use checks::check;
use leakhound_clr::{LayoutSource, Options, Runtime, RuntimeInfo};
use leakhound_dump::{FileSearch, ProcessImage};
use leakhound_testbed::{Launch, Version, dumps, runtimes, single_file, targets};
use std::path::Path;

fn open_dump(file: &Path, files: bool) -> ProcessImage {
    let source = leakhound_archive::open_readable(file).unwrap();
    let options = leakhound_dump::Options {
        files: files.then(FileSearch::this_machine),
        ..Default::default()
    };
    leakhound_dump::open_with(source, &options).unwrap()
}

fn info(image: &ProcessImage) -> RuntimeInfo {
    let runtime = Runtime::open(image, &Options::default()).unwrap();
    runtime.info().clone()
}

/// Starts the target with settings, dumps all of it, holds the reader to its report, and returns what the runtime was.
fn read(version: Version, settings: &[(&str, &str)]) -> RuntimeInfo {
    let what = format!("{version} with {settings:?}");
    let folder = tempfile::tempdir().unwrap();
    let root = runtimes::get(version).unwrap();
    let launch: Launch = targets::app("inventory").unwrap().on(&root);
    let launch = settings
        .iter()
        .fold(launch, |launch, (name, value)| launch.setting(name, value));
    let service = launch.start().unwrap();
    let file = folder.path().join("core");
    dumps::createdump(&root, service.pid(), dumps::Kind::Full, &file).unwrap();
    let image = open_dump(&file, false);
    check(&image, service.report(), &what);
    info(&image)
}

#[test]
fn without_background_collections() {
    for version in Version::ALL {
        let info = read(version, &[("gcConcurrent", "0")]);
        assert!(!info.background_gc && !info.server_gc, "{version}");
    }
}

/// Segments instead of regions, by the collector that comes as a library of its own.
#[test]
fn the_standalone_collector_with_segments() {
    for version in [Version::Net8, Version::Net9, Version::Net10] {
        let info = read(version, &[("GCName", "libclrgc.so")]);
        assert!(!info.regions && !info.server_gc, "{version}: {info:?}");
    }
    let info = read(
        Version::Net9,
        &[
            ("GCName", "libclrgc.so"),
            ("gcServer", "1"),
            ("GCHeapCount", "2"),
        ],
    );
    assert!(!info.regions && info.server_gc, "{info:?}");
    assert_eq!(info.heap_count, 2);
}

/// The other library has regions, and in 9 heaps that adapt.
#[test]
fn the_standalone_collector_with_regions() {
    for version in [Version::Net9, Version::Net10] {
        let info = read(version, &[("GCName", "libclrgcexp.so")]);
        assert!(info.regions && !info.server_gc, "{version}: {info:?}");
    }
}

/// The number of heaps adapts to the load, and handles lie in as many tables as there are processors, not heaps.
#[test]
fn server_collections_that_adapt_to_the_load() {
    let processors = std::thread::available_parallelism().unwrap().get();
    for (version, settings) in [
        (
            Version::Net9,
            &[("gcServer", "1"), ("GCDynamicAdaptationMode", "1")][..],
        ),
        (Version::Net10, &[("gcServer", "1")][..]),
    ] {
        let info = read(version, settings);
        assert!(info.server_gc && info.regions, "{version}: {info:?}");
        assert!(
            info.heap_count as usize <= processors,
            "{version}: {info:?}"
        );
    }
}

#[test]
fn collections_that_conserve_memory() {
    for version in [Version::Net8, Version::Net9, Version::Net10] {
        let info = read(version, &[("GCConserveMemory", "7")]);
        assert!(!info.server_gc, "{version}");
    }
}

/// A self-contained program has the runtime beside itself: its path does not tell the version, its image does.
#[test]
fn a_runtime_beside_the_program() {
    let folder = tempfile::tempdir().unwrap();
    for version in Version::ALL {
        let root = runtimes::get(version).unwrap();
        let service = targets::app("inventory")
            .unwrap()
            .on(&root)
            .start()
            .unwrap();
        let file = folder.path().join("core");
        dumps::createdump(&root, service.pid(), dumps::Kind::Full, &file).unwrap();
        let mut image = open_dump(&file, false);
        for module in &mut image.modules {
            module.path = Path::new("/srv/cart").join(module.file_name());
        }
        let info = info(&image);
        assert!(info.version_known && info.layout_proven, "{info:?}");
        assert_eq!(u32::from(info.version.major), version.major());
        // 3.1 numbers its builds by date.
        if version != Version::Net31 {
            check(
                &image,
                service.report(),
                &format!("{version} self-contained"),
            );
        }
    }
}

/// Runtime, framework and program in one executable: the runtime has no module of its own, and assemblies are parts of the
/// executable, mapped as they lie in it.
#[test]
fn a_single_file() {
    let folder = tempfile::tempdir().unwrap();
    let app = targets::app("inventory").unwrap();
    let launch = app.as_single_file(folder.path()).unwrap();
    let service = launch.start().unwrap();
    assert_eq!(service.report()["runtime"]["version"], single_file::VERSION);
    service.settle().unwrap();
    let image = leakhound_dump::live(service.pid()).unwrap();
    check(&image, service.report(), "live single file");
    let live = info(&image);
    assert!(live.single_file && live.layout_proven, "{live:?}");
    assert_eq!(live.layout_source, LayoutSource::Table);
    // All of its memory, as createdump writes it.
    let root = runtimes::get(Version::Net8).unwrap();
    let file = folder.path().join("full.core");
    dumps::createdump(&root, service.pid(), dumps::Kind::Full, &file).unwrap();
    check(
        &open_dump(&file, false),
        service.report(),
        "full dump of a single file",
    );
    // Without the clean pages of the executable, which stands in for them.
    let file = dumps::gcore(service.pid(), &folder.path().join("core")).unwrap();
    check(
        &open_dump(&file, true),
        service.report(),
        "gcore of a single file",
    );
}

/// The same with server collections, and found without any table.
#[test]
fn a_single_file_with_server_collections_calibrated() {
    let folder = tempfile::tempdir().unwrap();
    let app = targets::app("inventory").unwrap();
    let launch = app.as_single_file(folder.path()).unwrap().server_gc(2);
    let service = launch.start().unwrap();
    service.settle().unwrap();
    let image = leakhound_dump::live(service.pid()).unwrap();
    check(&image, service.report(), "single file, server GC");
    let by_table = Runtime::open(&image, &Options::default()).unwrap();
    let options = Options {
        without_tables: true,
        ..Options::default()
    };
    let calibrated = Runtime::open(&image, &options).unwrap();
    assert_eq!(calibrated.info().layout_source, LayoutSource::Calibrated);
    assert_eq!(calibrated.statics(), by_table.statics());
    assert_eq!(calibrated.threads(), by_table.threads());
    assert_eq!(calibrated.modules(), by_table.modules());
}

//! Windows dumps read on Linux: the same process and the same numbers as in `inventory.rs`, under wine.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod checks;

use checks::{census, check};
use leakhound_archive::bundle::MINIDUMP_FILE;
use leakhound_archive::{Archive, Manifest, SealOptions};
use leakhound_clr::{Options, ProcessStart, Runtime};
use leakhound_dump::{AddressKind, FileSearch, ProcessImage};
use leakhound_testbed::minidump::{self, Kept, List};
use leakhound_testbed::{App, Launch, Version, WindowsRoot, dumps, runtimes, targets, windows};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn open(file: &Path, modules: Option<&Path>) -> ProcessImage {
    let options = leakhound_dump::Options {
        files: modules.map(|folder| FileSearch {
            folders: vec![folder.to_owned()],
            ..FileSearch::default()
        }),
        ..leakhound_dump::Options::default()
    };
    let source = leakhound_archive::open_readable(file).unwrap();
    leakhound_dump::open_with(source, &options).unwrap()
}

/// The files of a process's modules, side by side, as somebody would copy them off the machine.
fn module_files(root: &WindowsRoot, app: &App, into: &Path) {
    std::fs::create_dir(into).unwrap();
    let of_app = app.dll.parent().unwrap();
    for folder in [&root.framework(), of_app] {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().extension().is_some_and(|e| e == "dll") {
                std::fs::hard_link(entry.path(), into.join(entry.file_name()))
                    .or_else(|_| {
                        std::fs::copy(entry.path(), into.join(entry.file_name())).map(drop)
                    })
                    .unwrap();
            }
        }
    }
}

/// The types of the program's own and everything else that does not depend on the system: equal wherever it runs.
fn own_types(image: &ProcessImage) -> BTreeMap<String, (u64, u64)> {
    let runtime = Runtime::open(image, &Options::default()).unwrap();
    let mut types = BTreeMap::new();
    for (id, (count, bytes)) in census(&runtime).counts {
        let name = &runtime.type_info(id).unwrap().name;
        // Closures of one method share a name.
        if name.contains("Shop.") {
            let sums: &mut (u64, u64) = types.entry(name.clone()).or_default();
            *sums = (sums.0 + count, sums.1 + bytes);
        }
    }
    types
}

/// What the program reports of itself, without what every start has anew.
fn without_addresses(report: &Value) -> Value {
    let mut report = report.clone();
    for key in ["pid", "runtime", "gc", "statics"] {
        report.as_object_mut().unwrap().remove(key);
    }
    for row in report["types"].as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("method_table");
    }
    for row in report["thread_statics"].as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("os_id");
    }
    report
}

/// A bundle with this dump sealed in it, and the dump as it is read there: in place.
fn sealed(raw: &Path, folder: &Path) -> ProcessImage {
    let archive = Archive::open_or_create(&folder.join("archive")).unwrap();
    let writer = archive
        .begin("stock", jiff::Timestamp::UNIX_EPOCH, "node", 7)
        .unwrap();
    let mut seal = writer.dump(MINIDUMP_FILE, &SealOptions::default()).unwrap();
    std::io::copy(&mut std::fs::File::open(raw).unwrap(), &mut seal).unwrap();
    let dump = seal.finish().unwrap();
    let bundle = writer
        .seal(Manifest {
            dump: Some(dump.record(MINIDUMP_FILE)),
            ..Manifest::default()
        })
        .unwrap();
    leakhound_dump::open(bundle.open_dump().unwrap()).unwrap()
}

fn dumps_read_as_the_target_says(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let root = windows::get(version).unwrap();
    let app = targets::app("inventory").unwrap();
    let full = folder.path().join("full.dmp");
    let service = root.start_and_dump(&app, &full).unwrap();
    let image = open(&full, None);
    assert_eq!(image.warnings, [""; 0]);
    check_process(&image);
    check(
        &image,
        service.report(),
        &format!("{version} for Windows, full"),
    );
    let types = own_types(&image);
    check_equals_linux(version, &app, service.report(), &types);

    let files = folder.path().join("modules");
    module_files(&root, &app, &files);
    let smaller = folder.path().join("smaller.dmp");
    for (kept, list) in [(Kept::Heap, List::Memory), (Kept::Heap, List::Memory64)] {
        minidump::heap_of(&full, &smaller, kept, list).unwrap();
        let refusal = refusal(&open(&smaller, None));
        assert!(
            refusal.contains("coreclr.dll included (--modules FOLDER)"),
            "{refusal}"
        );
        let image = open(&smaller, Some(&files));
        let what = format!("{version} for Windows, {kept:?} in {list:?}");
        check(&image, service.report(), &what);
    }
    // Without the runtime's variables nothing leads to the heap, whatever files there are.
    let (kept, list) = (Kept::PrivateWritable, List::Memory);
    minidump::heap_of(&full, &smaller, kept, list).unwrap();
    let refusal = refusal(&open(&smaller, Some(&files)));
    assert!(refusal.contains("MiniDumpWithDataSegs"), "{refusal}");
}

fn refusal(image: &ProcessImage) -> String {
    let refused = Runtime::open(image, &Options::default());
    refused.err().unwrap().to_string()
}

/// The same program on Linux, on the same runtime: the same objects.
fn check_equals_linux(
    version: Version,
    app: &App,
    report: &Value,
    types: &BTreeMap<String, (u64, u64)>,
) {
    let folder = tempfile::tempdir().unwrap();
    let root = runtimes::get(version).unwrap();
    let service = app.on(&root).start().unwrap();
    assert_eq!(
        without_addresses(service.report()),
        without_addresses(report),
        "{version}"
    );
    let file = folder.path().join("core");
    dumps::createdump(&root, service.pid(), dumps::Kind::Full, &file).unwrap();
    assert!(types.len() > 30, "{types:?}");
    assert_eq!(&own_types(&open(&file, None)), types, "{version}");
}

/// Server collections, in every container that a dump comes in.
fn dumps_of_server_gc_read_as_the_target_says(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let root = windows::get(version).unwrap();
    let app = targets::app("inventory").unwrap();
    let raw = folder.path().join("server.dmp");
    let server = |launch: Launch| launch.server_gc(2);
    let service = root.start_and_dump_as(&app, &raw, server).unwrap();
    let image = open(&raw, None);
    let what = format!("{version} for Windows, server GC");
    check(&image, service.report(), &what);
    let runtime = Runtime::open(&image, &Options::default()).unwrap();
    assert_eq!(runtime.info().heap_count, 2, "{what}");
    assert!(runtime.info().server_gc, "{what}");
    check_start(&image, &runtime, &what);
    let types = own_types(&image);
    drop((runtime, image));

    let bundle = sealed(&raw, folder.path());
    check(&bundle, service.report(), &format!("{what}, sealed"));
    // Packed by others, without frames of ours.
    let packed = folder.path().join("server.dmp.zst");
    let out = std::fs::File::create(&packed).unwrap();
    zstd::stream::copy_encode(std::fs::File::open(&raw).unwrap(), out, 1).unwrap();
    std::fs::remove_file(&raw).unwrap();
    assert_eq!(own_types(&open(&packed, None)), types, "{what}, zstd");
}

/// How it was started and what its runtime was told.
fn check_start(image: &ProcessImage, runtime: &Runtime, what: &str) {
    let start = ProcessStart::read(image).unwrap();
    let ends = |end: &str| start.arguments.iter().any(|a| a.ends_with(end));
    assert!(
        ends("dotnet.exe") && ends("Shop.Inventory.dll"),
        "{what}: {start:?}"
    );
    for (name, value) in [
        ("DOTNET_gcServer", "1"),
        ("COMPlus_gcServer", "1"),
        ("DOTNET_GCHeapCount", "2"),
    ] {
        let found = start.settings.get(name).map(String::as_str);
        assert_eq!(found, Some(value), "{what}: {start:?}");
    }
    let foreign = |name: &String| {
        !["DOTNET_", "COMPlus_", "CORECLR_"]
            .iter()
            .any(|p| name.starts_with(p))
    };
    assert!(!start.settings.keys().any(foreign), "{what}: {start:?}");
    let properties = runtime.app_properties().unwrap();
    assert!(
        properties.contains_key("TRUSTED_PLATFORM_ASSEMBLIES"),
        "{what}: {properties:?}"
    );
}

/// What the dump says of the process beside its memory.
fn check_process(image: &ProcessImage) {
    let named = |name: &str| {
        image
            .modules
            .iter()
            .find(|m| m.file_name().eq_ignore_ascii_case(name))
    };
    let clr = named("coreclr.dll").unwrap();
    assert!(clr.version.is_some() && clr.build_id.len() == 8);
    let parts: Vec<_> = image
        .address_map
        .iter()
        .filter(|r| r.allocation == clr.base)
        .collect();
    assert!(
        parts
            .iter()
            .all(|r| r.kind == AddressKind::Image && r.committed)
    );
    assert!(parts.iter().any(|r| r.execute) && parts.iter().any(|r| r.write));
    assert!(
        image.address_map.iter().any(|r| !r.committed),
        "the GC reserves more than it commits"
    );
    assert!(image.open_handles.unwrap() > 20, "{:?}", image.open_handles);
    // wine knows the names of some threads, of all, or of none.
    let mut names = image.threads.iter().filter_map(|t| t.name.as_deref());
    assert!(names.all(|name| !name.is_empty()));
    // A thread that begins or ends has no context under wine.
    let with_context = image.threads.iter().filter(|t| t.sp != 0).count();
    assert!(with_context * 2 > image.threads.len(), "{with_context}");
}

#[test]
fn net31_dumps_read_as_the_target_says() {
    dumps_read_as_the_target_says(Version::Net31);
}

#[test]
fn net8_dumps_read_as_the_target_says() {
    dumps_read_as_the_target_says(Version::Net8);
}

#[test]
fn net10_dumps_read_as_the_target_says() {
    dumps_read_as_the_target_says(Version::Net10);
}

#[test]
fn net31_dumps_of_server_gc_read_as_the_target_says() {
    dumps_of_server_gc_read_as_the_target_says(Version::Net31);
}

#[test]
fn net8_dumps_of_server_gc_read_as_the_target_says() {
    dumps_of_server_gc_read_as_the_target_says(Version::Net8);
}

#[test]
fn net10_dumps_of_server_gc_read_as_the_target_says() {
    dumps_of_server_gc_read_as_the_target_says(Version::Net10);
}

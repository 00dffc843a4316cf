//! Windows dumps read on Linux: the same process and the same numbers as in `inventory.rs`, under wine.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod checks;

use checks::check;
use leakhound_clr::{Options, Runtime};
use leakhound_dump::{AddressKind, FileSearch, ProcessImage};
use leakhound_testbed::{App, Version, WindowsRoot, minidump, targets, windows};
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

    let heap = folder.path().join("heap.dmp");
    minidump::heap_of(&full, &heap).unwrap();
    let refusal = Runtime::open(&open(&heap, None), &Options::default())
        .err()
        .unwrap();
    let text = refusal.to_string();
    assert!(
        text.contains("coreclr.dll included (--modules FOLDER)"),
        "{text}"
    );
    let files = folder.path().join("modules");
    module_files(&root, &app, &files);
    let image = open(&heap, Some(&files));
    check(
        &image,
        service.report(),
        &format!("{version} for Windows, heap"),
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

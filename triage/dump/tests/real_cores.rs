//! Cores of real .NET processes, by the runtime's own writer and by gdb, against the live process and each other.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leakhound_archive::read_at::PlainFile;
use leakhound_dump::{FileSearch, LiveOptions, Options, ProcessImage, live_with, open_with};
use leakhound_testbed::dumps::{Kind, createdump, gcore};
use leakhound_testbed::runtimes::{self, DotnetRoot};
use leakhound_testbed::service::Service;
use leakhound_testbed::{Version, targets};

const PAGE: usize = 4096;

fn start(version: Version) -> (DotnetRoot, Service) {
    let root = runtimes::get(version).unwrap();
    let service = targets::app("inventory")
        .unwrap()
        .on(&root)
        .start()
        .unwrap();
    (root, service)
}

fn read(path: &Path, files: Option<FileSearch>) -> ProcessImage {
    let options = Options {
        files,
        ..Options::default()
    };
    open_with(Arc::new(PlainFile::open(path).unwrap()), &options).unwrap()
}

type Identity = (u64, PathBuf, Vec<u8>);

/// Modules whose headers are in `image`; the runtime may map another assembly at any time, so the rest may differ.
fn modules(image: &ProcessImage) -> BTreeSet<Identity> {
    let known = |m: &&leakhound_dump::Module| !m.build_id.is_empty();
    let parts = |m: &leakhound_dump::Module| (m.base, m.path.clone(), m.build_id.clone());
    image.modules.iter().filter(known).map(parts).collect()
}

fn threads(image: &ProcessImage) -> BTreeSet<u32> {
    image.threads.iter().map(|t| t.os_id).collect()
}

/// What every core of `service` must agree on with the live process.
fn check(core: &ProcessImage, service: &Service) {
    let alive = live_with(service.pid(), &LiveOptions::default()).unwrap();
    assert_eq!(core.warnings, [""; 0]);
    assert_eq!(core.pid, Some(service.pid()));
    assert_eq!(core.threads[0].os_id, service.pid());
    assert_eq!(core.auxv, alive.auxv);
    let (ours, theirs) = (modules(core), modules(&alive));
    assert!(
        ours.is_subset(&theirs),
        "{:?}",
        ours.difference(&theirs).collect::<Vec<_>>()
    );
    assert!(ours.iter().any(|m| m.1.ends_with("libcoreclr.so")));
    let common = threads(core).intersection(&threads(&alive)).count();
    assert!(
        common >= 5 && common + 2 >= core.threads.len(),
        "{common} of {}",
        core.threads.len()
    );
    for thread in &core.threads {
        let stack = core
            .memory
            .regions()
            .iter()
            .find(|r| r.start <= thread.sp && thread.sp < r.end);
        assert!(
            stack.is_some_and(|r| r.write),
            "thread {} has no stack",
            thread.os_id
        );
    }
}

/// Pages that `partial` lacks and the module files provide must be those of `full`.
fn overlay_equals(full: &ProcessImage, path: &Path) {
    let partial = read(path, None);
    let overlaid = read(path, Some(FileSearch::this_machine()));
    assert_eq!(overlaid.memory.problems(), [""; 0]);
    let mut compared = 0;
    let (mut a, mut b) = (vec![0; PAGE], vec![0; PAGE]);
    for region in overlaid.memory.regions() {
        for address in (region.start..region.end).step_by(PAGE) {
            if partial.memory.read(address, &mut a[..1]) == 1 {
                continue;
            }
            let n = overlaid.memory.read(address, &mut a);
            if full.memory.read(address, &mut b) >= n {
                assert!(a[..n] == b[..n], "page {address:#x} differs");
                compared += 1;
            }
        }
    }
    assert!(compared > 1000, "only {compared} pages came from files");
}

fn createdump_agrees(version: Version) {
    let (root, service) = start(version);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    createdump(&root, service.pid(), Kind::Full, &path("full")).unwrap();
    createdump(&root, service.pid(), Kind::Heap, &path("heap")).unwrap();
    let full = read(&path("full"), None);
    check(&full, &service);
    check(&read(&path("heap"), None), &service);
    overlay_equals(&full, &path("heap"));
}

#[test]
fn net31_createdump() {
    createdump_agrees(Version::Net31);
}

#[test]
fn net8_createdump() {
    createdump_agrees(Version::Net8);
}

#[test]
fn net9_createdump() {
    createdump_agrees(Version::Net9);
}

#[test]
fn net10_createdump() {
    createdump_agrees(Version::Net10);
}

#[test]
fn net8_gcore() {
    let (root, service) = start(Version::Net8);
    let folder = tempfile::tempdir().unwrap();
    let full = folder.path().join("full");
    createdump(&root, service.pid(), Kind::Full, &full).unwrap();
    let core = gcore(service.pid(), &folder.path().join("core")).unwrap();
    check(&read(&core, None), &service);
    overlay_equals(&read(&full, None), &core);
    // Without the files, assemblies have no readable header: gdb leaves clean file pages out.
    let bare = read(&core, None);
    let assembly = |m: &&leakhound_dump::Module| m.file_name() == "System.Private.CoreLib.dll";
    let assembly = bare.modules.iter().find(assembly).unwrap();
    assert_eq!(bare.memory.read(assembly.base, &mut [0; 64]), 0);
}

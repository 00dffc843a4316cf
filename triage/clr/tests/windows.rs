//! Windows dumps read on Linux: the same process and the same numbers as in `inventory.rs`, under wine.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod checks;

use checks::check;
use leakhound_dump::ProcessImage;
use leakhound_testbed::{Version, minidump, targets, windows};
use std::path::Path;

fn open(file: &Path) -> ProcessImage {
    leakhound_dump::open(leakhound_archive::open_readable(file).unwrap()).unwrap()
}

fn full_dump_reads_as_the_target_says(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let root = windows::get(version).unwrap();
    let app = targets::app("inventory").unwrap();
    let service = root.launch(&app).start().unwrap();
    let full = folder.path().join("full.dmp");
    root.minidump(&service, &full).unwrap();
    check(
        &open(&full),
        service.report(),
        &format!("{version} for Windows, full"),
    );
    let heap = folder.path().join("heap.dmp");
    minidump::heap_of(&full, &heap).unwrap();
}

#[test]
fn net31_dumps_read_as_the_target_says() {
    full_dump_reads_as_the_target_says(Version::Net31);
}

#[test]
fn net8_dumps_read_as_the_target_says() {
    full_dump_reads_as_the_target_says(Version::Net8);
}

#[test]
fn net10_dumps_read_as_the_target_says() {
    full_dump_reads_as_the_target_says(Version::Net10);
}

//! Our reader against the runtime's own debugging library: the same dump, every question that both can answer.
//!
//! The matrix is runtime × collector × kind of dump × program. `cargo test` runs a slice of it; the whole runs with
//! `LEAKHOUND_FULL_MATRIX=1`. `LEAKHOUND_MATRIX_TABLE=FILE` writes the table that is printed at the end as Markdown.
//! A difference fails the test unless `accepted.rs` names it, with its reason.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

mod accepted;
mod cell;
mod compare;
mod difference;
mod names;
mod ours;
mod table;

use cell::{Cell, Collector, Container};
use leakhound_testbed::Version;
use table::Table;

/// Programs of the slice: one with everything in it, and one with a heap full of holes.
const SLICE: [&str; 2] = ["inventory", "pinned-handles"];
/// Programs of the whole matrix.
const PROGRAMS: [&str; 8] = [
    "inventory",
    "static-root",
    "finalizer-backlog",
    "loh-fragmentation",
    "pinned-handles",
    "string-duplication",
    "thread-leak",
    "healthy",
];

fn full_matrix() -> bool {
    std::env::var_os("LEAKHOUND_FULL_MATRIX").is_some_and(|value| value != "0")
}

/// Runs programs on one runtime; a process is started once and dumped once for each container.
fn run(version: Version, containers: &[Container]) -> Table {
    let programs: &[&str] = if full_matrix() { &PROGRAMS } else { &SLICE };
    let mut table = Table::default();
    for program in programs {
        for collector in [Collector::Workstation, Collector::Server] {
            for cell in Cell::all_of(version, program, collector, containers) {
                table.add(cell.judge());
            }
        }
    }
    table
}

fn hold(version: Version) {
    let table = run(version, &[Container::FullCore, Container::HeapCore]);
    table.publish(&format!("{version}"));
    table.assert_equal();
}

#[test]
fn net31_agrees_with_its_debugging_library() {
    hold(Version::Net31);
}

#[test]
fn net8_agrees_with_its_debugging_library() {
    hold(Version::Net8);
}

#[test]
fn net9_agrees_with_its_debugging_library() {
    hold(Version::Net9);
}

#[test]
fn net10_agrees_with_its_debugging_library() {
    hold(Version::Net10);
}

/// Dumps of other writers than createdump: gdb, and our own capture as it lies sealed in the archive.
#[test]
fn other_containers_agree_too() {
    let versions: &[Version] = if full_matrix() {
        &Version::ALL
    } else {
        &[Version::Net31, Version::Net10]
    };
    let mut table = Table::default();
    for version in versions {
        let containers = [Container::Gcore, Container::Sealed];
        for collector in [Collector::Workstation, Collector::Server] {
            for cell in Cell::all_of(*version, "inventory", collector, &containers) {
                table.add(cell.judge());
            }
        }
    }
    table.publish("Other containers");
    table.assert_equal();
}

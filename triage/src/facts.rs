//! Fact families: what a capture says, in the words of the vocabulary. One file per family.

pub mod account;
pub mod growth;
pub mod heap;
pub mod process;

use crate::child::Request;
use account::GcShare;
use leakhound_clr::{Problem, Runtime};
use leakhound_dump::ProcessImage;
use leakhound_rules::FactSheet;

/// Walks the managed heap and writes every family that stands on it; returns the heap's part of the byte account.
pub fn write_managed(
    image: &ProcessImage,
    runtime: &Runtime,
    _request: &Request,
    at: &mut dyn FnMut(f64, &str),
    sheet: &mut FactSheet,
) -> GcShare {
    let _ = image;
    let walk = runtime.walk(|| (), |_, _| {});
    at(0.4, "reading the roots");
    let generations = heap::generations(runtime, &walk.ranges);
    heap::write(runtime, &generations, sheet);
    describe_runtime(runtime, sheet);
    GcShare {
        ranges: heap::address_ranges(runtime),
        live_bytes: None,
        garbage_bytes: None,
        free_bytes: generations.iter().map(|g| g.free).sum(),
        used_bytes: generations.iter().map(|g| g.used).sum(),
    }
}

fn describe_runtime(runtime: &Runtime, sheet: &mut FactSheet) {
    let info = runtime.info();
    let facts = &mut sheet.runtime;
    facts.name = ".NET".to_owned();
    facts.version = info.version.to_string();
    facts.gc = if info.server_gc { "server" } else { "workstation" }.to_owned();
    facts.heap_layout = if info.regions { "regions" } else { "segments" }.to_owned();
    facts.single_file = info.single_file;
    let seen = runtime.completeness();
    for problem in Problem::ALL {
        let count = seen.count(*problem);
        if count > 0 {
            let sentence = format!("{count} {}.", problem.sentence());
            sheet.completeness.problems.push(sentence);
        }
    }
    sheet.completeness.problems.extend(seen.notes);
}

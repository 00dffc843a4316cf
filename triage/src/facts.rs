//! Fact families: what a capture says, in the words of the vocabulary. One file per family.

pub mod account;
mod accumulations;
mod address_map;
pub mod ages;
mod bounds;
pub mod collections;
pub mod collector;
pub mod dominators;
pub mod entry;
pub mod events;
pub mod exceptions;
pub mod finalization;
pub mod growth;
pub mod handles;
pub mod hard_limit;
pub mod heap;
pub mod http;
pub mod large;
pub mod locks;
mod mapped_files;
pub mod modules;
pub mod path;
pub mod process;
mod reservation;
pub mod resources;
pub mod roots;
pub mod rows;
pub mod settings;
pub mod statics;
pub mod strings;
pub mod survey;
pub mod threads;
pub mod thrown;
pub mod types;
pub mod waiting;

use crate::child::Request;
use account::GcShare;
use leakhound_clr::{Problem, Runtime};
use leakhound_dump::ProcessImage;
use leakhound_rules::FactSheet;
use survey::Survey;

/// Walks the managed heap and writes every family that stands on it; returns the heap's part of the byte account.
pub fn write_managed(
    image: &ProcessImage,
    runtime: &Runtime,
    request: &Request,
    at: &mut dyn FnMut(f64, &str),
    sheet: &mut FactSheet,
) -> GcShare {
    let mut gc = GcShare {
        ranges: heap::address_ranges(runtime),
        ..GcShare::default()
    };
    match Survey::take(image, runtime, at) {
        Ok(survey) => {
            let generations = heap::generations(runtime, survey.objects.ranges());
            heap::write(runtime, &generations, sheet);
            heap::write_lists(runtime, survey.objects.ranges(), sheet);
            gc.free_bytes = generations.iter().map(|g| g.free).sum();
            gc.used_bytes = generations.iter().map(|g| g.used).sum();
            at(0.75, "counting types");
            let liveness = types::write(&survey, sheet);
            // What waits for its finalizer takes its place until that has run, as if it were alive.
            gc.live_bytes = Some(liveness.live_bytes + liveness.finalizing_bytes);
            gc.garbage_bytes = Some(liveness.garbage_bytes);
            finalization::write(&survey, sheet);
            handles::write(&survey, sheet);
            statics::write(&survey, sheet);
            dominators::write(&survey, sheet);
            accumulations::write(&survey, sheet);
            threads::write(image, &survey, sheet);
            thrown::write(&survey, request.strings, sheet);
            modules::write(&survey, sheet);
            at(0.85, "comparing strings");
            strings::write(&survey, request.strings, sheet);
            at(0.92, "reading collections and what waits");
            collections::write(&survey, sheet);
            http::write(&survey, request.strings, sheet);
            events::write(&survey, sheet);
            exceptions::write(&survey, sheet);
            waiting::write(&survey, sheet);
            resources::write(&survey, sheet);
            large::write(&survey, sheet);
            let edges = survey.references;
            let dangling = runtime.completeness().count(Problem::DanglingReference);
            if edges + dangling > 0 {
                sheet.completeness.references = Some(edges as f64 / (edges + dangling) as f64);
            }
        }
        Err(error) => {
            let walk = runtime.walk(|| (), |(), _| {});
            let generations = heap::generations(runtime, &walk.ranges);
            heap::write(runtime, &generations, sheet);
            gc.free_bytes = generations.iter().map(|g| g.free).sum();
            gc.used_bytes = generations.iter().map(|g| g.used).sum();
            sheet.completeness.problems.push(format!(
                "Only the sizes of the heap are known, not who holds it: {error}."
            ));
        }
    }
    collector::write(runtime, sheet);
    locks::write(runtime, sheet);
    settings::write(image, runtime, sheet);
    describe_runtime(runtime, sheet);
    gc
}

fn describe_runtime(runtime: &Runtime, sheet: &mut FactSheet) {
    let info = runtime.info();
    let facts = &mut sheet.runtime;
    facts.name = ".NET".to_owned();
    facts.version = info.version.to_string();
    facts.gc = if info.server_gc {
        "server"
    } else {
        "workstation"
    }
    .to_owned();
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

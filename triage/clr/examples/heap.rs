//! Prints what the reader sees in a dump: `cargo run -p leakhound-clr --example heap -- FILE [MODULE-FOLDER]`.

use leakhound_clr::{Options, Runtime};
use leakhound_dump::FileSearch;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which dump?")?;
    let started = Instant::now();
    let source = leakhound_archive::open_readable(Path::new(&file))?;
    let files = FileSearch {
        folders: arguments.next().map(PathBuf::from).into_iter().collect(),
        ..FileSearch::this_machine()
    };
    let image = leakhound_dump::open_with(
        source,
        &leakhound_dump::Options {
            files: Some(files),
            ..Default::default()
        },
    )?;
    let runtime = Runtime::open(&image, &Options::default())?;
    println!("{:?}", runtime.info());
    println!(
        "open {:?}, {} modules, {} threads",
        started.elapsed(),
        runtime.modules().len(),
        runtime.threads().len()
    );
    let walking = Instant::now();
    let walk = runtime.walk(Vec::<(u64, u64)>::new, |types, object| {
        let at = object.type_id.index();
        if types.len() <= at {
            types.resize(at + 1, (0, 0));
        }
        types[at].0 += 1;
        types[at].1 += object.size;
    });
    let took = walking.elapsed();
    let mut types = vec![(0u64, 0u64, 0u32); runtime.type_count()];
    for accumulator in &walk.accumulators {
        for (i, (count, bytes)) in accumulator.iter().enumerate() {
            types[i].0 += count;
            types[i].1 += bytes;
            types[i].2 = u32::try_from(i)?;
        }
    }
    let entries: u64 = walk
        .ranges
        .iter()
        .map(|(_, s)| s.object_count + s.free_count)
        .sum();
    println!(
        "walk {took:?}: {entries} entries, {:.1} M/s",
        entries as f64 / took.as_secs_f64() / 1e6
    );
    for (range, stats) in &walk.ranges {
        println!(
            "  heap {} {:6} {:#x}..{:#x} objects {} ({}) free {} ({}, largest {}) contexts {} skipped {}",
            range.heap,
            range.generation.name(),
            range.start,
            range.end,
            stats.object_count,
            stats.object_bytes,
            stats.free_count,
            stats.free_bytes,
            stats.largest_free_bytes,
            stats.allocation_context_bytes,
            stats.skipped_bytes
        );
    }
    types.sort_by_key(|t| std::cmp::Reverse(t.1));
    for (count, bytes, id) in types.iter().filter(|t| t.0 > 0) {
        let info = runtime
            .type_info(leakhound_clr::TypeId(*id))
            .ok_or("type")?;
        println!(
            "{bytes:12} {count:9} {} [{}] {}",
            info.name, info.short_name, info.module
        );
    }
    let building = Instant::now();
    let snapshot = runtime.snapshot();
    println!(
        "snapshot {:?}: {} objects",
        building.elapsed(),
        snapshot.len()
    );
    let linking = Instant::now();
    let edges = runtime.edges(&snapshot);
    println!("edges {:?}: {}", linking.elapsed(), edges.targets.len());
    let name = |object: u64| {
        let info = runtime.type_of(object).and_then(|id| runtime.type_info(id));
        info.map_or_else(|| "?".to_owned(), |i| i.name.clone())
    };
    let mut handles = std::collections::BTreeMap::<String, u64>::new();
    for handle in runtime.handles() {
        let secondary = if handle.secondary == 0 {
            String::new()
        } else {
            format!(" => {}", name(handle.secondary))
        };
        *handles
            .entry(format!(
                "{:?} {}{secondary}",
                handle.kind,
                name(handle.target)
            ))
            .or_default() += 1;
    }
    handles
        .iter()
        .for_each(|(what, count)| println!("handle {count:6} {what}"));
    let finalization = runtime.finalization();
    let mut queue = std::collections::BTreeMap::<String, u64>::new();
    for (generation, object) in &finalization.registered {
        *queue
            .entry(format!(
                "registered {} {}",
                generation.name(),
                name(*object)
            ))
            .or_default() += 1;
    }
    finalization
        .ready
        .iter()
        .for_each(|o| *queue.entry(format!("ready {}", name(*o))).or_default() += 1);
    finalization.ready_critical.iter().for_each(|o| {
        *queue
            .entry(format!("ready critical {}", name(*o)))
            .or_default() += 1
    });
    queue
        .iter()
        .for_each(|(what, count)| println!("queue {count:6} {what}"));
    println!("finalizer {:?}", finalization.thread);
    for field in runtime.statics() {
        println!(
            "static {} = {}",
            field.name,
            if field.object == 0 {
                "null".to_owned()
            } else {
                name(field.object)
            }
        );
    }
    for field in runtime.thread_statics() {
        println!(
            "thread static {} of {} = {}",
            field.name,
            field.managed_thread_id,
            name(field.object)
        );
    }
    runtime.threads().iter().for_each(|t| println!("{t:?}"));
    println!("{:?} in {:?}", runtime.completeness(), started.elapsed());
    Ok(())
}

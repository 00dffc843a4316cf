//! Our reader against the runtime's own debugging library: the same core, every type, every handle, every thread.
#![allow(clippy::unwrap_used)]

use leakhound_clr::{HandleKind, Options, Runtime};
use leakhound_dump::MemoryExt;
use leakhound_testbed::{DotnetRoot, Version, dumps, runtimes, targets};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn testimony(root: &DotnetRoot, core: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_leakhound-oracle"))
        .arg(core)
        .arg(root.dac())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}: {}\n{}",
        root.version(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// SOS names the assembly of every type argument: `Dictionary`2[[System.String, System.Private.CoreLib],[…]]`.
fn without_assemblies(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    let mut depth = 0_usize;
    while let Some(next) = rest.chars().next() {
        if let Some(inside) = rest.strip_prefix("[[") {
            out.push('[');
            depth += 1;
            rest = inside;
        } else if depth > 0 && rest.starts_with(", ") {
            // The assembly, up to the bracket that closes this argument.
            let end = rest.find(']').unwrap();
            rest = &rest[end + 1..];
            if let Some(more) = rest.strip_prefix(",[") {
                out.push_str(", ");
                rest = more;
            } else if let Some(after) = rest.strip_prefix(']') {
                out.push(']');
                depth -= 1;
                rest = after;
            }
        } else {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}

#[test]
fn assemblies_are_taken_out_of_names() {
    assert_eq!(
        without_assemblies("A`2[[B`1[[C, x]][], y],[D+E, z]][]"),
        "A`2[B`1[C][], D+E][]"
    );
    assert_eq!(without_assemblies("System.Int32[,]"), "System.Int32[,]");
}

/// What we say of the objects of one method table.
#[derive(Debug, Default)]
struct Ours {
    objects: (u64, u64),
    name: String,
}

/// Count and bytes by method table, and of free blocks.
fn histogram(runtime: &Runtime) -> (BTreeMap<u64, Ours>, (u64, u64)) {
    let walk = runtime.walk(BTreeMap::<_, (u64, u64)>::new, |tally, object| {
        let entry = tally.entry(object.type_id).or_default();
        entry.0 += 1;
        entry.1 += object.size;
    });
    let mut all: BTreeMap<u64, Ours> = BTreeMap::new();
    for piece in walk.accumulators {
        for (id, (count, bytes)) in piece {
            let info = runtime.type_info(id).unwrap();
            let entry = all.entry(info.method_table).or_default();
            entry.objects.0 += count;
            entry.objects.1 += bytes;
            entry.name.clone_from(&info.raw_name);
        }
    }
    let free = walk.ranges.iter().fold((0, 0), |sum, (_, range)| {
        assert_eq!(range.skipped_bytes, 0);
        (sum.0 + range.free_count, sum.1 + range.free_bytes)
    });
    (all, free)
}

fn compare_types(label: &str, runtime: &Runtime, said: &Value) {
    let (mut ours, free) = histogram(runtime);
    let mut wrong_names = Vec::new();
    for entry in list(&said["types"]) {
        let expected = (number(&entry["count"]), number(&entry["bytes"]));
        let name = entry["name"].as_str().unwrap();
        if entry["free"] == true {
            assert_eq!(free, expected, "{label}: free blocks");
            continue;
        }
        let table = number(&entry["method_table"]);
        let found = ours.remove(&table).unwrap_or_default();
        assert_eq!(found.objects, expected, "{label}: {name}");
        if found.name != without_assemblies(name) {
            wrong_names.push(format!("{name} is {} to us", found.name));
        }
    }
    assert!(ours.is_empty(), "{label}: only we see {ours:x?}");
    assert!(
        wrong_names.is_empty(),
        "{label}: {} names differ:\n{}",
        wrong_names.len(),
        wrong_names.join("\n")
    );
}

fn compare_handles(label: &str, runtime: &Runtime, said: &Value) {
    let kinds = [
        HandleKind::WeakShort,
        HandleKind::WeakLong,
        HandleKind::Strong,
        HandleKind::Pinned,
        HandleKind::Variable,
        HandleKind::RefCounted,
        HandleKind::Dependent,
    ];
    let mut ours: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for handle in runtime.handles() {
        let kind = kinds.iter().position(|kind| *kind == handle.kind);
        let table = runtime.memory().u64(handle.target);
        if let (Some(kind), Some(table)) = (kind, table) {
            *ours.entry((kind as u64, table & !7)).or_default() += 1;
        }
    }
    let theirs: BTreeMap<(u64, u64), u64> = list(&said["handle_targets"])
        .iter()
        .filter(|entry| number(&entry["kind"]) < kinds.len() as u64)
        .map(|entry| {
            (
                (number(&entry["kind"]), number(&entry["method_table"])),
                number(&entry["count"]),
            )
        })
        .collect();
    assert_eq!(ours, theirs, "{label}: handles by kind and method table");
}

fn compare_threads_and_segments(label: &str, runtime: &Runtime, said: &Value) {
    let mut ids: Vec<u64> = runtime
        .threads()
        .iter()
        .filter(|thread| thread.os_id != 0)
        .map(|thread| u64::from(thread.os_id))
        .collect();
    ids.sort_unstable();
    let theirs: Vec<u64> = list(&said["threads"]["os_ids"])
        .iter()
        .map(number)
        .collect();
    assert_eq!(ids, theirs, "{label}: kernel ids of managed threads");
    let mut ours: Vec<(u64, u64, u64)> = runtime
        .heaps()
        .iter()
        .flat_map(|heap| &heap.segments)
        .map(|segment| (segment.start, segment.allocated_end, segment.committed_end))
        .collect();
    ours.sort_unstable();
    let mut theirs: Vec<(u64, u64, u64)> = list(&said["segments"])
        .iter()
        .map(|segment| {
            (
                number(&segment["start"]),
                number(&segment["end"]),
                number(&segment["committed"]),
            )
        })
        .collect();
    theirs.sort_unstable();
    assert_eq!(
        ours, theirs,
        "{label}: start, end, committed end of segments"
    );
}

fn compare(target: &str, version: Version, server_heaps: u32) {
    let root = runtimes::get(version).unwrap();
    let launch = targets::app(target).unwrap().on(&root);
    let service = if server_heaps == 0 {
        launch.start().unwrap()
    } else {
        launch.server_gc(server_heaps).start().unwrap()
    };
    let label = format!("{target}, {version}, {server_heaps} server heaps");
    let folder = tempfile::tempdir().unwrap();
    let core = folder.path().join("full.core");
    dumps::createdump(&root, service.pid(), dumps::Kind::Full, &core).unwrap();
    drop(service);
    let said = testimony(&root, &core);
    assert_eq!(said["broken"], serde_json::json!([]), "{label}");
    let image = leakhound_dump::open(leakhound_archive::open_readable(&core).unwrap()).unwrap();
    let runtime = Runtime::open(&image, &Options::default()).unwrap();
    assert_eq!(runtime.info().server_gc, server_heaps > 0, "{label}");
    compare_threads_and_segments(&label, &runtime, &said);
    compare_types(&label, &runtime, &said);
    compare_handles(&label, &runtime, &said);
}

macro_rules! on_every_runtime {
    ($($name:ident: $version:ident),*) => {$(
        mod $name {
            use super::{Version, compare};

            #[test]
            fn inventory() {
                compare("inventory", Version::$version, 0);
            }

            #[test]
            fn inventory_with_server_gc() {
                compare("inventory", Version::$version, 2);
            }

            #[test]
            fn a_service_under_load() {
                compare("healthy", Version::$version, 0);
            }

            #[test]
            fn a_fragmented_service() {
                compare("pinned-handles", Version::$version, 0);
            }
        }
    )*};
}

on_every_runtime!(net31: Net31, net8: Net8, net9: Net9, net10: Net10);

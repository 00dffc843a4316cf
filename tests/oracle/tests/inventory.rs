//! The runtime's own debugging library agrees with what the inventory says about itself, on every runtime: so both
//! may be called as witnesses against our reader.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

use leakhound_dump::{Memory, MemoryExt};
use leakhound_oracle::Testimony;
use leakhound_testbed::{DotnetRoot, Service, Version, dumps, runtimes, targets};
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;

/// The full core of a service, and what the library says about it.
fn testimony(root: &DotnetRoot, service: &Service) -> (Testimony, Arc<dyn Memory>) {
    let folder = tempfile::tempdir().unwrap();
    let core = folder.path().join("full.core");
    dumps::createdump(root, service.pid(), dumps::Kind::Full, &core).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_leakhound-oracle"))
        .arg(&core)
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
    let image = leakhound_dump::open(leakhound_archive::open_readable(&core).unwrap()).unwrap();
    (
        serde_json::from_slice(&output.stdout).unwrap(),
        image.memory,
    )
}

fn address(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Number of the objects that are of a type.
fn of_type(memory: &dyn Memory, objects: impl Iterator<Item = u64>, table: u64) -> u64 {
    let tables = objects.filter_map(|object| memory.u64(object));
    tables.filter(|word| word & !7 == table).count() as u64
}

fn compare(label: &str, report: &Value, said: &Testimony, memory: &dyn Memory) {
    assert!(said.broken.is_empty(), "{label}: {:x?}", said.broken);
    for expected in report["types"].as_array().unwrap() {
        let name = &expected["reflection_name"];
        let table = address(&expected["method_table"]);
        let found = said.types.iter().find(|t| t.method_table == table);
        let (objects, bytes) = found
            .unwrap_or_else(|| panic!("{label}: the library saw no {name}"))
            .total();
        let count = number(&expected["count"]);
        assert_eq!(objects, count, "{label}: {name}");
        assert_eq!(
            bytes,
            count * number(&expected["bytes_each"]),
            "{label}: {name}"
        );
    }
    let table_of = |name: &str| {
        let types = report["types"].as_array().unwrap();
        let entry = types.iter().find(|entry| entry["name"] == name).unwrap();
        address(&entry["method_table"])
    };
    // Numbers of the kinds: dotnet/runtime src/coreclr/gc/gcinterface.h, HandleType.
    for (kind, target, key) in [
        (0, "Shop.Inventory.HandleTarget", "weak_short"),
        (1, "Shop.Inventory.HandleTarget", "weak_long"),
        (2, "Shop.Inventory.HandleTarget", "strong"),
        (3, "Shop.Inventory.PinnedCell", "pinned_cells"),
        (3, "Shop.Inventory.Reading[]", "pinned_arrays"),
        (6, "Shop.Inventory.Tagged", "dependent"),
    ] {
        let handles = said.handles.iter().filter(|handle| handle.kind == kind);
        assert_eq!(
            of_type(
                memory,
                handles.map(|handle| handle.target),
                table_of(target)
            ),
            number(&report["handles"][key]),
            "{label}: {key}"
        );
    }
    for (from_end, target, key) in [
        (1, "Shop.Inventory.Lease", "lease_ready"),
        (2, "Shop.Inventory.SafeLease", "safe_lease_ready"),
    ] {
        let queues = said.finalization.iter();
        let ready =
            queues.flat_map(|queue| queue.parts[queue.parts.len() - from_end].iter().flatten());
        assert_eq!(
            of_type(memory, ready.copied(), table_of(target)),
            number(&report["finalizers"][key]),
            "{label}: {key}"
        );
    }
    compare_statics(label, report, said);
    assert!(said.threads.len() >= 7, "{label}");
    assert!(said.finalizer_os_id > 0, "{label}");
}

/// Static references whose address the program printed.
fn compare_statics(label: &str, report: &Value, said: &Testimony) {
    let mut checked = 0;
    for expected in report["statics"].as_array().unwrap() {
        let full = expected["field"].as_str().unwrap();
        let Some(object) = expected.get("address").map(address) else {
            continue;
        };
        let (_, field) = full.rsplit_once('.').unwrap();
        let mut named = said.statics.iter().filter(|s| s.field == field);
        let found = named.any(|s| s.object == object);
        // Up to 8 the library cannot say where the statics of generic instances are.
        assert!(found || full.contains('<'), "{label}: {full} = {object:#x}");
        checked += u32::from(found);
    }
    assert!(checked > 10, "{label}: {checked} statics");
}

#[test]
fn the_library_and_the_inventory_agree() {
    let app = targets::app("inventory").unwrap();
    for version in Version::ALL {
        let root = runtimes::get(version).unwrap();
        for heaps in [0, 2] {
            let launch = app.on(&root);
            let service = if heaps == 0 {
                launch.start().unwrap()
            } else {
                launch.server_gc(heaps).start().unwrap()
            };
            let (said, memory) = testimony(&root, &service);
            let label = format!("{version}, {heaps} server heaps");
            assert_eq!(said.server, heaps > 0, "{label}");
            compare(&label, service.report(), &said, &*memory);
        }
    }
}

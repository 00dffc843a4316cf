//! The runtime's own debugging library agrees with what the inventory says about itself, on every runtime: so both
//! may be called as witnesses against our reader.
#![allow(clippy::unwrap_used)]

use leakhound_testbed::{DotnetRoot, Service, Version, dumps, runtimes, targets};
use serde_json::Value;
use std::process::Command;

/// The full core of a service, and what the library says about it.
fn testimony(root: &DotnetRoot, service: &Service) -> Value {
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
    serde_json::from_slice(&output.stdout).unwrap()
}

fn address(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn compare(label: &str, report: &Value, said: &Value) {
    assert_eq!(said["broken"], serde_json::json!([]), "{label}: {said}");
    let types = said["types"].as_array().unwrap();
    let of = |table: u64| {
        types
            .iter()
            .find(|entry| number(&entry["method_table"]) == table)
    };
    for expected in report["types"].as_array().unwrap() {
        let name = &expected["reflection_name"];
        let found = of(address(&expected["method_table"]))
            .unwrap_or_else(|| panic!("{label}: the library saw no {name}"));
        let count = number(&expected["count"]);
        assert_eq!(number(&found["count"]), count, "{label}: {name}");
        assert_eq!(
            number(&found["bytes"]),
            count * number(&expected["bytes_each"]),
            "{label}: {name}"
        );
    }
    let handles = |kind: u64, table: u64| {
        said["handle_targets"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| number(&entry["kind"]) == kind)
            .filter(|entry| number(&entry["method_table"]) == table)
            .map(|entry| number(&entry["count"]))
            .sum::<u64>()
    };
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
        assert_eq!(
            handles(kind, table_of(target)),
            number(&report["handles"][key]),
            "{label}: {key}"
        );
    }
    assert!(number(&said["threads"]["all"]) >= 7, "{label}");
    assert!(number(&said["threads"]["finalizer_os_id"]) > 0, "{label}");
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
            let said = testimony(&root, &service);
            let label = format!("{version}, {heaps} server heaps");
            assert_eq!(said["server"], heaps > 0, "{label}");
            compare(&label, service.report(), &said);
        }
    }
}

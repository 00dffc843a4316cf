//! Views of `leakhound heap`, asked for by the built program and held to what a process says about itself.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

pub fn leakhound(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args(arguments)
        .env_remove("LEAKHOUND_CONFIG")
        .output()
        .unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Rows of a view, and what was said beside them.
pub fn ask(file: &str, view: &str, more: &[&str]) -> (Vec<Value>, String) {
    let mut arguments = vec!["heap", file, view, "--format", "json"];
    arguments.extend(more);
    let output = leakhound(&arguments);
    assert!(output.status.success(), "{arguments:?}: {}", err(&output));
    (
        serde_json::from_slice(&output.stdout).unwrap(),
        err(&output),
    )
}

pub fn rows(file: &str, view: &str) -> Vec<Value> {
    ask(file, view, &[]).0
}

pub fn sum(rows: &[Value], key: &str) -> u64 {
    rows.iter().filter_map(|row| row[key].as_u64()).sum()
}

pub fn find<'a>(rows: &'a [Value], key: &str, value: &str) -> &'a Value {
    rows.iter()
        .find(|row| row[key] == value)
        .unwrap_or(&Value::Null)
}

/// Holds every view of one process to what the target says.
pub fn check(file: &str, report: &Value, runtime: &str, what: &str) {
    let types = rows(file, "types");
    for expected in report["types"].as_array().unwrap() {
        let name = expected["name"].as_str().unwrap();
        if !name.starts_with("Shop.") || name.contains("<>") || name.contains(">d__") {
            continue;
        }
        let row = find(&types, "type", name);
        assert_eq!(row["count"], expected["count"], "{what}: number of {name}");
        let each = expected["bytes_each"].as_u64().unwrap();
        let count = expected["count"].as_u64().unwrap();
        assert_eq!(row["bytes"], count * each, "{what}: bytes of {name}");
    }
    let generations = rows(file, "gen");
    assert_eq!(
        sum(&types, "count"),
        sum(&generations, "object_count"),
        "{what}"
    );
    assert_eq!(
        sum(&types, "bytes"),
        sum(&generations, "object_bytes"),
        "{what}"
    );
    for generation in ["gen2", "loh"] {
        let Some(bytes) = report["gc"][format!("{generation}_bytes")].as_u64() else {
            continue;
        };
        let own: Vec<Value> = generations
            .iter()
            .filter(|r| r["generation"] == generation)
            .cloned()
            .collect();
        assert_eq!(
            sum(&own, "object_bytes") + sum(&own, "free_bytes"),
            bytes,
            "{what}: {generation} as the collector counts it"
        );
    }

    let handles = rows(file, "handles");
    for (kind, least) in [
        ("strong", "strong"),
        ("weak_short", "weak_short"),
        ("weak_long", "weak_long"),
        ("pinned", "pinned"),
        ("dependent", "dependent"),
    ] {
        // The runtime has some for itself.
        let count = find(&handles, "kind", kind)["count"].as_u64().unwrap();
        let least = report["handles"][least].as_u64().unwrap();
        assert!(
            (least..least + 150).contains(&count),
            "{what}: {count} {kind} handles"
        );
    }

    let finalizers = rows(file, "finalizer");
    let said = |name: &str| report["finalizers"][name].as_u64().unwrap();
    let lease = find(&finalizers, "type", "Shop.Inventory.Lease");
    assert_eq!(lease["ready"], said("lease_ready"), "{what}");
    let registered = said("lease_registered") + said("lease_suppressed");
    assert_eq!(lease["registered"], registered, "{what}");
    let safe = find(&finalizers, "type", "Shop.Inventory.SafeLease");
    assert_eq!(safe["ready"], said("safe_lease_ready"), "{what}");
    assert_eq!(safe["registered"], said("safe_lease_registered"), "{what}");

    let statics = rows(file, "statics");
    let mut compared = 0;
    for expected in report["statics"].as_array().unwrap() {
        if let (Some(field), Some(address)) = (expected["field"].as_str(), expected.get("address"))
        {
            let row = find(&statics, "field", field);
            assert_eq!(&row["address"], address, "{what}: {field}");
            let declared = expected["type"].as_str().unwrap();
            if !declared.contains("<>") {
                assert_eq!(row["type"], declared, "{what}: {field}");
            }
            compared += 1;
        }
    }
    assert!(compared > 10, "{what}: {compared} statics");
    assert_eq!(
        find(&statics, "field", "Shop.Inventory.Registry.Nothing"),
        &Value::Null
    );
    let all = &find(&statics, "field", "Shop.Inventory.Registry.All")["address"];
    let (path, _) = ask(file, "path", &[all.as_str().unwrap()]);
    let own: Vec<&Value> = path.iter().filter(|r| r["root"] == "static").collect();
    assert_eq!(own.len(), 2, "{what}: {path:?}");
    assert_eq!(
        own[0]["type"], "static Shop.Inventory.Registry.All",
        "{what}"
    );
    assert_eq!(&own[1]["address"], all, "{what}");
    let (kept, _) = ask(file, "dominators", &["--types"]);
    let item = find(&kept, "type", "Shop.Inventory.Item");
    let counted = find(&types, "type", "Shop.Inventory.Item");
    assert_eq!(item["count"], counted["count"], "{what}");
    let retained = item["retained_bytes"].as_u64().unwrap();
    assert!(retained >= counted["bytes"].as_u64().unwrap(), "{what}");

    let threads = rows(file, "threads");
    for expected in report["thread_statics"].as_array().unwrap() {
        let row = find(&threads, "name", expected["name"].as_str().unwrap());
        assert_eq!(row["state"], "alive", "{what}: {expected}");
        assert_eq!(row["kind"], "background", "{what}: {expected}");
    }
    let modules = rows(file, "modules");
    assert_eq!(
        find(&modules, "name", "Shop.Inventory.dll")["kind"],
        "managed",
        "{what}"
    );
    assert_eq!(find(&modules, "name", runtime)["kind"], "native", "{what}");
    let map = rows(file, "map");
    assert!(
        map.iter()
            .any(|r| r["kind"] == "gc" && r["name"] == "gen2, heap 0"),
        "{what}"
    );
}

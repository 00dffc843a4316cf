//! Windows dumps diagnosed on Linux by the built program: a real process under wine, the right finding first, the same answer
//! from the raw and from the compressed file.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod views;

use leakhound_testbed::{Launch, targets, windows};
use serde_json::Value;
use std::path::Path;

fn triage(file: &Path) -> Value {
    let output = views::leakhound(&["triage", views::text(file), "--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", views::err(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn triage_any(file: &Path) -> Value {
    let output = views::leakhound(&["triage", views::text(file), "--format", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", views::err(&output)))
}

#[test]
fn a_fault_is_named_first_in_the_windows_dump_of_every_runtime() {
    let target = targets::get("finalizer-backlog").unwrap();
    let app = target.app(&mut |_| {}).unwrap();
    let right = target.card.expect.category.clone().unwrap();
    let culprit = target.card.expect.culprit.clone().unwrap();
    for version in windows::VERSIONS {
        let folder = tempfile::tempdir().unwrap();
        let root = windows::get(version).unwrap();
        let raw = folder.path().join("service.dmp");
        drop(root.start_and_dump(&app, &raw).unwrap());
        let diagnosis = triage(&raw);
        let first = &diagnosis["findings"][0];
        let category = first["category"].as_str().unwrap();
        assert!(
            category == right || target.card.expect.or.iter().any(|other| other == category),
            "{version}: {:?}",
            diagnosis["findings"]
        );
        assert!(
            first["culprit"].as_str().unwrap().contains(&culprit),
            "{version}: {first}"
        );
        assert_eq!(diagnosis["runtime"]["os"], "windows", "{version}");
        assert_eq!(diagnosis["runtime"]["version"], version.exact());
        // The account adds up, and the heap is the part of it that the runtime says.
        let memory = &diagnosis["memory"];
        let bytes = |name: &str| memory[name].as_u64().unwrap();
        let parts = [
            "images",
            "stacks",
            "gc",
            "runtime",
            "native",
            "mapped_files",
            "unattributed",
        ];
        assert_eq!(
            parts.map(bytes).iter().sum::<u64>(),
            bytes("commit"),
            "{version}: {memory}"
        );
        assert!(
            bytes("images") > 20_000_000 && bytes("gc") > 1_000_000,
            "{version}: {memory}"
        );

        let packed = folder.path().join("service.dmp.zst");
        let bytes = std::fs::read(&raw).unwrap();
        std::fs::remove_file(&raw).unwrap();
        std::fs::write(&packed, zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
        let again = triage(&packed);
        for part in ["verdict", "findings", "memory", "facts"] {
            assert_eq!(again[part], diagnosis[part], "{version}: {part}");
        }
    }
}

#[test]
fn the_views_of_a_heap_tell_what_the_windows_process_says() {
    let app = targets::app("inventory").unwrap();
    for (i, version) in windows::VERSIONS.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let root = windows::get(version).unwrap();
        let raw = folder.path().join("service.dmp");
        let prepare = |launch: Launch| if i == 1 { launch.server_gc(2) } else { launch };
        let service = root.start_and_dump_as(&app, &raw, prepare).unwrap();
        let file = views::text(&raw);
        views::check(file, service.report(), "coreclr.dll", version.exact());
        let map = views::rows(file, "map");
        for kind in ["image", "gc", "stack"] {
            assert!(map.iter().any(|r| r["kind"] == kind), "{version}: {kind}");
        }
        let diagnosis = triage_any(&raw);
        let settings = diagnosis["facts"]["settings"].to_string();
        assert!(
            settings.contains("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT"),
            "{version}: {settings}"
        );
        assert_eq!(
            diagnosis["facts"]["runtime.host"], "dotnet",
            "{version}: {diagnosis}"
        );
    }
}

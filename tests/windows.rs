//! Windows dumps diagnosed on Linux by the built program: a real process under wine, the right finding first, the same answer
//! from the raw and from the compressed file.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_testbed::{targets, windows};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn triage(file: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args(["triage", file.to_str().unwrap(), "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
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

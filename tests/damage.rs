//! `leakhound triage` on damaged dumps: a report that says what is missing, or a clear refusal; never a crash.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_testbed::{Version, dumps, runtimes, targets};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn triage(file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leakhound"));
    command.args(["triage", "--format", "json", "--modules", "none"]);
    command.arg(file).output().unwrap()
}

/// The diagnosis, or nothing when the input was refused in a sentence.
fn diagnosis(file: &Path, what: &str) -> Option<Value> {
    let output = triage(file);
    let errors = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0 | 1) => Some(serde_json::from_slice(&output.stdout).unwrap()),
        Some(3) => {
            assert!(errors.len() > 40, "{what}: {errors}");
            assert!(!errors.contains("panicked"), "{what}: {errors}");
            None
        }
        _ => panic!("{what}: {}\n{errors}", output.status),
    }
}

fn problems(diagnosis: &Value) -> usize {
    diagnosis["completeness"]["problems"]
        .as_array()
        .unwrap()
        .len()
}

fn fixture() -> Vec<u8> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/shop-pricing.core.zst");
    let source = leakhound_archive::open_readable(&path).unwrap();
    let mut bytes = vec![0; usize::try_from(source.len()).unwrap()];
    let mut done = 0;
    while done < bytes.len() {
        let n = source.read_at(done as u64, &mut bytes[done..]).unwrap();
        assert!(n > 0);
        done += n;
    }
    bytes
}

#[test]
fn a_truncated_dump_is_refused_or_reported_as_one() {
    let bytes = fixture();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.core");
    std::fs::write(&file, &bytes).unwrap();
    let whole = problems(&diagnosis(&file, "whole").unwrap());
    for percent in [99, 95, 88, 60, 20, 1, 0] {
        let what = format!("the first {percent} %");
        std::fs::write(&file, &bytes[..bytes.len() / 100 * percent]).unwrap();
        if let Some(diagnosis) = diagnosis(&file, &what) {
            assert!(
                problems(&diagnosis) > whole,
                "{what}: {}",
                diagnosis["completeness"]
            );
            if percent < 80 {
                // The runtime's own data is not in that part.
                assert_eq!(diagnosis["verdict"], "unreliable", "{what}");
            }
        } else {
            assert!(percent < 50, "{what} is a dump still");
        }
    }
}

#[test]
fn bytes_that_are_changed_anywhere_are_survived() {
    let pristine = fixture();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flipped.core");
    let mut dice = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |end: usize| {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((dice >> 16) % end as u64) as usize
    };
    for round in 0..10 {
        let mut bytes = pristine.clone();
        // Headers and notes suffer most: they are read first.
        for _ in 0..4 << round {
            let end = if next(4) == 0 { 1 << 16 } else { bytes.len() };
            let at = next(end);
            bytes[at] ^= 1 << next(8);
        }
        std::fs::write(&file, &bytes).unwrap();
        let _ = diagnosis(&file, &format!("round {round}"));
    }
}

#[test]
fn a_capture_in_the_middle_of_a_collection_says_so() {
    const TRIES: usize = 40;
    let root = runtimes::get(Version::Net8).unwrap();
    let launch = targets::app("compacting").unwrap().on(&root);
    let service = launch.env("SHOP_PERCENT", "20").start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heap.core");
    for _ in 0..TRIES {
        dumps::createdump(&root, service.pid(), dumps::Kind::Heap, &file).unwrap();
        let diagnosis = diagnosis(&file, "between collections or in one").unwrap();
        let findings = diagnosis["findings"].as_array().unwrap();
        let told = findings
            .iter()
            .any(|finding| finding["rule"] == "capture-during-gc");
        let during = diagnosis["completeness"]["during_gc"] == true;
        assert_eq!(told, during, "{diagnosis:#}");
        if told {
            let problems = diagnosis["completeness"]["problems"].to_string();
            assert!(problems.contains("approximate"), "{problems}");
            return;
        }
    }
    panic!("none of {TRIES} dumps fell into a collection");
}

#[test]
fn a_refusal_names_the_file_once_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.core");
    std::fs::write(&file, &fixture()[..2_000_000]).unwrap();
    let junk = folder.path().join("junk.core");
    std::fs::write(&junk, b"no dump at all, but text").unwrap();
    for (file, expected) in [
        (&file, "The dump is truncated: the file has 2000000 bytes"),
        (&junk, "this is a text file, not a memory dump"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leakhound"));
        let output = command
            .args(["heap", "--modules", "none"])
            .arg(file)
            .arg("types")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(expected), "{said}");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_eq!(said.matches(name).count(), 1, "{said}");
    }
}

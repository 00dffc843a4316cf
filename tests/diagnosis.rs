//! The table of the project: every runtime × every faulty service, captured and diagnosed by the built program, and the
//! rank at which the right finding comes out.
//!
//! `cargo test --test diagnosis -- --nocapture` prints it; it is also written to `target/tmp/diagnosis.md`. While working on
//! a rule, `LEAKHOUND_DIAGNOSE=near-limit,healthy` looks at those services only.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use leakhound_testbed::{Service, Target, Version, runtimes, targets};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The faults that must be named first, whatever else is seen.
const NAMED: [&str; 4] = [
    "finalizer-backlog",
    "loh-fragmentation",
    "pinned-handles",
    "static-root",
];

/// What came out for one service on one runtime.
struct Outcome {
    /// Rank of the right finding; `None` when it was not found.
    rank: Option<u64>,
    /// The culprit that it blamed.
    culprit_right: bool,
    verdict: String,
    verdict_right: bool,
    /// Categories of all findings, by rank.
    found: Vec<String>,
}

impl Outcome {
    fn cell(&self, target: &Target) -> String {
        let verdict = if self.verdict_right { "" } else { "!" };
        match (&target.card.expect.category, self.rank) {
            (None, _) => format!("{}{verdict}", self.verdict),
            (Some(_), None) => format!("none ({}){verdict}", self.verdict),
            (Some(_), Some(rank)) if self.culprit_right => format!("{rank}{verdict}"),
            (Some(_), Some(rank)) => format!("{rank}, culprit wrong{verdict}"),
        }
    }

    fn is_right(&self, target: &Target) -> bool {
        self.verdict_right
            && (target.card.expect.category.is_none() || self.rank == Some(1) && self.culprit_right)
    }
}

fn leakhound(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leakhound"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Captures a service into the archive and returns the bundle's folder.
fn capture(service: &Service, name: &str, archive: &Path) -> PathBuf {
    let before = bundles(archive);
    let pid = service.pid().to_string();
    let output = leakhound(&[
        "capture",
        &pid,
        "--out",
        text(archive),
        "--service",
        name,
        "--no-triage",
    ]);
    assert!(
        output.status.success(),
        "capture of {name}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let mut new = bundles(archive);
    new.retain(|bundle| !before.contains(bundle));
    assert_eq!(new.len(), 1, "one capture, one bundle: {new:?}");
    new.remove(0)
}

/// Folders that hold a `capture.json`.
fn bundles(archive: &Path) -> Vec<PathBuf> {
    let folders = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    folders(archive)
        .iter()
        .flat_map(|service| folders(service))
        .filter(|bundle| bundle.join("capture.json").is_file())
        .collect()
}

fn triage(bundle: &Path, baseline: Option<&Path>) -> Value {
    let mut arguments = vec!["triage", text(bundle), "--format", "json"];
    if let Some(baseline) = baseline {
        arguments.extend(["--baseline", text(baseline)]);
    }
    let output = leakhound(&arguments);
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "triage of {}: {}\n{}",
        bundle.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn judge(target: &Target, diagnosis: &Value) -> Outcome {
    let expect = &target.card.expect;
    let right = |category: &str| {
        expect.category.as_deref() == Some(category)
            || expect.or.iter().any(|other| other == category)
    };
    let findings = diagnosis["findings"].as_array().unwrap();
    let category = |finding: &Value| finding["category"].as_str().unwrap().to_owned();
    let hit = findings.iter().find(|finding| right(&category(finding)));
    let verdict = diagnosis["verdict"].as_str().unwrap().to_owned();
    Outcome {
        rank: hit.map(|finding| finding["rank"].as_u64().unwrap()),
        culprit_right: match (&expect.culprit, hit) {
            (Some(wanted), Some(finding)) => finding["culprit"]
                .as_str()
                .unwrap_or_default()
                .contains(wanted),
            _ => true,
        },
        verdict_right: expect.verdict.is_empty() || expect.verdict.contains(&verdict),
        verdict,
        found: findings.iter().map(category).collect(),
    }
}

fn diagnose(target: &Target, version: Version, archive: &Path) -> Outcome {
    let root = runtimes::get(version).unwrap();
    let app = target.app(&mut |_| {}).unwrap();
    let mut service = app.on(&root).start().unwrap();
    let name = format!("{}-{}", target.name, version.short());
    let first = capture(&service, &name, archive);
    if target.card.between_captures.is_empty() {
        return judge(target, &triage(&first, None));
    }
    for command in &target.card.between_captures {
        service.send(command).unwrap();
    }
    let second = capture(&service, &name, archive);
    drop(service);
    judge(target, &triage(&second, Some(&first)))
}

#[test]
fn every_fault_is_named_first_on_every_runtime() {
    let mut targets = targets::all().unwrap();
    targets.retain(|target| {
        target.card.expect.category.is_some() || !target.card.expect.verdict.is_empty()
    });
    if let Ok(only) = std::env::var("LEAKHOUND_DIAGNOSE") {
        targets.retain(|target| only.split(',').any(|name| name == target.name));
    }
    targets.sort_by_key(|target| {
        let named = NAMED.iter().position(|name| *name == target.name);
        (named.unwrap_or(NAMED.len()), target.name.clone())
    });
    let mut table = String::from("| service | 3.1 | 8 | 9 | 10 |\n|---|---|---|---|---|\n");
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for target in &targets {
        let mut row = format!("| {} ", target.name);
        for version in Version::ALL {
            let archive = tempfile::tempdir().unwrap();
            if !target.runs_on(version) {
                row.push_str("| – ");
                continue;
            }
            let outcome = diagnose(target, version, archive.path());
            row.push_str(&format!("| {} ", outcome.cell(target)));
            if !outcome.is_right(target) {
                wrong.insert(
                    format!("{} on {version} ({})", target.name, outcome.verdict),
                    outcome.found,
                );
            }
        }
        println!("{row}|");
        table.push_str(&row);
        table.push_str("|\n");
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("diagnosis.md");
    std::fs::write(&file, &table).unwrap();
    println!("{table}");
    assert!(wrong.is_empty(), "wrong: {wrong:#?}\n{table}");
}

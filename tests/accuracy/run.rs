//! One service on one runtime: started, captured once or twice, diagnosed.

use crate::score::{self, Outcome};
use leakhound_testbed::{Service, Target, Version, runtimes};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Time until it is the turn of a capture.
const PATIENCE: Duration = Duration::from_secs(600);

/// Heaps under server GC: few, for the machines that run this have few processors.
const SERVER_HEAPS: u32 = 2;

/// Which garbage collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collector {
    /// Workstation, or what the service's own settings say.
    Workstation,
    /// Server.
    Server,
}

impl Collector {
    /// As it stands in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workstation => "workstation",
            Self::Server => "server",
        }
    }
}

/// Where a service runs.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The runtime.
    pub version: Version,
    /// The garbage collector.
    pub collector: Collector,
}

/// Runs, captures, diagnoses and scores.
pub fn diagnose(target: &Target, setting: Setting) -> Outcome {
    let kept = std::env::var_os("LEAKHOUND_ACCURACY_KEEP").map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let name = format!(
        "{}-{}-{}",
        target.name,
        setting.version.short(),
        setting.collector.name()
    );
    let archive = kept.map_or_else(|| temporary.path().to_owned(), |kept| kept.join(&name));
    std::fs::create_dir_all(&archive).unwrap();
    let root = runtimes::get(setting.version).unwrap();
    let launch = target.app(&mut |_| {}).unwrap().on(&root);
    let launch = match setting.collector {
        Collector::Workstation => launch,
        Collector::Server => launch.server_gc(SERVER_HEAPS),
    };
    let mut service = launch.start().unwrap();
    let first = capture(&service, &target.card.assembly, &archive);
    let diagnosis = if target.card.between_captures.is_empty() {
        triage(&first, None)
    } else {
        for command in &target.card.between_captures {
            service.send(command).unwrap();
        }
        let second = capture(&service, &target.card.assembly, &archive);
        triage(&second, Some(&first))
    };
    std::fs::write(archive.join("diagnosis.json"), diagnosis.to_string()).unwrap();
    score::score(target, setting, &diagnosis)
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
    let arguments = [
        "capture",
        &pid,
        "--out",
        text(archive),
        "--service",
        name,
        "--no-triage",
    ];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = leakhound(&arguments);
        if output.status.success() {
            break;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        // Captures take turns on a node, those of other programs too.
        let taken = said.contains("another capture runs");
        assert!(
            taken && Instant::now() < deadline,
            "capture of {name}: {}\n{said}",
            output.status
        );
        std::thread::sleep(Duration::from_millis(100));
    }
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
    let sheet = bundle.join("walked.json");
    let mut arguments = vec![
        "triage",
        text(bundle),
        "--format",
        "json",
        "--sheet",
        text(&sheet),
    ];
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

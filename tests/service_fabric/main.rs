//! Leakhound on a Service Fabric cluster: the package that is deployed, its configuration, and settings of FabricObserver.
#![allow(clippy::unwrap_used)]

#[cfg(target_os = "linux")]
mod cluster;
mod import;
#[cfg(target_os = "linux")]
mod installed;
#[cfg(target_os = "linux")]
mod nodes;
mod package;
// Servers of others are fetched and run as the tests of delivery do it.
#[cfg(target_os = "linux")]
#[path = "../../triage/tests/notify/peer.rs"]
#[allow(dead_code, reason = "the tests of delivery use the rest")]
mod peer;
mod reload;
mod scripts;
#[cfg(target_os = "linux")]
#[path = "../../triage/tests/notify/support.rs"]
#[allow(dead_code, reason = "the tests of delivery use the rest")]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn leakhound() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leakhound"));
    command.env_remove("LEAKHOUND_CONFIG");
    command
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Every file below a folder by its path there, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap().flatten() {
            let path = entry.path();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for what will be, on however slow a machine; `said` tells what there is instead.
fn eventually(what: &str, said: impl Fn() -> String, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}\n{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

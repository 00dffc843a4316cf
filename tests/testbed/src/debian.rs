//! Debian packages that a test needs, installed when we may: as root, with a network.

use crate::lock::lock;
use crate::place;
use std::process::Command;

/// Installs packages, named with blanks between them. Says nothing when it fails: whoever needs them looks again and says
/// what is missing.
pub fn install(packages: &str) {
    let install = command(packages);
    run(&format!("{install} || {{ apt-get update && {install}; }}"));
}

/// The same in the newest version that there is, where an older one will not do.
pub fn install_newest(packages: &str) {
    run(&format!("apt-get update; {}", command(packages)));
}

fn command(packages: &str) -> String {
    format!("apt-get install -y --no-install-recommends {packages}")
}

fn run(script: &str) {
    let Ok(_lock) = place::folder().and_then(|folder| lock(&folder, "apt")) else {
        return;
    };
    let _ = Command::new("sh")
        .args(["-c", script])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output();
}

//! Debian packages that a test needs, installed when we may: as root, with a network.

use crate::lock::lock;
use crate::place;
use std::path::{Path, PathBuf};
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

/// A program out of a package: the installed one, or else unpacked into a folder of ours, where no service of the package
/// starts. None when it cannot be had.
pub fn program(package: &str, name: &str) -> Option<PathBuf> {
    if Command::new(name).arg("--version").output().is_ok() {
        return Some(PathBuf::from(name));
    }
    let root = place::folder().ok()?;
    let _lock = lock(&root, "apt").ok()?;
    let folder = root.join(format!("debian-{package}"));
    let program = folder.join("usr/bin").join(name);
    if !folder.join(".done").exists() {
        unpack(package, &folder).ok()?;
    }
    program.is_file().then_some(program)
}

fn unpack(package: &str, folder: &Path) -> std::io::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    let download = format!("apt-get download {package}");
    let script = format!(
        "set -e; {download} || {{ apt-get update; {download}; }}
         dpkg-deb -x {package}_*.deb .; rm {package}_*.deb; touch .done"
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .current_dir(folder)
        .output()
        .map(drop)
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

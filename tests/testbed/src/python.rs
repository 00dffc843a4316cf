//! Programs from PyPI in a virtual environment, made once.

use crate::error::{Error, IoContext, Result};
use crate::lock::lock;
use crate::packages::last_words;
use crate::place;
use std::path::PathBuf;
use std::process::Command;

/// The folder of the programs of these packages, pinned as `name==version`.
pub fn programs(packages: &[&str]) -> Result<PathBuf> {
    let name = format!("python-{}", packages.join("+"));
    let root = place::folder()?;
    let _lock = lock(&root, &name)?;
    let folder = root.join(&name);
    if !folder.join(".done").exists() {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).doing("remove", &folder)?;
        }
        run(
            Command::new("python3").args(["-m", "venv"]).arg(&folder),
            &name,
        )?;
        let quiet = [
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--only-binary=:all:",
        ];
        let python = folder.join("bin/python");
        run(
            Command::new(python)
                .args(["-m", "pip", "install"])
                .args(quiet)
                .args(packages),
            &name,
        )?;
        let done = folder.join(".done");
        std::fs::write(&done, "").doing("write", &done)?;
    }
    Ok(folder.join("bin"))
}

fn run(command: &mut Command, name: &str) -> Result<()> {
    let failed = |why: String| Error::Fetch {
        what: name.to_owned(),
        why,
    };
    let output = command
        .output()
        .map_err(|error| failed(error.to_string()))?;
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| failed(last_words(&output)))
}

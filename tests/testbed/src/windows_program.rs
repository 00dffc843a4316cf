//! The command itself, built for Windows from this source tree and run under wine.
//!
//! Debian packages a Rust compiler with the source of its standard library, from which cargo builds what the target needs; mingw
//! links. Cargo decides what is out of date, so a second call costs seconds.

use crate::debian;
use crate::error::{Error, IoContext, Result};
use crate::lock::lock;
use crate::packages::last_words;
use crate::place;
use crate::wine::{Wine, windows_path};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the build is done with.
const PACKAGES: &str = "rustc-web cargo-web rust-web-src gcc-mingw-w64-x86-64 g++-mingw-w64-x86-64";
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
/// The oldest compiler that will do.
const LEAST: &str = env!("CARGO_PKG_RUST_VERSION");
/// Where the source of the standard library is when all packages are there.
const STANDARD_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";
const C_COMPILER: &str = "x86_64-w64-mingw32-gcc";
const CPP_COMPILER: &str = "x86_64-w64-mingw32-g++";
const TARGET: &str = "x86_64-pc-windows-gnu";
/// Crates that the development profile optimizes for tests on large heaps; here their build takes longer than what they do.
const PLAIN: [&str; 2] = ["leakhound-collector", "leakhound-triage"];
/// One function that Windows has and wine 8 lacks: the standard library's source of random numbers.
const RANDOM: &str = include_str!("../assets/bcryptprimitives.c");

/// `leakhound.exe`, and a Windows to run it on.
#[derive(Debug, Clone)]
pub struct WindowsProgram {
    program: PathBuf,
    wine: Wine,
}

/// The program, built now if its source changed.
pub fn get() -> Result<WindowsProgram> {
    let wine = Wine::get()?;
    let place = place::folder()?;
    let _lock = lock(&place, "windows-program")?;
    if !is_installed() {
        debian::install_newest(PACKAGES);
    }
    if !is_installed() {
        return Err(Error::NotInstalled {
            program: "a Rust compiler for Windows",
            package: PACKAGES,
        });
    }
    let target = place.join("windows-program");
    build(&target)?;
    let folder = target.join(TARGET).join("debug");
    random(&folder)?;
    Ok(WindowsProgram {
        program: folder.join("leakhound.exe"),
        wine,
    })
}

fn is_installed() -> bool {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let runs = |program: &str| version(program).is_some();
    // Stable releases of Debian begin with a compiler that is too old and get newer ones later.
    let is_new = version(RUSTC).is_some_and(|text| release(&text) >= release(LEAST));
    is_new
        && Path::new(STANDARD_LIBRARY).is_file()
        && [CARGO, RUSTC, C_COMPILER, CPP_COMPILER]
            .iter()
            .all(|p| runs(p))
}

/// Major and minor number of a text such as `rustc 1.96.0 (…)` or `1.91`.
fn release(text: &str) -> Option<(u32, u32)> {
    let number = text
        .split(' ')
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut parts = number.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn build(target: &Path) -> Result<()> {
    let mut command = Command::new(CARGO);
    // What a surrounding cargo says is meant for its own toolchain and target.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let is_setting = [
            "CARGO_HTTP_",
            "CARGO_NET_",
            "CARGO_REGISTRIES_",
            "CARGO_SOURCE_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
        if (name.starts_with("CARGO") && name != "CARGO_HOME" && !is_setting)
            || ["RUST", "LD_LIBRARY_PATH"]
                .iter()
                .any(|p| name.starts_with(p))
        {
            command.env_remove(name);
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = command
        .current_dir(&root)
        .env("RUSTC", RUSTC)
        // `-Z` options, which a compiler of a release refuses otherwise.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .args(["build", "--locked", "--package", "leakhound"])
        .args(["-Z", "build-std=std,panic_abort", "--target", TARGET])
        .args(PLAIN.iter().flat_map(|name| {
            let setting = format!("profile.dev.package.{name}.opt-level=0");
            ["--config".to_owned(), setting]
        }))
        .output()
        .doing("run", Path::new(CARGO))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Content {
        path: root,
        why: format!("it does not build for {TARGET}: {}", last_words(&output)),
    })
}

/// `bcryptprimitives.dll` beside the program.
fn random(folder: &Path) -> Result<()> {
    let library = folder.join("bcryptprimitives.dll");
    if library.is_file() {
        return Ok(());
    }
    let source = folder.join("bcryptprimitives.c");
    let partial = folder.join("bcryptprimitives.partial");
    std::fs::write(&source, RANDOM).doing("write", &source)?;
    let output = Command::new(C_COMPILER)
        .args(["-O1", "-shared", "-o"])
        .arg(&partial)
        .arg(&source)
        .arg("-ladvapi32")
        .output()
        .doing("run", Path::new(C_COMPILER))?;
    if !output.status.success() {
        return Err(Error::Content {
            path: source,
            why: last_words(&output),
        });
    }
    std::fs::rename(&partial, &library).doing("move", &partial)
}

impl WindowsProgram {
    /// A command that runs it, without arguments yet.
    #[must_use]
    pub fn command(&self) -> Command {
        self.wine.command(&self.program)
    }

    /// A path of this machine as the program sees it.
    #[must_use]
    pub fn path(path: &Path) -> String {
        windows_path(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(
            release("rustc 1.96.0 (ac68faa20 2026-05-25)"),
            Some((1, 96))
        );
        assert!(release("rustc 1.85.0") < release(LEAST));
        assert!(release("rustc 1.100.0") > release("1.99"));
        assert_eq!(release("no compiler"), None);
    }
}

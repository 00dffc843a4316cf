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
        debian::install(PACKAGES);
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
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    Path::new(STANDARD_LIBRARY).is_file()
        && [CARGO, RUSTC, C_COMPILER, CPP_COMPILER]
            .iter()
            .all(|p| runs(p))
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

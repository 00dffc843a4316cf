//! wine: runs the Windows runtimes, and the dump writer that lies beside this crate.

use crate::debian;
use crate::error::{Error, IoContext, Result};
use crate::lock::lock;
use crate::packages::{hex, last_words};
use crate::place;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: &str = "wine64 gcc-mingw-w64-x86-64";
/// Debian's wine64 alone puts its program here and not on the path.
const UNLINKED: &str = "/usr/lib/wine/wine64";
const NAMES: [&str; 3] = ["wine64", "wine64-stable", "wine"];
const C_COMPILER: &str = "x86_64-w64-mingw32-gcc";
const WRITER: &str = include_str!("../assets/minidump.c");

/// A Windows of our own: a prefix in the testbed's folder.
#[derive(Debug, Clone)]
pub(crate) struct Wine {
    program: PathBuf,
    prefix: PathBuf,
}

impl Wine {
    /// The prefix, made now if no earlier run did.
    pub fn get() -> Result<Self> {
        let place = place::folder()?;
        let wine = Self {
            program: find()?,
            prefix: place.join("wine"),
        };
        let _lock = lock(&place, "wine")?;
        if wine.prefix.join("system.reg").is_file() {
            return Ok(wine);
        }
        std::fs::create_dir_all(&wine.prefix).doing("create", &wine.prefix)?;
        // Without mscoree it does not ask for Mono; the runtimes themselves need it later.
        let output = wine
            .bare()
            .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
            .args(["wineboot", "--init"])
            .output()
            .doing("run", &wine.program)?;
        if wine.prefix.join("system.reg").is_file() {
            return Ok(wine);
        }
        // It writes the registry when its server ends, which takes a moment.
        std::thread::sleep(std::time::Duration::from_secs(3));
        if wine.prefix.join("system.reg").is_file() {
            Ok(wine)
        } else {
            Err(Error::Content {
                path: wine.prefix.clone(),
                why: format!("wine made no prefix there: {}", last_words(&output)),
            })
        }
    }

    /// A command that runs a Windows program.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.bare();
        command.env("WINEDLLOVERRIDES", "mshtml=").arg(program);
        command
    }

    fn bare(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("DOTNET_") || text.starts_with("COMPlus_") || text == "DISPLAY" {
                command.env_remove(&name);
            }
        }
        command
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all");
        command
    }

    /// The dump writer, compiled now if its source changed.
    pub fn dump_writer(&self) -> Result<PathBuf> {
        let place = place::folder()?;
        let hash = &hex(&Sha256::digest(WRITER.as_bytes()))[..16];
        let program = place.join(format!("minidump-{hash}.exe"));
        let _lock = lock(&place, "minidump")?;
        if program.is_file() {
            return Ok(program);
        }
        let source = place.join("minidump.c");
        let partial = place.join("minidump.partial.exe");
        std::fs::write(&source, WRITER).doing("write", &source)?;
        let runs = || Command::new(C_COMPILER).arg("--version").output().is_ok();
        if !runs() {
            debian::install(PACKAGES);
        }
        let output = Command::new(C_COMPILER)
            .args(["-O1", "-o"])
            .arg(&partial)
            .arg(&source)
            .arg("-ldbghelp")
            .output()
            .map_err(|_| missing(C_COMPILER))?;
        if !output.status.success() {
            return Err(Error::Content {
                path: source,
                why: last_words(&output),
            });
        }
        std::fs::rename(&partial, &program).doing("move", &partial)?;
        Ok(program)
    }
}

/// A path as Windows programs under wine see it.
pub(crate) fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.display()).replace('/', "\\")
}

fn find() -> Result<PathBuf> {
    installed()
        .or_else(|| {
            debian::install(PACKAGES);
            installed()
        })
        .ok_or_else(|| missing("wine64"))
}

fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .chain([PathBuf::from(UNLINKED)])
        .find(|program| program.is_file())
}

fn missing(program: &'static str) -> Error {
    Error::NotInstalled {
        program,
        package: PACKAGES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_errors_read_as_they_must() {
        assert_eq!(
            windows_path(Path::new("/srv/a b/c.dmp")),
            r"Z:\srv\a b\c.dmp"
        );
        assert_eq!(
            missing("wine64").to_string(),
            "wine64 is not installed and could not be; the Windows tests need it: apt-get install wine64 gcc-mingw-w64-x86-64"
        );
    }
}

//! Where the testbed keeps what it fetched and compiled.
//!
//! ```text
//! net31/ net8/ net9/ net10/   DOTNET_ROOTs: dotnet, host/fxr/V, shared/Microsoft.NETCore.App/V
//! roslyn/                     the C# compiler and its driver
//! apps/NAME-HASH/             compiled targets
//! dl/ locks/                  downloads under way, one lock per item
//! ```

use crate::error::{IoContext, Result};
use std::path::{Path, PathBuf};

/// Names a folder to use instead; a prepared one with the same layout is taken as it is.
pub const FOLDER_VARIABLE: &str = "LEAKHOUND_TESTBED_DIR";

/// The folder, created if it is missing.
///
/// In order: [`FOLDER_VARIABLE`]; the cargo target folder that the running program was built into; `CARGO_TARGET_DIR`;
/// the user's cache folder (a program that was copied away from its build).
pub fn folder() -> Result<PathBuf> {
    let folder = choose();
    std::fs::create_dir_all(&folder).doing("create", &folder)?;
    folder.canonicalize().doing("open", &folder)
}

fn choose() -> PathBuf {
    if let Some(named) = non_empty(FOLDER_VARIABLE) {
        return named;
    }
    let target = std::env::current_exe()
        .ok()
        .and_then(|exe| cargo_target_of(&exe))
        .or_else(|| non_empty("CARGO_TARGET_DIR"));
    match target {
        Some(target) => target.join("leakhound-testbed"),
        None => user_cache().join("leakhound").join("testbed"),
    }
}

/// Cargo marks its target folder with CACHEDIR.TAG, whatever its name.
fn cargo_target_of(exe: &Path) -> Option<PathBuf> {
    exe.ancestors()
        .skip(1)
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .map(Path::to_owned)
}

fn user_cache() -> PathBuf {
    non_empty("XDG_CACHE_HOME")
        .or_else(|| non_empty("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
}

fn non_empty(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_target_folder_is_found_by_its_tag() {
        let folder = tempfile::tempdir().unwrap();
        let deps = folder.path().join("debug/deps");
        std::fs::create_dir_all(&deps).unwrap();
        assert_eq!(cargo_target_of(&deps.join("a-test")), None);
        std::fs::write(folder.path().join("CACHEDIR.TAG"), "").unwrap();
        assert_eq!(
            cargo_target_of(&deps.join("a-test")).as_deref(),
            Some(folder.path())
        );
    }
}

//! What all captures on one Windows node share: a folder with the locks of `capture/slot.rs`. No snapshot leaves anything
//! behind here that a later one would have to clean up.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Characters of what an owner says.
const MAX_WORDS: usize = 256;

/// The folder for files that mean something while the machine runs: below `ProgramData`, which all accounts share, else the
/// folder for temporary files.
#[must_use]
pub fn run_folder() -> PathBuf {
    std::env::var_os("ProgramData")
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join("Leakhound")
        .join("run")
}

/// Makes the folder.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Opens or makes a file that is to be locked.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Writes down who holds a lock, beside it: locked bytes cannot be read by others. That is for people; the lock is what counts.
pub(super) fn announce(_: &mut File, path: &Path, words: &str) {
    let _ = fs::write(path.with_extension("owner"), words);
}

/// What the holder of a lock says.
pub(super) fn announced(_: File, path: &Path) -> String {
    let text = fs::read_to_string(path.with_extension("owner")).unwrap_or_default();
    text.chars().take(MAX_WORDS).collect()
}

//! What all captures on one Windows node share: slots, so that they do not add up. Each is a file that is locked while its
//! owner lives; the system opens the lock when it dies, however it dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// The right to capture now; given back when it is dropped.
#[derive(Debug)]
pub struct Slot(#[allow(dead_code)] File);

/// Why there is no slot.
#[derive(Debug)]
pub enum NoSlot {
    /// All are taken; the words of one owner.
    Taken(String),
    /// The folder or a file cannot be used.
    Io(io::Error),
}

impl Slot {
    /// Takes one of `slots` slots, waiting at most `patience` for one to become free.
    ///
    /// # Errors
    /// See [`NoSlot`].
    pub fn take(
        folder: &Path,
        slots: u32,
        words: &str,
        patience: Duration,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, NoSlot> {
        fs::create_dir_all(folder).map_err(NoSlot::Io)?;
        let until = Instant::now() + patience;
        loop {
            let mut owner = String::new();
            for n in 0..slots.max(1) {
                // Locked bytes cannot be read by others, so what the owner says lies beside the lock.
                let said = folder.join(format!("capture-{n}.owner"));
                let lock = folder.join(format!("capture-{n}.lock"));
                let mut options = OpenOptions::new();
                let options = options.read(true).write(true).create(true).truncate(false);
                let lock = options.open(lock).map_err(NoSlot::Io)?;
                match lock.try_lock() {
                    Ok(()) => {
                        // What it says is for people; the lock is what counts.
                        let _ = fs::write(said, words);
                        return Ok(Self(lock));
                    }
                    Err(TryLockError::WouldBlock) => {
                        let text = fs::read_to_string(said).unwrap_or_default();
                        owner = text.chars().take(MAX_WORDS).collect();
                    }
                    Err(TryLockError::Error(e)) => return Err(NoSlot::Io(e)),
                }
            }
            if Instant::now() >= until || is_cancelled() {
                return Err(NoSlot::Taken(owner));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

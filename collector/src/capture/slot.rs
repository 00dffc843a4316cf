//! The right to capture now, shared by all programs of a node, so that captures do not add up. Each slot is a file that is locked
//! while its owner lives; the system opens the lock when it dies, however it dies.

use super::node;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time between two attempts.
const RETRY: Duration = Duration::from_millis(50);

/// The right to capture now; given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    _lock: File,
}

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
        node::prepare(folder).map_err(NoSlot::Io)?;
        let until = Instant::now() + patience;
        loop {
            let mut owner = String::new();
            for n in 0..slots.max(1) {
                let path = folder.join(format!("capture-{n}.lock"));
                let mut lock = node::open(&path).map_err(NoSlot::Io)?;
                match lock.try_lock() {
                    Ok(()) => {
                        node::announce(&mut lock, &path, words);
                        return Ok(Self { _lock: lock });
                    }
                    Err(TryLockError::WouldBlock) => owner = node::announced(lock, &path),
                    Err(TryLockError::Error(e)) => return Err(NoSlot::Io(e)),
                }
            }
            if Instant::now() >= until || is_cancelled() {
                return Err(NoSlot::Taken(owner));
            }
            std::thread::sleep(RETRY);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn slots_are_given_out_once_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("run");
        let take = |words| Slot::take(&folder, 2, words, Duration::from_millis(60), &|| false);
        let first = take("first").unwrap();
        let _second = take("second").unwrap();
        assert!(matches!(take("third"), Err(NoSlot::Taken(owner)) if owner == "second"));
        drop(first);
        take("fourth").unwrap();
    }
}

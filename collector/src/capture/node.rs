//! What all captures on one node share: a folder with the locks of [`super::slot`], and a journal of snapshots, so that what a
//! killed collector leaves behind is cleaned up by the next one.
//!
//! Both are files that are locked while their owner lives; the kernel opens the lock when it dies, however it dies.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a journal entry at most: four numbers.
const MAX_ENTRY_BYTES: u64 = 256;
/// Journal entries looked at; each is a collector that was killed in the middle of a snapshot.
const MAX_ENTRIES: usize = 1000;

/// The folder for files that mean something until the next boot: what the service manager gives
/// (`RUNTIME_DIRECTORY`), `/run/leakhound` for root, else below `XDG_RUNTIME_DIR`, else in `/tmp` under the user's id.
#[must_use]
pub fn run_folder() -> PathBuf {
    // systemd gives a list when there are several.
    let given = std::env::var("RUNTIME_DIRECTORY").unwrap_or_default();
    if let Some(first) = given.split(':').next().filter(|f| f.starts_with('/')) {
        return PathBuf::from(first);
    }
    // SAFETY: asks for our own id.
    let me = unsafe { libc::geteuid() };
    if me == 0 {
        return PathBuf::from("/run/leakhound");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) if Path::new(&folder).is_absolute() => Path::new(&folder).join("leakhound"),
        _ => PathBuf::from(format!("/tmp/leakhound-{me}")),
    }
}

/// Makes the folder, and refuses one that somebody else could have prepared.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e),
    }
    let meta = fs::symlink_metadata(folder)?;
    // SAFETY: asks for our own id.
    let me = unsafe { libc::geteuid() };
    // Root shares the folder with an agent that runs as a user of its own.
    if !meta.is_dir() || (meta.uid() != me && me != 0) || meta.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "{} is not a folder of this user that only it may write",
            folder.display()
        )));
    }
    Ok(())
}

/// Opens or makes a file that is to be locked.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Writes into a lock who holds it. That is for people; the lock is what counts.
pub(super) fn announce(lock: &mut File, _: &Path, words: &str) {
    let Ok(meta) = lock.metadata() else {
        return;
    };
    // A file of another user may be a link to anything.
    // SAFETY: asks for our own id.
    if meta.nlink() == 1 && meta.uid() == unsafe { libc::geteuid() } {
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.write_all(words.as_bytes()));
    }
}

/// What the holder of a lock says.
pub(super) fn announced(lock: File, _: &Path) -> String {
    let mut owner = String::new();
    let _ = lock.take(MAX_ENTRY_BYTES).read_to_string(&mut owner);
    owner
}

/// A snapshot that is being taken: written before the target is touched, removed when nothing is left of it.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The target.
    pub pid: u32,
    /// Its start in clock ticks since boot.
    pub start_ticks: u64,
    /// When the snapshot began, in clock ticks since boot: its process is younger.
    pub begun_ticks: u64,
}

impl Journal {
    /// Writes an entry.
    ///
    /// # Errors
    /// The folder or the file cannot be used.
    pub fn begin(folder: &Path, entry: Entry) -> io::Result<Self> {
        prepare(folder)?;
        let name = format!("snapshot-{}-{}", entry.pid, entry.begun_ticks);
        let path = folder.join(format!("{name}-{}", std::process::id()));
        let mut file = open(&path)?;
        file.try_lock().map_err(io::Error::other)?;
        let text = format!(
            "{} {} {}\n",
            entry.pid, entry.start_ticks, entry.begun_ticks
        );
        file.write_all(text.as_bytes())?;
        Ok(Self { file, path })
    }

    /// Nothing is left of the snapshot.
    pub fn end(self) {
        let _ = fs::remove_file(&self.path);
        drop(self.file);
    }
}

/// Entries whose owners are dead. Each is ours to settle as long as its [`Journal`] lives.
pub fn abandoned(folder: &Path) -> Vec<(Entry, Journal)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut out = Vec::new();
    for file in files.take(MAX_ENTRIES) {
        if !file.file_name().to_string_lossy().starts_with("snapshot-") {
            continue;
        }
        let path = file.path();
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(libc::O_NOFOLLOW);
        let Ok(mut file) = options.open(&path) else {
            continue;
        };
        if file.try_lock().is_err() {
            continue;
        }
        let mut text = String::new();
        let read = (&mut file).take(MAX_ENTRY_BYTES).read_to_string(&mut text);
        let journal = Journal { file, path };
        let numbers: Vec<u64> = text
            .split_ascii_whitespace()
            .filter_map(|w| w.parse().ok())
            .collect();
        match (read, &numbers[..]) {
            (Ok(_), [pid, start_ticks, begun_ticks]) => out.push((
                Entry {
                    pid: u32::try_from(*pid).unwrap_or(0),
                    start_ticks: *start_ticks,
                    begun_ticks: *begun_ticks,
                },
                journal,
            )),
            // Torn: its owner died before it touched anything.
            _ => journal.end(),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_entry_is_abandoned_when_its_owner_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Entry {
            pid: 7,
            start_ticks: 8,
            begun_ticks: 9,
        };
        let journal = Journal::begin(folder.path(), entry).unwrap();
        assert!(abandoned(folder.path()).is_empty());
        // Dropped without an end, as by a crash.
        drop(journal);
        fs::write(folder.path().join("snapshot-torn"), "7 ").unwrap();
        let left = abandoned(folder.path());
        assert_eq!(left.iter().map(|(e, _)| *e).collect::<Vec<_>>(), [entry]);
        for (_, journal) in left {
            journal.end();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let entry = Entry {
            pid: 1,
            start_ticks: 1,
            begun_ticks: 1,
        };
        assert!(Journal::begin(folder.path(), entry).is_err());
    }
}

//! The few file operations that the archive is built of: private, durable, atomic.

use crate::error::{ArchiveError, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Prefix of a bundle that is being written.
pub(crate) const PARTIAL_PREFIX: &str = ".partial-";
/// Prefix of a bundle that is being deleted.
pub(crate) const DELETED_PREFIX: &str = ".deleted-";
/// Prefix of a file that is being added to a sealed bundle.
pub(crate) const TEMPORARY_PREFIX: &str = ".tmp-";
/// Lock of the whole archive, held for moments; and of one partial bundle, held while it is written.
pub(crate) const LOCK_FILE: &str = ".lock";

const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Creates a folder that only its owner may enter; an existing one is left as it is.
pub(crate) fn private_folder(path: &Path) -> Result<()> {
    #[cfg_attr(not(unix), allow(unused_mut, reason = "only unix has modes"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(ArchiveError::io("create folder", path, e)),
    }
}

/// Like [`private_folder`], with all parents.
pub(crate) fn private_folders(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let made = builder.create(path);
    made.map_err(|e| ArchiveError::io("create folder", path, e))
}

/// Options for a file that only its owner may read.
pub(crate) fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates a new private file.
pub(crate) fn create_private(path: &Path) -> Result<File> {
    let created = private_options().create_new(true).open(path);
    created.map_err(|e| ArchiveError::io("create", path, e))
}

/// Writes `bytes` to `folder/name` so that a reader, or a crash at any moment, sees the old file or the whole new one.
pub(crate) fn replace_durably(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let target = folder.join(name);
    let temporary = folder.join(format!("{TEMPORARY_PREFIX}{name}-{}", unique()));
    let written = (|| {
        let mut file = create_private(&temporary)?;
        let stored = file.write_all(bytes).and_then(|()| file.sync_all());
        stored.map_err(|e| ArchiveError::io("write", &target, e))?;
        fs::rename(&temporary, &target)
            .map_err(|e| ArchiveError::io("put in place", &target, e))?;
        sync_folder(folder)
    })();
    if written.is_err() {
        // Best effort: the next sweep removes what stays.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Makes the entries of a folder durable. Windows has no such call: its renames are journaled.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| ArchiveError::io("make durable", path, e))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// A suffix that no other process or call uses.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("{:x}-{n:x}-{:x}", std::process::id(), now & 0xFFFF_FFFF)
}

/// A held lock; released when dropped, or by the system when the process ends in any way.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// How a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// With others who share.
    Shared,
    /// With nobody.
    Exclusive,
}

/// Takes the lock file in `folder`, waiting a moment for others.
pub(crate) fn lock_folder(folder: &Path, sharing: Sharing) -> Result<Lock> {
    let path = folder.join(LOCK_FILE);
    let file = private_options().create(true).truncate(false).open(&path);
    let file = file.map_err(|e| ArchiveError::io("open lock", &path, e))?;
    let started = Instant::now();
    loop {
        let tried = match sharing {
            Sharing::Shared => file.try_lock_shared(),
            Sharing::Exclusive => file.try_lock(),
        };
        match tried {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(fs::TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(ArchiveError::Locked {
                    path,
                    waited_ms: LOCK_PATIENCE.as_millis() as u64,
                });
            }
            Err(fs::TryLockError::Error(e)) => return Err(ArchiveError::io("lock", &path, e)),
        }
    }
}

/// True when the partial bundle at `folder` has a living writer.
pub(crate) fn is_in_use(folder: &Path) -> bool {
    let Ok(file) = private_options().open(folder.join(LOCK_FILE)) else {
        return false;
    };
    matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
}

/// Sums the sizes of the regular files right inside `folder`.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let files = entries.flatten().filter_map(|e| e.metadata().ok());
    files.filter(fs::Metadata::is_file).map(|m| m.len()).sum()
}

/// Bytes that the file system of `path` still has for us, if it tells.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let existing: PathBuf = path.ancestors().find(|p| p.exists())?.to_owned();
    free_bytes_of_existing(&existing)
}

#[cfg(unix)]
#[allow(
    clippy::unnecessary_cast,
    reason = "the fields are 32 bits wide on some targets"
)]
fn free_bytes_of_existing(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut stats = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends in NUL and `stats` is writable; it is read only after the call filled it.
    let stats = unsafe {
        if libc::statvfs(path.as_ptr(), stats.as_mut_ptr()) != 0 {
            return None;
        }
        stats.assume_init()
    };
    Some((stats.f_bavail as u64).saturating_mul(stats.f_frsize as u64))
}

#[cfg(windows)]
fn free_bytes_of_existing(path: &Path) -> Option<u64> {
    use std::os::windows::ffi::OsStrExt;
    use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;
    let path: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    let (mut free, unused) = (0, std::ptr::null_mut());
    // SAFETY: `path` ends in NUL; the number outlives the call.
    let ok = unsafe { GetDiskFreeSpaceExW(path.as_ptr(), &raw mut free, unused, unused) };
    (ok != 0).then_some(free)
}

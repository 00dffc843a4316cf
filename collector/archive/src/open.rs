//! Opens any dump file by its first bytes: raw, seekable zstd, or plain zstd.

use crate::ReadAt;
use crate::limits::{CACHE_BYTES, MAX_RECUT_RAW_BYTES, MAX_RECUT_STORED_BYTES};
use crate::mapped::MappedFile;
use crate::plain::recut;
use crate::read_at::PlainFile;
use crate::sealed::SealedFile;
use crate::seek_table::{SeekTable, TableError, is_zstd};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Limits for [`open_readable_with`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOptions {
    /// Decoded frames kept in memory.
    pub cache_bytes: usize,
    /// Compressed bytes that a plain zstd file may occupy in memory.
    pub recut_stored_bytes: u64,
    /// Raw bytes that a plain zstd file may unpack to.
    pub recut_raw_bytes: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES,
            recut_stored_bytes: MAX_RECUT_STORED_BYTES,
            recut_raw_bytes: MAX_RECUT_RAW_BYTES,
        }
    }
}

/// What the first and last bytes of a file say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Not compressed by zstd.
    Raw,
    /// Zstd with a seek table that was not checked yet.
    Sealed,
    /// Zstd without a seek table.
    Plain,
}

/// Opens `path` for random access with the default limits, whatever its container.
///
/// Raw files are mapped ([`crate::mapped`] says what that means if the file shrinks), seekable zstd is read in place, and plain zstd is
/// recut in memory into small compressed frames. No temporary file is written.
///
/// # Errors
/// The file cannot be read, is a folder, or its container is damaged or over a limit.
pub fn open_readable(path: &Path) -> io::Result<Arc<dyn ReadAt>> {
    open_readable_with(path, &OpenOptions::default())
}

/// Like [`open_readable`], with limits.
///
/// # Errors
/// As for [`open_readable`].
pub fn open_readable_with(path: &Path, options: &OpenOptions) -> io::Result<Arc<dyn ReadAt>> {
    let file = File::open(path).map_err(|e| named(path, &e))?;
    let kind = file.metadata().map_err(|e| named(path, &e))?.file_type();
    if !kind.is_file() {
        let what = if kind.is_dir() {
            "a folder"
        } else {
            "not a regular file"
        };
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{}: this is {what}, expected a dump file", path.display()),
        ));
    }
    let plain = PlainFile::from_file(file, path)?;
    match detect(&plain)? {
        Container::Raw => match MappedFile::new(plain.file(), path) {
            Ok(mapped) => Ok(Arc::new(mapped)),
            // Some file systems cannot map; positional reads always work.
            Err(_) => Ok(Arc::new(plain)),
        },
        Container::Sealed => {
            let sealed = SealedFile::over(Box::new(plain), options.cache_bytes);
            Ok(Arc::new(sealed.map_err(|e| named(path, &e.into()))?))
        }
        Container::Plain => Ok(Arc::new(recut(&plain, options)?)),
    }
}

/// Tells the container of `file` from its first and last bytes.
///
/// # Errors
/// The medium failed.
pub fn detect(file: &dyn ReadAt) -> io::Result<Container> {
    let mut magic = [0u8; 4];
    let n = file.read_at(0, &mut magic)?;
    if n < magic.len() || !is_zstd(u32::from_le_bytes(magic)) {
        return Ok(Container::Raw);
    }
    match SeekTable::read(file) {
        Ok(_) | Err(TableError::Lying(_)) => Ok(Container::Sealed),
        Err(TableError::Absent) => Ok(Container::Plain),
        Err(TableError::Io(e)) => Err(e),
    }
}

/// Puts the path before an error of the system, keeping its kind.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// True for names that say zstd.
pub(crate) fn is_zstd_name(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "zst")
}

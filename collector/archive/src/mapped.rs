//! A raw file as a read-only mapping: the fastest way to walk gigabytes.
//!
//! The risk of a mapping: if someone truncates the file while it is mapped, touching the lost pages raises SIGBUS, which
//! ends the process. We accept that for raw dumps because dumps are parsed only in a short-lived child process, so the
//! worst case is a failed analysis with a clear report by the parent, and because `pread` for each of a heap's millions of small reads
//! costs some fifty times more than a load. Code that must outlive a shrinking file, such as the agent itself, uses
//! [`crate::read_at::PlainFile`], for which a shrunk file is an ordinary short read. Sealed files are never mapped.

use crate::ReadAt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A raw file, mapped.
#[derive(Debug)]
pub struct MappedFile {
    /// `None` for an empty file, which cannot be mapped.
    map: Option<memmap2::Mmap>,
    origin: PathBuf,
}

impl MappedFile {
    /// Maps all of `file`.
    ///
    /// # Errors
    /// The system refuses the mapping (not a regular file, address space exhausted).
    pub fn new(file: &File, origin: &Path) -> io::Result<Self> {
        let map = if file.metadata()?.len() == 0 {
            None
        } else {
            // SAFETY: the mapping is read-only and private. Its bytes may change if another process writes the file; all
            // readers treat them as untrusted input and copy values out before they check them. Truncation by others
            // raises SIGBUS: accepted, see the module documentation.
            Some(unsafe { memmap2::Mmap::map(file)? })
        };
        Ok(Self {
            map,
            origin: origin.to_owned(),
        })
    }

    /// Opens and maps `path`.
    ///
    /// # Errors
    /// The file cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(&File::open(path)?, path)
    }

    fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

impl ReadAt for MappedFile {
    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(copy_at(self.bytes(), offset, buf))
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(self.bytes())
    }

    fn origin(&self) -> &Path {
        &self.origin
    }
}

/// Bytes in memory, with a name for messages.
#[derive(Debug, Clone, Default)]
pub struct InMemory {
    bytes: Vec<u8>,
    origin: PathBuf,
}

impl InMemory {
    /// Wraps `bytes`; `origin` says where they came from.
    #[must_use]
    pub fn new(bytes: Vec<u8>, origin: impl Into<PathBuf>) -> Self {
        Self {
            bytes,
            origin: origin.into(),
        }
    }
}

impl ReadAt for InMemory {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(copy_at(&self.bytes, offset, buf))
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(&self.bytes)
    }

    fn origin(&self) -> &Path {
        &self.origin
    }
}

/// Copies what `bytes` has from `offset` on into `buf`.
fn copy_at(bytes: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let Some(rest) = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)) else {
        return 0;
    };
    let n = rest.len().min(buf.len());
    buf[..n].copy_from_slice(&rest[..n]);
    n
}

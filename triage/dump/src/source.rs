//! A [`ReadAt`] over bytes in memory: small dumps, tests, fuzzing.

use std::io;
use std::path::{Path, PathBuf};

use leakhound_archive::ReadAt;

/// Bytes held in memory.
#[derive(Debug, Clone)]
pub struct Bytes {
    bytes: Vec<u8>,
    origin: PathBuf,
}

impl Bytes {
    /// Takes the bytes over; messages call them `(memory)`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            origin: PathBuf::from("(memory)"),
        }
    }
}

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.bytes.get(from..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(&self.bytes)
    }

    fn origin(&self) -> &Path {
        &self.origin
    }
}

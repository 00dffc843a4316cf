//! Reading from a [`ReadAt`], and one over bytes in memory: small dumps, tests, fuzzing.

use std::io;
use std::path::{Path, PathBuf};

use leakhound_archive::ReadAt;

use crate::error::DumpError;

/// Reads exactly `buf.len()` bytes of `what`.
///
/// # Errors
/// [`DumpError::Truncated`], [`DumpError::Read`].
pub(crate) fn read_exact(
    source: &dyn ReadAt,
    what: &'static str,
    offset: u64,
    buf: &mut [u8],
) -> Result<(), DumpError> {
    let n = source
        .read_at(offset, buf)
        .map_err(|error| DumpError::Read {
            origin: source.origin().to_owned(),
            what,
            offset,
            error,
        })?;
    if n < buf.len() {
        return Err(DumpError::Truncated {
            origin: source.origin().to_owned(),
            what,
            offset,
            end: offset.saturating_add(buf.len() as u64),
            len: source.len(),
        });
    }
    Ok(())
}

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

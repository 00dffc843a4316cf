//! Random access to bytes, wherever they lie: a file, a mapping, a seekable zstd file, memory.

use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes that can be read at any offset from any thread.
///
/// Reads are positional and never move a cursor, so one value can serve many threads.
pub trait ReadAt: Send + Sync {
    /// Length of the (uncompressed) content in bytes.
    fn len(&self) -> u64;

    /// True when there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset` on and returns how many bytes were there.
    /// Fewer than asked for means the content ends; an offset past the end gives 0.
    ///
    /// # Errors
    /// The medium failed or a compressed frame is damaged.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// The bytes themselves when they lie in memory uncompressed (a mapping), without a copy.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }

    /// Where the bytes come from, for messages.
    fn origin(&self) -> &Path;
}

impl<T: ReadAt + ?Sized> ReadAt for std::sync::Arc<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }
    fn as_slice(&self) -> Option<&[u8]> {
        (**self).as_slice()
    }
    fn origin(&self) -> &Path {
        (**self).origin()
    }
}

/// A plain file, read with `pread`.
#[derive(Debug)]
pub struct PlainFile {
    file: File,
    len: u64,
    origin: std::path::PathBuf,
}

impl PlainFile {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// The file cannot be opened or its length cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            file,
            len,
            origin: path.to_owned(),
        })
    }
}

impl ReadAt for PlainFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            #[cfg(unix)]
            let n = std::os::unix::fs::FileExt::read_at(
                &self.file,
                &mut buf[done..],
                offset + done as u64,
            );
            #[cfg(windows)]
            let n = std::os::windows::fs::FileExt::seek_read(
                &self.file,
                &mut buf[done..],
                offset + done as u64,
            );
            match n {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn origin(&self) -> &Path {
        &self.origin
    }
}

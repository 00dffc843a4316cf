//! Random access to bytes, wherever they lie: a file, a mapping, a seekable zstd file, memory.

use std::fs::File;
use std::io;
use std::ops::Range;
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

    /// A run of bytes that begins at `offset`, at the least cost: the rest of a mapping, the rest of a decoded frame
    /// (shared, not copied), or a copy of some 512 KiB. Empty only at the end. The way to walk content in order.
    ///
    /// # Errors
    /// As for [`ReadAt::read_at`].
    fn chunk_at(&self, offset: u64) -> io::Result<Chunk<'_>> {
        if let Some(all) = self.as_slice() {
            let at = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
            return Ok(Chunk::Borrowed(&all[at..]));
        }
        let want = self.len().saturating_sub(offset).min(CHUNK_BYTES);
        let mut bytes = vec![0u8; want as usize];
        let n = self.read_at(offset, &mut bytes)?;
        bytes.truncate(n);
        Ok(Chunk::Shared {
            bytes: bytes.into(),
            skip: 0,
        })
    }

    /// The offsets around `offset` that are cheapest read together and alone: those of one compressed frame. `None` where
    /// any read is as good as another, past the end, and for frames too large for the buffers of many readers.
    fn block_at(&self, _offset: u64) -> Option<Range<u64>> {
        None
    }

    /// Where the bytes come from, for messages.
    fn origin(&self) -> &Path;
}

/// Size of a copied [`Chunk`]: that of a frame.
const CHUNK_BYTES: u64 = crate::limits::FRAME_RAW_BYTES as u64;

/// Bytes lent by [`ReadAt::chunk_at`]; dereferences to a slice.
#[derive(Debug, Clone)]
pub enum Chunk<'a> {
    /// Part of a mapping.
    Borrowed(&'a [u8]),
    /// A frame that other readers may share, from `skip` on.
    Shared {
        /// The whole frame.
        bytes: std::sync::Arc<Vec<u8>>,
        /// Bytes of the frame that come before the chunk.
        skip: usize,
    },
}

impl std::ops::Deref for Chunk<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Chunk::Borrowed(bytes) => bytes,
            Chunk::Shared { bytes, skip } => bytes.get(*skip..).unwrap_or_default(),
        }
    }
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
    fn chunk_at(&self, offset: u64) -> io::Result<Chunk<'_>> {
        (**self).chunk_at(offset)
    }
    fn block_at(&self, offset: u64) -> Option<Range<u64>> {
        (**self).block_at(offset)
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
        Self::from_file(File::open(path)?, path)
    }

    /// Wraps an open file; `origin` is its name for messages.
    ///
    /// # Errors
    /// The length cannot be read.
    pub fn from_file(file: File, origin: &Path) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self {
            file,
            len,
            origin: origin.to_owned(),
        })
    }

    /// The file itself.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl ReadAt for PlainFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.len {
            return Ok(0);
        }
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

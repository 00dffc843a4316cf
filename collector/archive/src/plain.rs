//! Plain zstd (no seek table) as random-access bytes: decoded once, front to back, and recut in memory into small frames.
//!
//! The memory it takes is that of the compressed dump, some seventh of the raw one, under a named limit; nothing is written to disk.

use crate::ReadAt;
use crate::frames::{SealOptions, SealWriter};
use crate::limits::MAX_WINDOW_LOG;
use crate::mapped::InMemory;
use crate::open::OpenOptions;
use crate::sealed::SealedFile;
use std::io::{self, Read, Write};

/// Recuts the plain zstd `file` into a sealed file in memory.
///
/// # Errors
/// The zstd data is damaged or ends early, or a limit of `options` is exceeded.
pub fn recut(file: &dyn ReadAt, options: &OpenOptions) -> io::Result<SealedFile> {
    let origin = file.origin().to_owned();
    let fail = |kind, what: String| io::Error::new(kind, format!("{}: {what}", origin.display()));
    let mut decoder = zstd::Decoder::new(Sequential { file, offset: 0 })?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    let memory = Capped {
        bytes: Vec::new(),
        limit: options.recut_stored_bytes,
    };
    // Read once and thrown away: speed counts, not room.
    let seal = SealOptions {
        level: 1,
        ..SealOptions::default()
    };
    let mut writer = SealWriter::new(memory, &seal)?;
    let mut chunk = vec![0u8; 256 << 10];
    let mut raw_bytes = 0u64;
    loop {
        let n = match decoder.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                let what = format!(
                    "the zstd data is damaged or truncated after {raw_bytes} raw bytes: {e}"
                );
                return Err(fail(io::ErrorKind::InvalidData, what));
            }
        };
        raw_bytes += n as u64;
        if raw_bytes > options.recut_raw_bytes {
            let what = format!(
                "it unpacks to more than {} bytes, the limit for zstd without a seek table; \
                 unpack it with `zstd -d` and open the result",
                options.recut_raw_bytes
            );
            return Err(fail(io::ErrorKind::FileTooLarge, what));
        }
        writer
            .write_all(&chunk[..n])
            .map_err(|e| fail(e.kind(), e.to_string()))?;
    }
    let (_, memory) = writer
        .finish_into()
        .map_err(|e| fail(e.kind(), e.to_string()))?;
    let storage = InMemory::new(memory.bytes, origin.clone());
    Ok(SealedFile::over(Box::new(storage), options.cache_bytes)?)
}

/// A [`ReadAt`] read front to back.
struct Sequential<'a> {
    file: &'a dyn ReadAt,
    offset: u64,
}

impl Read for Sequential<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(self.offset, buf)?;
        self.offset += n as u64;
        Ok(n)
    }
}

/// Memory that refuses to grow past a limit.
struct Capped {
    bytes: Vec<u8>,
    limit: u64,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > self.limit {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!(
                    "its compressed frames need more than {} bytes of memory, the limit for zstd without a seek table; \
                     unpack it with `zstd -d` and open the result",
                    self.limit
                ),
            ));
        }
        // Vec doubles: at worst half of it is spare, which the limit's reason allows for.
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

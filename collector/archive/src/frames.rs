//! Writes seekable zstd: raw bytes in, independent checksummed frames and a seek table out, on several threads.
//!
//! The caller fills a chunk; workers pack chunks; one writer thread puts the frames in order into the sink. At most
//! `2 × threads + 2` chunks exist at a time, whatever the speed of the parts, so memory is bounded. Chunks of zeros cost a
//! comparison and a copy of a few bytes. The result is standard zstd: `zstd -d` restores the raw bytes.
//!
//! Failure: the first error of any part (disk full) stops all parts and is returned by the next call of the caller. Nothing
//! waits for a part that is gone.

mod packer;
mod pipeline;

use crate::limits::FRAME_RAW_BYTES;
use crate::manifest::DumpRecord;
use packer::Sampler;
use pipeline::{Chunk, Pipeline};
use std::io::{self, Write};
use std::time::Duration;

/// How to seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealOptions {
    /// Zstd level; see [`SealOptions::default`].
    pub level: i32,
    /// Threads that compress, at least 1. The caller and the writer are two more that mostly wait.
    pub threads: usize,
    /// Raw bytes per frame, 4 KiB to 16 MiB.
    pub frame_bytes: usize,
    /// Upper limit of the speed at which packed bytes go to the sink.
    pub bytes_per_second: Option<u64>,
}

impl Default for SealOptions {
    /// Level 3 in frames of 512 KiB, or level 1 where samples pack as well (`packer`), up to four threads.
    ///
    /// Bytes on 2026-12-01 (`zstd -b`) of 300 MB of a .NET 8 heap of small objects, of 300 MB of one of objects with text and
    /// documents, and of a whole core of 178 MB that is mostly code, metadata and empty pages:
    ///
    /// | how | objects | text | small core |
    /// |---|---|---|---|
    /// | level 1, 256 KiB | 44,230,187 | 52,804,911 | 7,397,217 |
    /// | level 2, 256 KiB | 45,601,155 | 53,147,000 | 7,209,817 |
    /// | **level 1, 512 KiB** | **44,388,169** | **51,597,349** | 7,488,344 |
    /// | **level 3, 512 KiB** | 45,554,851 | 51,833,523 | **7,104,513** |
    /// | level 3, 1 MiB | 45,563,284 | 51,349,105 | 7,009,535 |
    /// | `zstd -3`, one frame | 45,664,277 | 50,763,899 | 6,867,421 |
    ///
    /// A larger table and longer repetitions (`packer`) make level 1 0.3 to 0.6 % smaller still. It takes two thirds of the time
    /// of level 3. In frames of 256 KiB zstd looks for shorter repetitions than in larger ones, which suits heaps less. Frames of
    /// 2 MiB at level 3 would be 2 % smaller, cost a fifth more time to write and two fifths more to walk.
    fn default() -> Self {
        Self {
            level: 3,
            threads: std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
            frame_bytes: FRAME_RAW_BYTES,
            bytes_per_second: None,
        }
    }
}

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Bytes of the sealed file, with its seek table.
    pub stored_bytes: u64,
    /// BLAKE3 of the sealed file, hex.
    pub blake3: String,
    /// Number of frames.
    pub n_frames: u32,
}

impl Sealed {
    /// The manifest's entry for this dump under the name `file`.
    #[must_use]
    pub fn record(&self, file: &str) -> DumpRecord {
        DumpRecord {
            file: file.to_owned(),
            raw_bytes: self.raw_bytes,
            stored_bytes: self.stored_bytes,
            blake3: self.blake3.clone(),
        }
    }
}

/// Compresses everything written to it into a seekable zstd file. Must be ended with [`SealWriter::finish`]; dropping it
/// stops the threads and leaves an unfinished file.
#[derive(Debug)]
pub struct SealWriter<W: Write + Send + 'static> {
    pipeline: Pipeline<W>,
    sampler: Sampler,
    buffer: Vec<u8>,
    frame_bytes: usize,
}

impl<W: Write + Send + 'static> SealWriter<W> {
    /// Starts the threads; packed bytes go to `sink` in order.
    ///
    /// # Errors
    /// The level or frame size is out of range, or threads cannot be started.
    pub fn new(sink: W, options: &SealOptions) -> io::Result<Self> {
        if !(4 << 10..=16 << 20).contains(&options.frame_bytes) {
            return Err(invalid(format!(
                "frame size {} is out of range, expected 4 KiB to 16 MiB",
                options.frame_bytes
            )));
        }
        let levels = zstd::compression_level_range();
        if !levels.contains(&options.level) {
            return Err(invalid(format!(
                "compression level {} is out of range, expected {} to {}",
                options.level,
                levels.start(),
                levels.end()
            )));
        }
        let mut pipeline = Pipeline::start(sink, options)?;
        let buffer = pipeline.buffer()?;
        Ok(Self {
            pipeline,
            sampler: Sampler::new(options)?,
            buffer,
            frame_bytes: options.frame_bytes,
        })
    }

    /// Adds `n` zero bytes without touching memory for whole frames: how gaps of a dump are written.
    ///
    /// # Errors
    /// Sealing failed earlier, for example because the disk is full.
    pub fn write_zeros(&mut self, n: u64) -> io::Result<()> {
        let mut left = n;
        while left > 0 {
            let room = self.frame_bytes - self.buffer.len();
            let take = left.min(room as u64) as usize;
            if take == self.frame_bytes {
                self.pipeline.submit(Chunk::Zeros)?;
            } else {
                self.buffer.resize(self.buffer.len() + take, 0);
                self.flush_full()?;
            }
            left -= take as u64;
        }
        Ok(())
    }

    /// Packs what is left, writes the seek table, and waits for everything to reach the sink.
    ///
    /// # Errors
    /// Any part of sealing failed; what reached the sink is no whole file.
    pub fn finish(self) -> io::Result<Sealed> {
        self.finish_into().map(|(sealed, _)| sealed)
    }

    /// Like [`SealWriter::finish`], and gives the sink back.
    ///
    /// # Errors
    /// As for [`SealWriter::finish`].
    pub fn finish_into(mut self) -> io::Result<(Sealed, W)> {
        if !self.buffer.is_empty() {
            let last = std::mem::take(&mut self.buffer);
            let level = self.sampler.level(&last)?;
            self.pipeline.submit(Chunk::Bytes(last, level))?;
        }
        self.pipeline.finish()
    }

    fn flush_full(&mut self) -> io::Result<()> {
        if self.buffer.len() == self.frame_bytes {
            let level = self.sampler.level(&self.buffer)?;
            let next = self.pipeline.buffer()?;
            let full = std::mem::replace(&mut self.buffer, next);
            self.pipeline.submit(Chunk::Bytes(full, level))?;
        }
        Ok(())
    }
}

impl<W: Write + Send + 'static> Write for SealWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.frame_bytes - self.buffer.len();
        let n = room.min(bytes.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        self.flush_full()?;
        Ok(n)
    }

    /// Does nothing but report an earlier failure: frames have a fixed size and go out when they are full.
    fn flush(&mut self) -> io::Result<()> {
        self.pipeline.check()
    }
}

/// Waits so that a stream stays under a limit of bytes per second; allows bursts of a quarter of a second.
#[derive(Debug)]
struct Pace {
    bytes_per_second: u64,
    started: std::time::Instant,
    sent_bytes: u64,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            started: std::time::Instant::now(),
            sent_bytes: 0,
        }
    }

    /// Counts `n` bytes and says how long to wait before they go out.
    fn delay(&mut self, n: u64) -> Duration {
        const BURST: Duration = Duration::from_millis(250);
        let due = Duration::from_secs_f64(self.sent_bytes as f64 / self.bytes_per_second as f64);
        self.sent_bytes += n;
        due.saturating_sub(self.started.elapsed() + BURST)
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests;

//! Reads a seekable zstd file in place: any range, from any thread, never unpacked to disk.
//!
//! A frame is decoded whole, once, and kept in a cache with a byte limit (module `frame_cache`). Reads that cover whole frames
//! decode straight into the caller's buffer, on several threads when there are many. A reader that goes forward is helped
//! by one thread that decodes the next frames meanwhile.
//!
//! Invariants: the seek table was checked against the file and the limits before anything believes it; a damaged frame is an
//! error that names its offset, never wrong bytes (every frame carries a checksum).

use crate::ReadAt;
use crate::frame_cache::FrameCache;
use crate::limits::CACHE_BYTES;
use crate::read_at::{Chunk, PlainFile};
use crate::seek_table::{Frame, SeekTable, TableError, read_exact_at};
use rayon::prelude::*;
use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

/// Frames that the helper decodes ahead of a forward reader.
const READ_AHEAD_FRAMES: u32 = 2;
/// Larger frames are no unit that every reader could have a buffer for: they are read through the cache.
const MAX_BLOCK_BYTES: u32 = 1 << 20;
/// From this many whole frames on, one read decodes them on several threads.
const PARALLEL_FRAMES: usize = 4;

/// A seekable zstd file as random-access bytes.
#[derive(Debug)]
pub struct SealedFile {
    inner: Arc<Inner>,
    /// Requests to the helper thread, which starts at the first sequential read and ends when this is dropped.
    read_ahead: OnceLock<Option<SyncSender<u32>>>,
}

#[derive(Debug)]
struct Inner {
    /// Tells this file from others in [`RECENT`].
    serial: u64,
    storage: Box<dyn ReadAt>,
    table: SeekTable,
    cache: FrameCache,
}

impl std::fmt::Debug for dyn ReadAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.origin().display(), self.len())
    }
}

impl SealedFile {
    /// Opens `path` and checks its seek table.
    ///
    /// # Errors
    /// The file cannot be read, has no seek table, or has one that cannot be true.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::over(Box::new(PlainFile::open(path)?), CACHE_BYTES)?)
    }

    /// Reads sealed content from any storage, keeping at most `cache_bytes` of decoded frames (but always one).
    ///
    /// # Errors
    /// [`TableError`]: no table, a lying table, or the storage failed.
    pub fn over(storage: Box<dyn ReadAt>, cache_bytes: usize) -> Result<Self, TableError> {
        let table = SeekTable::read(&*storage)?;
        let largest = (0..table.n_frames()).filter_map(|i| table.frame(i));
        let largest = largest.map(|f| f.raw_bytes).max().unwrap_or(0);
        Ok(Self {
            inner: Arc::new(Inner {
                serial: NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
                cache: FrameCache::new(cache_bytes, largest as usize),
                storage,
                table,
            }),
            read_ahead: OnceLock::new(),
        })
    }

    /// The checked seek table.
    #[must_use]
    pub fn table(&self) -> &SeekTable {
        &self.inner.table
    }

    /// Length of the file as stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.inner.storage.len()
    }

    /// Decodes one frame without the cache: how a file is verified.
    ///
    /// # Errors
    /// The frame is damaged or the medium failed.
    pub fn decode(&self, frame: Frame) -> io::Result<Vec<u8>> {
        self.inner.decode(frame)
    }

    fn cached(&self, frame: Frame) -> io::Result<Arc<Vec<u8>>> {
        let got = self
            .inner
            .cache
            .get(frame.index, || self.inner.decode(frame));
        let (bytes, first_touch) = got?;
        // The first touch of a frame right behind a cached one is the mark of a reader that goes forward.
        if first_touch && frame.index > 0 && self.inner.cache.contains(frame.index - 1) {
            self.request_ahead(frame.index);
        }
        if bytes.len() <= KEEP_RECENT_BYTES {
            let recent = Recent {
                serial: self.inner.serial,
                raw_offset: frame.raw_offset,
                bytes: Arc::clone(&bytes),
            };
            RECENT.set(Some(recent));
        }
        Ok(bytes)
    }

    /// Copies from the frame that this thread read last, if all of `buf` lies in it: most reads of a walk are small and near.
    fn read_recent(&self, offset: u64, buf: &mut [u8]) -> bool {
        RECENT.with_borrow(|recent| {
            let Some(recent) = recent.as_ref().filter(|r| r.serial == self.inner.serial) else {
                return false;
            };
            let Some(skip) = offset
                .checked_sub(recent.raw_offset)
                .and_then(|s| usize::try_from(s).ok())
            else {
                return false;
            };
            let Some(bytes) = recent
                .bytes
                .get(skip..)
                .and_then(|rest| rest.get(..buf.len()))
            else {
                return false;
            };
            buf.copy_from_slice(bytes);
            true
        })
    }

    fn request_ahead(&self, index: u32) {
        let Some(helper) = self.read_ahead.get_or_init(|| start_helper(&self.inner)) else {
            return;
        };
        for ahead in 1..=READ_AHEAD_FRAMES {
            let next = index.saturating_add(ahead);
            if next < self.inner.table.n_frames() && !self.inner.cache.contains(next) {
                // A busy helper is no reason to wait: the reader will decode the frame itself.
                let _ = helper.try_send(next);
            }
        }
    }
}

/// Starts the helper thread; without it (a sandbox refuses threads) reading works, only slower.
fn start_helper(inner: &Arc<Inner>) -> Option<SyncSender<u32>> {
    let (sender, requests) = sync_channel::<u32>(READ_AHEAD_FRAMES as usize);
    let inner = Arc::clone(inner);
    let thread = std::thread::Builder::new().name("read-ahead".to_owned());
    let started = thread.spawn(move || {
        while let Ok(index) = requests.recv() {
            if let Some(frame) = inner.table.frame(index) {
                inner.cache.prefetch(index, || inner.decode(frame));
            }
        }
    });
    started.ok().map(|_| sender)
}

impl Inner {
    fn decode(&self, frame: Frame) -> io::Result<Vec<u8>> {
        let mut raw = Vec::with_capacity(frame.raw_bytes as usize);
        self.decode_with(frame, |zstd, packed| {
            zstd.decompress_to_buffer(packed, &mut raw)
        })?;
        Ok(raw)
    }

    fn decode_into(&self, frame: Frame, out: &mut [u8]) -> io::Result<()> {
        self.decode_with(frame, |zstd, packed| zstd.decompress_to_buffer(packed, out))
    }

    /// Runs `unpack` on the packed bytes of `frame`. The output's capacity is the raw size from the checked table, so a
    /// frame that holds more than it claims is refused by the decoder.
    fn decode_with(
        &self,
        frame: Frame,
        unpack: impl FnOnce(&mut zstd::bulk::Decompressor<'static>, &[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let unpacked = DECODER.with_borrow_mut(|decoder| {
            let decoder = match decoder {
                Some(decoder) => decoder,
                None => decoder.insert(Decoder {
                    zstd: zstd::bulk::Decompressor::new()?,
                    packed: Vec::new(),
                }),
            };
            let len = frame.stored_bytes as usize;
            if let Some(all) = self.storage.as_slice() {
                let at = usize::try_from(frame.stored_offset).unwrap_or(usize::MAX);
                let packed = all.get(at..).and_then(|rest| rest.get(..len));
                return unpack(&mut decoder.zstd, packed.unwrap_or_default());
            }
            decoder.packed.resize(len, 0);
            read_exact_at(&*self.storage, frame.stored_offset, &mut decoder.packed)?;
            let unpacked = unpack(&mut decoder.zstd, &decoder.packed);
            if decoder.packed.capacity() > KEEP_PACKED_BYTES {
                decoder.packed = Vec::new();
            }
            unpacked
        });
        match unpacked {
            Ok(n) if n == frame.raw_bytes as usize => Ok(()),
            Ok(n) => Err(self.damaged(
                frame,
                &format!("it holds {n} bytes instead of {}", frame.raw_bytes),
            )),
            // The decoder's own errors carry this kind; those of the medium are passed on as they are.
            Err(e) if e.kind() == io::ErrorKind::Other => Err(self.damaged(frame, &e.to_string())),
            Err(e) => Err(e),
        }
    }

    fn damaged(&self, frame: Frame, why: &str) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{}: frame {} at file offset {} (raw bytes {} to {}) is damaged: {why}",
                self.storage.origin().display(),
                frame.index,
                frame.stored_offset,
                frame.raw_offset,
                frame.raw_offset + u64::from(frame.raw_bytes),
            ),
        )
    }
}

/// Packed bytes that a thread keeps for its next frame.
const KEEP_PACKED_BYTES: usize = 1 << 20;

struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
    packed: Vec<u8>,
}

/// The frame that a thread read last.
struct Recent {
    serial: u64,
    raw_offset: u64,
    bytes: Arc<Vec<u8>>,
}

/// Larger frames are not held beyond the cache, whose limit they would break.
const KEEP_RECENT_BYTES: usize = 1 << 20;

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Saves the table, the lock and the count of the cache for a read near the last one.
    static RECENT: RefCell<Option<Recent>> = const { RefCell::new(None) };
    /// One decoder per thread: its context costs more to make than a frame costs to decode.
    static DECODER: RefCell<Option<Decoder>> = const { RefCell::new(None) };
}

impl ReadAt for SealedFile {
    fn len(&self) -> u64 {
        self.inner.table.raw_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.read_recent(offset, buf) {
            return Ok(buf.len());
        }
        let table = &self.inner.table;
        let mut whole: Vec<(Frame, &mut [u8])> = Vec::new();
        let mut rest = buf;
        let mut at = offset;
        let mut done = 0;
        while !rest.is_empty() {
            let Some(frame) = table.frame_at(at) else {
                break;
            };
            let skip = (at - frame.raw_offset) as usize;
            let n = (frame.raw_bytes as usize - skip).min(rest.len());
            let (here, later) = rest.split_at_mut(n);
            if n == frame.raw_bytes as usize {
                whole.push((frame, here));
            } else {
                here.copy_from_slice(&self.cached(frame)?[skip..skip + n]);
            }
            rest = later;
            at += n as u64;
            done += n;
        }
        if whole.len() >= PARALLEL_FRAMES {
            let read = |(frame, out): (Frame, &mut [u8])| self.inner.whole_frame(frame, out);
            whole.into_par_iter().try_for_each(read)?;
        } else {
            for (frame, out) in whole {
                self.inner.whole_frame(frame, out)?;
            }
        }
        Ok(done)
    }

    fn chunk_at(&self, offset: u64) -> io::Result<Chunk<'_>> {
        let Some(frame) = self.inner.table.frame_at(offset) else {
            return Ok(Chunk::Borrowed(&[]));
        };
        Ok(Chunk::Shared {
            bytes: self.cached(frame)?,
            skip: (offset - frame.raw_offset) as usize,
        })
    }

    fn block_at(&self, offset: u64) -> Option<Range<u64>> {
        let frame = self.inner.table.frame_at(offset)?;
        (frame.raw_bytes <= MAX_BLOCK_BYTES)
            .then(|| frame.raw_offset..frame.raw_offset + u64::from(frame.raw_bytes))
    }

    fn origin(&self) -> &Path {
        self.inner.storage.origin()
    }
}

impl Inner {
    /// Fills `out` with all of `frame`, from the cache if it is there, else past it.
    fn whole_frame(&self, frame: Frame, out: &mut [u8]) -> io::Result<()> {
        match self.cache.peek(frame.index) {
            Some(bytes) => {
                out.copy_from_slice(&bytes);
                Ok(())
            }
            None => self.decode_into(frame, out),
        }
    }
}

#[cfg(test)]
mod tests;

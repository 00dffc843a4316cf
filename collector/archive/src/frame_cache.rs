//! Decoded frames, shared by many threads, under a byte limit.
//!
//! Frames are spread over shards by index, so neighbors are in different shards and threads seldom meet at a lock. A frame that two
//! threads want at once is decoded once: the second waits for the first. Eviction is second-chance per shard.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

const MAX_SHARDS: usize = 16;
/// A shard holds at least this many frames, or there are fewer shards.
const FRAMES_PER_SHARD: usize = 4;

/// A decoded frame, or why it could not be decoded.
type Cell = Arc<OnceLock<Result<Arc<Vec<u8>>, (io::ErrorKind, String)>>>;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct FrameCache {
    shards: Vec<Mutex<Shard>>,
    /// Frames per shard, at least one.
    shard_frames: usize,
}

#[derive(Debug, Default)]
struct Shard {
    slots: HashMap<u32, Slot>,
    /// Order of eviction.
    order: VecDeque<u32>,
}

#[derive(Debug)]
struct Slot {
    cell: Cell,
    /// Read since it was last considered for eviction.
    recent: bool,
    /// Nobody asked for it yet: it was decoded ahead.
    untouched: bool,
}

impl FrameCache {
    /// A cache for frames of up to `largest_bytes`, together at most `limit_bytes` (but at least one frame).
    pub(crate) fn new(limit_bytes: usize, largest_bytes: usize) -> Self {
        let n_frames = (limit_bytes / largest_bytes.max(1)).max(1);
        let n_shards = (n_frames / FRAMES_PER_SHARD).clamp(1, MAX_SHARDS);
        Self {
            shards: (0..n_shards).map(|_| Mutex::default()).collect(),
            shard_frames: n_frames / n_shards,
        }
    }

    fn shard(&self, index: u32) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[index as usize % self.shards.len()];
        // Decoding happens outside the lock; nothing under it panics.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The frame `index`, decoded by `decode` if need be, and whether this is its first use.
    pub(crate) fn get(
        &self,
        index: u32,
        decode: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<(Arc<Vec<u8>>, bool)> {
        let (cell, first_touch) = {
            let mut shard = self.shard(index);
            match shard.slots.get_mut(&index) {
                Some(slot) => {
                    slot.recent = true;
                    let first = std::mem::take(&mut slot.untouched);
                    (Arc::clone(&slot.cell), first)
                }
                None => (shard.insert(index, self.shard_frames, false), true),
            }
        };
        let bytes = self.fill(index, &cell, decode)?;
        Ok((bytes, first_touch))
    }

    /// Decodes the frame `index` ahead of its use, unless it is there or on its way. An error waits for the reader.
    pub(crate) fn prefetch(&self, index: u32, decode: impl FnOnce() -> io::Result<Vec<u8>>) {
        let cell = {
            let mut shard = self.shard(index);
            if shard.slots.contains_key(&index) {
                return;
            }
            shard.insert(index, self.shard_frames, true)
        };
        // A failure removed the slot; the reader will meet it again and report it.
        let _ = self.fill(index, &cell, decode);
    }

    /// True if the frame is there or on its way.
    pub(crate) fn contains(&self, index: u32) -> bool {
        self.shard(index).slots.contains_key(&index)
    }

    /// The frame, if it is decoded already.
    pub(crate) fn peek(&self, index: u32) -> Option<Arc<Vec<u8>>> {
        let cell = Arc::clone(&self.shard(index).slots.get(&index)?.cell);
        cell.get()?.as_ref().ok().map(Arc::clone)
    }

    fn fill(
        &self,
        index: u32,
        cell: &Cell,
        decode: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<Arc<Vec<u8>>> {
        let filled = cell.get_or_init(|| match decode() {
            Ok(bytes) => Ok(Arc::new(bytes)),
            Err(e) => Err((e.kind(), e.to_string())),
        });
        match filled {
            Ok(bytes) => Ok(Arc::clone(bytes)),
            Err((kind, text)) => {
                // Not kept: the medium may recover, and a later read must try again.
                let mut shard = self.shard(index);
                if shard
                    .slots
                    .get(&index)
                    .is_some_and(|slot| Arc::ptr_eq(&slot.cell, cell))
                {
                    shard.slots.remove(&index);
                    shard.order.retain(|&i| i != index);
                }
                Err(io::Error::new(*kind, text.clone()))
            }
        }
    }
}

impl Shard {
    fn insert(&mut self, index: u32, max_frames: usize, ahead: bool) -> Cell {
        while self.slots.len() >= max_frames {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            match self.slots.get_mut(&oldest) {
                Some(slot) if slot.recent => {
                    slot.recent = false;
                    self.order.push_back(oldest);
                }
                _ => {
                    self.slots.remove(&oldest);
                }
            }
        }
        let cell = Cell::default();
        let slot = Slot {
            cell: Arc::clone(&cell),
            recent: false,
            untouched: ahead,
        };
        self.slots.insert(index, slot);
        self.order.push_back(index);
        cell
    }
}

//! Sync blocks: which objects have one, who holds their locks and how many threads wait.
//!
//! Source: vm/syncblk.h of 3.1 to 10 (`SyncTableEntry`, `SyncBlock`, `AwareLock`, `SyncBlockCache`, `WaitEventLink`). Nothing
//! here depends on a version: the table is the entry of the runtime's variables whose blocks name their own index, and whose
//! objects' headers name it too.

use crate::completeness::Problem;
use crate::limits;
use crate::method_table::could_be;
use crate::runtime::Runtime;
use leakhound_dump::MemoryExt;
use serde::Serialize;

/// The table of sync blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SyncBlocks {
    /// Entries the table has room for.
    pub table_size: u32,
    /// Entries that belong to an object.
    pub used: u32,
    /// Entries that were used and are free again.
    pub free: u32,
    /// Locks that are held or waited for.
    pub locks: Vec<MonitorLock>,
}

/// The lock of an object (`Monitor`, `lock`) that is held or waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MonitorLock {
    /// Index of its sync block.
    pub index: u32,
    /// The object.
    pub object: u64,
    /// Managed id of the thread that holds it; `None` when nobody does, or a thread that is not known.
    pub owner: Option<u32>,
    /// Somebody holds it.
    pub held: bool,
    /// Times the owner entered it.
    pub recursion: u32,
    /// Threads that wait to enter it.
    pub entering: u32,
    /// Managed ids of threads in `Monitor.Wait`.
    pub waiting: Vec<u32>,
}

/// Where a table and its cache lie, and how its blocks are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    table: u64,
    size: u32,
    /// First index never used.
    end: u32,
    /// `AwareLock::m_dwSyncIndex` in the block: 20 up to 8, 28 since.
    index_offset: u64,
}

/// `SyncBlock`'s index has five bits of flags above it.
const INDEX_MASK: u32 = 0x07FF_FFFF;

impl Runtime {
    /// The table of sync blocks; `None` when it was not found.
    ///
    /// Most locks never get there: a lock that nobody ever waited for lies in its object's header.
    #[must_use]
    pub fn sync_blocks(&self) -> Option<SyncBlocks> {
        let place = self.find_sync_table()?;
        let mut blocks = SyncBlocks {
            table_size: place.size,
            ..SyncBlocks::default()
        };
        for index in 1..place.end {
            let Some((block, object)) = self.sync_entry(place.table, index) else {
                self.log.count(Problem::DamagedSyncTable);
                break;
            };
            // Free entries are a list of odd words.
            if block == 0 || object & 1 != 0 || !could_be(object) {
                blocks.free += 1;
                continue;
            }
            blocks.used += 1;
            blocks
                .locks
                .extend(self.monitor(&place, index, block, object));
        }
        Some(blocks)
    }

    fn sync_entry(&self, table: u64, index: u32) -> Option<(u64, u64)> {
        let at = table.checked_add(u64::from(index) * 16)?;
        Some((self.memory.u64(at)?, self.memory.u64(at.checked_add(8)?)?))
    }

    /// `AwareLock`: state 0, recursion 4; up to 8 the owning `Thread` at 8; since 9 the owner's ids at 8 and 16.
    fn monitor(&self, place: &Place, index: u32, block: u64, object: u64) -> Option<MonitorLock> {
        /// `AwareLock::LockState`: bit 0 held, waiting threads from bit 6 on.
        const WAITERS_SHIFT: u32 = 6;
        let memory = &*self.memory;
        let (state, recursion) = (memory.u32(block)?, memory.u32(block.checked_add(4)?)?);
        let held = state & 1 != 0;
        let owner = held.then(|| {
            let thread = if place.index_offset == 20 {
                let address = memory.u64(block.checked_add(8)?)?;
                self.threads.iter().find(|t| t.address == address)
            } else {
                let os_id = memory.u32(block.checked_add(16)?)?;
                self.threads
                    .iter()
                    .find(|t| t.os_id == os_id && t.is_alive())
            };
            thread.map(|t| t.managed_id)
        });
        let lock = MonitorLock {
            index,
            object,
            owner: owner.flatten(),
            held,
            recursion,
            entering: state >> WAITERS_SHIFT,
            waiting: self.waiting_threads(place, block),
        };
        (held || lock.entering > 0 || !lock.waiting.is_empty()).then_some(lock)
    }

    /// Threads in `Monitor.Wait`: `SyncBlock::m_Link` leads to `WaitEventLink::m_LinkSB`, which lies 32 bytes behind the link's
    /// start; there the block itself is named, and 16 bytes on the thread.
    fn waiting_threads(&self, place: &Place, block: u64) -> Vec<u32> {
        let memory = &*self.memory;
        let mut waiting = Vec::new();
        let first = if place.index_offset == 20 { 56 } else { 72 };
        let mut link = block.checked_add(first).and_then(|at| memory.u64(at));
        while let Some(at) = link.filter(|at| could_be(*at)) {
            let start = at - 32;
            // Bit 0 marks a thread that was woken.
            if waiting.len() >= limits::THREADS || memory.u64(start).map(|b| b & !1) != Some(block)
            {
                break;
            }
            let thread = memory.u64(start + 16).unwrap_or(0);
            let Some(thread) = self.threads.iter().find(|t| t.address == thread) else {
                break;
            };
            if waiting.contains(&thread.managed_id) {
                break;
            }
            waiting.push(thread.managed_id);
            link = memory.u64(at);
        }
        waiting
    }

    /// `g_pSyncTable` and, soon behind it, `SyncBlockCache::s_pSyncBlockCache` among the runtime's variables.
    fn find_sync_table(&self) -> Option<Place> {
        /// Distances from the GC's entry at which it can be; 57 to 62 in the versions seen, on Linux.
        const DISTANCES: std::ops::Range<i32> = 30..110;
        let value = |distance: i32| {
            self.dac_table
                .pointer(&*self.memory, distance)
                .filter(|p| could_be(*p))
        };
        DISTANCES.into_iter().find_map(|distance| {
            let table = value(distance)?;
            // COM variables and those of the image lie between them on Windows.
            (1..8).find_map(|further| self.prove_sync_table(table, value(distance + further)?))
        })
    }

    /// The cache names the array of blocks, 12 bytes on the first index never used, 24 bytes on the size of the table; its
    /// offset differs by version and system.
    fn prove_sync_table(&self, table: u64, cache: u64) -> Option<Place> {
        /// `SYNC_TABLE_INITIAL_SIZE`.
        const SMALLEST: u32 = 250;
        let memory = &*self.memory;
        let bytes: [u8; 320] = memory.array(cache)?;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        (0..=288).step_by(8).find_map(|at| {
            let (end, size) = (word(at + 12), word(at + 24));
            if !(SMALLEST..=limits::SYNC_BLOCKS).contains(&size) || !(1..=size).contains(&end) {
                return None;
            }
            [20, 28].into_iter().find_map(|index_offset| {
                let place = Place {
                    table,
                    size,
                    end,
                    index_offset,
                };
                self.is_sync_table(&place).then_some(place)
            })
        })
    }

    /// Blocks name their index, and so do the headers of their objects. A table without any block proves nothing.
    fn is_sync_table(&self, place: &Place) -> bool {
        /// vm/syncblk.h: `BIT_SBLK_IS_HASH_OR_SYNCBLKINDEX` without `BIT_SBLK_IS_HASHCODE`.
        const IS_INDEX: u32 = 0x0800_0000;
        const IS_HASH: u32 = 0x0400_0000;
        const LOOKED_AT: u32 = 64;
        let memory = &*self.memory;
        let (mut right, mut wrong) = (0, 0);
        for index in 1..place.end.min(LOOKED_AT) {
            let Some((block, object)) = self.sync_entry(place.table, index) else {
                return false;
            };
            if block == 0 || object & 1 != 0 || object == 0 {
                continue;
            }
            let own = block
                .checked_add(place.index_offset)
                .and_then(|at| memory.u32(at));
            let header = object.checked_sub(4).and_then(|at| memory.u32(at));
            let names_it = header
                .is_some_and(|h| h & IS_INDEX != 0 && h & IS_HASH == 0 && h & 0x03FF_FFFF == index);
            if own.map(|i| i & INDEX_MASK) == Some(index) && names_it {
                right += 1;
            } else {
                wrong += 1;
            }
        }
        right > wrong
    }
}

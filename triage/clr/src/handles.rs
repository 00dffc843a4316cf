//! GC handles of every kind.
//!
//! Source: gc/handletablepriv.h, gc/objecthandle.cpp; reference/clr-reader.md §9. A bucket has one table per processor under
//! server GC, not one per heap: the runtime's own debugging library overlooks that when heaps come and go.

use crate::completeness::{Log, Problem};
use crate::gc_vars::GcVars;
use crate::limits;
use crate::method_table::could_be;
use crate::runtime::Runtime;
use leakhound_dump::{Memory, MemoryExt};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Kind of a handle (gc/gcinterface.h, `HandleType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HandleKind {
    /// Does not keep its target; cleared when the target dies.
    WeakShort,
    /// As weak short, but cleared only after finalization.
    WeakLong,
    /// Keeps its target.
    Strong,
    /// Keeps its target and its place.
    Pinned,
    /// Strength changes at run time.
    Variable,
    /// Keeps its target while its count (COM, Java) is above 0.
    RefCounted,
    /// Keeps a second object while the first lives (`ConditionalWeakTable`).
    Dependent,
    /// Keeps the buffers of overlapped I/O in place.
    AsyncPinned,
    /// Strong, and its reach is measured.
    SizedRef,
    /// Weak, of a native object.
    WeakNativeCom,
    /// Weak, to the inside of an object.
    WeakInteriorPointer,
    /// Between the collector and Java's (10 and later).
    CrossReference,
}

impl HandleKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::WeakShort,
        Self::WeakLong,
        Self::Strong,
        Self::Pinned,
        Self::Variable,
        Self::RefCounted,
        Self::Dependent,
        Self::AsyncPinned,
        Self::SizedRef,
        Self::WeakNativeCom,
        Self::WeakInteriorPointer,
        Self::CrossReference,
    ];

    /// Keeps its target alive whatever else happens.
    #[must_use]
    pub fn is_root(self) -> bool {
        matches!(
            self,
            Self::Strong
                | Self::Pinned
                | Self::AsyncPinned
                | Self::SizedRef
                | Self::RefCounted
                | Self::Variable
        )
    }

    /// Does not keep its target alive.
    #[must_use]
    pub fn is_weak(self) -> bool {
        matches!(
            self,
            Self::WeakShort | Self::WeakLong | Self::WeakNativeCom | Self::WeakInteriorPointer
        )
    }

    /// Keeps its target from moving.
    #[must_use]
    pub fn is_pinned(self) -> bool {
        matches!(self, Self::Pinned | Self::AsyncPinned)
    }

    /// As it is written: `strong`, `weak_short`, ….
    #[must_use]
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 12] = [
            "weak_short",
            "weak_long",
            "strong",
            "pinned",
            "variable",
            "ref_counted",
            "dependent",
            "async_pinned",
            "sized_ref",
            "weak_native_com",
            "weak_interior_pointer",
            "cross_reference",
        ];
        NAMES[self as usize]
    }
}

/// A handle that leads to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Handle {
    /// Address of the slot.
    pub address: u64,
    /// Its kind.
    pub kind: HandleKind,
    /// The object.
    pub target: u64,
    /// The second object of a dependent handle; 0 for none.
    pub secondary: u64,
}

impl Runtime {
    /// Every handle in use. A handle whose target died is null and cannot be told from a free one: it is not listed.
    #[must_use]
    pub fn handles(&self) -> Vec<Handle> {
        let mut handles = Vec::new();
        self.each_handle(|handle| handles.push(handle));
        handles
    }

    /// Weak handles that are allocated and whose target is gone. An estimate from below: the runtime keeps some free handles of
    /// each kind at hand, and those look the same.
    #[must_use]
    pub fn dead_weak_handles(&self) -> u64 {
        self.handle_reader().dead_weak()
    }

    /// Calls `found` with every handle in use.
    pub fn each_handle(&self, found: impl FnMut(Handle)) {
        self.handle_reader().each(found);
    }

    fn handle_reader(&self) -> HandleReader<'_> {
        HandleReader {
            memory: &*self.memory,
            vars: &self.vars,
            server: self.info.server_gc,
            log: &self.log,
        }
    }
}

/// gc/handletablepriv.h, `_TableSegmentHeader` and the block sizes: the same from 3.1 to 10, but for what lies behind the arrays
/// by type.
const BLOCKS: usize = 120;
const BLOCK_HANDLES: usize = 64;
const TYPES: usize = 0x618;
const VALUES: u64 = 0x1000;
const NEXT_SEGMENT: u64 = 0x7C8;
const HEADER_BYTES: usize = 0x800;
/// Free handles of one kind that a table keeps at hand (`HandleTypeCache`: two banks of 63, and a quick one).
const CACHED_HANDLES: u64 = 127;

/// What the handle tables are read with; the live peek has no more than this.
pub(crate) struct HandleReader<'a> {
    pub memory: &'a dyn Memory,
    pub vars: &'a GcVars,
    pub server: bool,
    pub log: &'a Log,
}

impl HandleReader<'_> {
    /// Calls `found` with every handle in use.
    pub fn each(&self, mut found: impl FnMut(Handle)) {
        self.each_segment(|_, segment, extra| {
            self.each_in_segment(segment, extra, |slot| {
                let address = slot.block_address(slot.block);
                let has_secondary =
                    slot.kind == HandleKind::Dependent && slot.user_data < BLOCKS as u8;
                let secondary = has_secondary
                    .then(|| {
                        let at = slot.block_address(usize::from(slot.user_data));
                        self.memory.u64(at + slot.index as u64 * 8)
                    })
                    .flatten();
                found(Handle {
                    address: address + slot.index as u64 * 8,
                    kind: slot.kind,
                    target: slot.target,
                    secondary: secondary.filter(|s| could_be(*s)).unwrap_or(0),
                });
            })
        });
    }

    /// Number of handles in use by kind.
    pub fn count(&self) -> BTreeMap<HandleKind, u64> {
        let mut counts = [0; HandleKind::ALL.len()];
        self.each_segment(|_, segment, extra| {
            self.each_in_segment(segment, extra, |slot| counts[slot.kind as usize] += 1)
        });
        let kinds = HandleKind::ALL.into_iter().zip(counts);
        kinds.filter(|(_, count)| *count > 0).collect()
    }

    /// See [`Runtime::dead_weak_handles`].
    pub fn dead_weak(&self) -> u64 {
        let mut empty: HashMap<u64, u64> = HashMap::new();
        self.each_segment(|table, segment, extra| {
            let (null, next) = self.empty_weak_in_segment(segment, extra)?;
            *empty.entry(table).or_default() += null;
            Some(next)
        });
        empty
            .into_values()
            .map(|null| null.saturating_sub(2 * CACHED_HANDLES))
            .sum()
    }

    /// Calls `visit` with each table's segments; it answers with the address of the next one.
    fn each_segment(&self, mut visit: impl FnMut(u64, u64, u64) -> Option<u64>) {
        let mut seen = HashSet::new();
        for table in self.handle_tables() {
            let Some((mut segment, extra)) = first_segment(self.memory, table) else {
                self.log.count(Problem::DamagedHandleTable);
                continue;
            };
            while segment != 0 {
                if !could_be(segment)
                    || !seen.insert(segment)
                    || seen.len() > limits::HANDLE_SEGMENTS
                {
                    self.log.count(Problem::DamagedHandleTable);
                    break;
                }
                let Some(next) = visit(table, segment, extra) else {
                    self.log.count(Problem::DamagedHandleTable);
                    break;
                };
                segment = next;
            }
        }
    }

    /// Allocated weak handles without a target in one segment, and the next segment's address.
    fn empty_weak_in_segment(&self, segment: u64, extra: u64) -> Option<(u64, u64)> {
        const FREE_MASKS: usize = 0x258;
        let header = self.memory.bytes(segment, HEADER_BYTES)?;
        let next = self.memory.u64(segment + NEXT_SEGMENT + extra)?;
        let mut null = 0;
        for block in 0..BLOCKS {
            let kind = HandleKind::ALL.get(usize::from(header[TYPES + block]));
            if !matches!(kind, Some(HandleKind::WeakShort | HandleKind::WeakLong)) {
                continue;
            }
            let values = segment + VALUES + (block * BLOCK_HANDLES * 8) as u64;
            let Some(values) = self.memory.bytes(values, BLOCK_HANDLES * 8) else {
                continue;
            };
            // Two words of 32 bits, the lower handles first; a bit that is set is free.
            let masks = FREE_MASKS + block * 8;
            let free = u64::from_le_bytes(header[masks..masks + 8].try_into().unwrap_or_default());
            for (i, word) in values.chunks_exact(8).enumerate() {
                let empty = word.iter().all(|byte| *byte == 0);
                null += u64::from(empty && free >> i & 1 == 0);
            }
        }
        Some((null, next))
    }

    /// `HandleTableMap`: buckets 0, next 8; bucket: array of tables 0. The array has no end mark: tables are taken while they
    /// prove to be ones.
    fn handle_tables(&self) -> Vec<u64> {
        /// gc/objecthandle.cpp, `INITIAL_HANDLE_TABLE_ARRAY_SIZE`.
        const BUCKETS: u64 = 10;
        let memory = self.memory;
        let mut tables = Vec::new();
        let mut known = HashSet::new();
        let mut map = self.vars.handle_table_map;
        let mut seen = HashSet::new();
        while map != 0 && seen.insert(map) && seen.len() <= limits::HANDLE_BUCKETS {
            let (Some(buckets), Some(next)) = (memory.u64(map), memory.u64(map.wrapping_add(8)))
            else {
                self.log.count(Problem::DamagedHandleTable);
                break;
            };
            for i in 0..BUCKETS {
                let bucket = memory
                    .u64(buckets.wrapping_add(i * 8))
                    .filter(|b| could_be(*b));
                let Some(slots) = bucket.and_then(|b| memory.u64(b)) else {
                    continue;
                };
                let most = if self.server {
                    limits::HANDLE_SLOTS as u64
                } else {
                    1
                };
                for slot in 0..most {
                    let table = memory
                        .u64(slots.wrapping_add(slot * 8))
                        .filter(|t| could_be(*t));
                    match table.filter(|t| first_segment(memory, *t).is_some()) {
                        Some(table) if known.insert(table) => tables.push(table),
                        _ if slot == 0 => {
                            self.log.count(Problem::DamagedHandleTable);
                            break;
                        }
                        _ => break,
                    }
                }
            }
            map = next;
        }
        tables
    }

    /// Visits one segment and returns the next one's address. `extra` is the room of the 13th handle type (10 and later).
    fn each_in_segment(
        &self,
        segment: u64,
        extra: u64,
        mut found: impl FnMut(Slot),
    ) -> Option<u64> {
        const USER_DATA: usize = 0x690;
        const BLOCK_BYTES: usize = BLOCK_HANDLES * 8;
        let header = self.memory.bytes(segment, HEADER_BYTES)?;
        let next = self.memory.u64(segment + NEXT_SEGMENT + extra)?;
        let data_kind = if extra == 0 { 11 } else { 12 };
        // All blocks at once; those behind the commit line have no pages, and in a dump others may lack theirs.
        let mut all = vec![0; BLOCKS * BLOCK_BYTES];
        let there = self.memory.read(segment + VALUES, &mut all);
        for block in 0..BLOCKS {
            let kind = header[TYPES + block];
            if kind >= data_kind {
                continue;
            }
            let kind = HandleKind::ALL[usize::from(kind)];
            let place = block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES;
            let values = &mut all[place.clone()];
            if place.end > there
                && self
                    .memory
                    .read(segment + VALUES + place.start as u64, values)
                    < BLOCK_BYTES
            {
                continue;
            }
            for (index, word) in values.chunks_exact(8).enumerate() {
                let target = u64::from_le_bytes(word.try_into().unwrap_or_default());
                if target == 0 {
                    continue;
                }
                if !could_be(target) {
                    self.log.count(Problem::DanglingHandle);
                    continue;
                }
                found(Slot {
                    segment,
                    block,
                    index,
                    kind,
                    target,
                    user_data: header[USER_DATA + block],
                });
            }
        }
        Some(next)
    }
}

/// A handle in use, and where it lies.
struct Slot {
    segment: u64,
    block: usize,
    index: usize,
    kind: HandleKind,
    target: u64,
    /// The block that holds the second objects of this block's dependent handles.
    user_data: u8,
}

impl Slot {
    fn block_address(&self, block: usize) -> u64 {
        self.segment + VALUES + (block * BLOCK_HANDLES * 8) as u64
    }
}

/// First segment of a table and the shift of the fields behind the per-type arrays: 0 with 12 handle types, 6 with 13.
///
/// Where a table keeps the list differs by version and system; the segment proves itself by naming its table.
fn first_segment(memory: &dyn Memory, table: u64) -> Option<(u64, u64)> {
    for offset in (48..600).step_by(8) {
        let Some(candidate) = memory.u64(table.checked_add(offset)?) else {
            break;
        };
        if candidate == 0 || candidate % 0x1_0000 != 0 || !could_be(candidate) {
            continue;
        }
        for extra in [0, 6] {
            if memory.u64(candidate + 0x7D0 + extra) == Some(table) {
                return Some((candidate, extra));
            }
        }
    }
    None
}

//! `GcDacVars`: what the garbage collector says about itself, in every version since .NET Core 2.
//!
//! Source: gc/gcinterface.dac.h and gc/gcinterface.dacvars.def; offsets verified on 3.1.23, 8.0.27, 9.0.5 and 10.0.9
//! (reference/clr-reader.md §2). The struct is found by its shape, never by a version.

use leakhound_dump::{Memory, MemoryExt};
use std::ops::Range;

/// The self-description; words are addresses unless they say otherwise. Zero means: not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GcVars {
    pub address: u64,
    pub generation_size: u64,
    pub generation_count: u64,
    pub built_with_server: u64,
    pub generation_table: u64,
    pub current_background_state: u64,
    pub ephemeral_segment: u64,
    pub alloc_allocated: u64,
    /// `gc_global_mechanisms`: an array of counters.
    pub global_mechanisms: u64,
    /// `oom_history` of workstation GC.
    pub oom_info: u64,
    pub finalize_queue: u64,
    pub heap_count: u64,
    pub heaps: u64,
    pub invalid_count: u64,
    pub handle_table_map: u64,
    pub heap_field_offsets: u64,
    pub generation_field_offsets: u64,
    pub free_regions: u64,
}

/// Bytes of the struct that are read to judge it.
const SPAN: usize = 312;

impl GcVars {
    /// Finds it in the runtime's data. There is one in every runtime; the first that fits is taken.
    pub fn find(memory: &dyn Memory, data: &[Range<u64>], image: &Range<u64>) -> Option<Self> {
        for range in data {
            let found = scan_words(memory, range.clone(), |at, window| {
                // Cheap shape first: version bytes, the size of a generation, then the number of generations or a pointer.
                let word = |i: usize| {
                    u64::from_le_bytes(window[i * 8..i * 8 + 8].try_into().unwrap_or_default())
                };
                let versions = word(0);
                if versions == 0
                    || versions >> 16 != 0
                    || !(1..=11).contains(&(versions & 0xFF))
                    || versions >> 8 >= 20
                {
                    return None;
                }
                if !(150..=600).contains(&word(1)) {
                    return None;
                }
                Self::at(memory, at, image)
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Reads and judges the struct at one address.
    fn at(memory: &dyn Memory, address: u64, image: &Range<u64>) -> Option<Self> {
        let bytes: [u8; SPAN] = memory.array(address)?;
        let word = |offset: usize| {
            u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap_or_default())
        };
        // 3.1 has no count of generations; everything behind it lies 8 bytes lower.
        let counted = word(16) == 5;
        let shift = if counted { 0 } else { 8 };
        let field = |offset: usize| word(offset - shift);
        let max_generation = field(56);
        if memory.u32(max_generation)? != 2 {
            return None;
        }
        // Server GC leaves the words empty that are fields of its heaps; these are there in any case. With a standalone GC
        // (from 5 on) they lead into its own module instead.
        let always = [max_generation, field(192), field(232)];
        if !counted && !always.iter().all(|p| image.contains(p))
            || always.iter().any(|p| memory.u32(*p).is_none())
        {
            return None;
        }
        let workstation = memory.u64(field(48)).is_some();
        let server = memory.u64(field(184)).is_some() && field(176) != 0;
        if !workstation && !server {
            return None;
        }
        let late = |offset: usize| if counted { field(offset) } else { 0 };
        Some(Self {
            address,
            generation_size: word(8),
            generation_count: if counted { 5 } else { 4 },
            built_with_server: field(32),
            generation_table: field(48),
            current_background_state: field(72),
            ephemeral_segment: field(80),
            alloc_allocated: field(120),
            global_mechanisms: field(40),
            oom_info: field(136),
            finalize_queue: field(144),
            heap_count: field(176),
            heaps: field(184),
            invalid_count: field(192),
            handle_table_map: field(232),
            heap_field_offsets: late(240),
            generation_field_offsets: late(248),
            free_regions: late(280),
        })
    }
}

/// Calls `judge` with every 8-aligned address of `range` and the 16 bytes there, until it answers.
pub(crate) fn scan_words<T>(
    memory: &dyn Memory,
    range: Range<u64>,
    mut judge: impl FnMut(u64, &[u8]) -> Option<T>,
) -> Option<T> {
    const CHUNK: usize = 1 << 16;
    let mut buf = vec![0u8; CHUNK + 16];
    let mut at = range.start.checked_add(7)? & !7;
    let end = range
        .end
        .min(at.saturating_add(crate::limits::RUNTIME_DATA_BYTES));
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK) + 16;
        let got = memory.read(at, &mut buf[..want]);
        let mut offset = 0;
        while offset + 16 <= got && at + (offset as u64) < end {
            if let Some(found) = judge(at + offset as u64, &buf[offset..offset + 16]) {
                return Some(found);
            }
            offset += 8;
        }
        // A hole: on to the next page.
        at = if got < 16 {
            (at & !0xFFF).checked_add(0x1000)?
        } else {
            at + offset as u64
        };
    }
    None
}

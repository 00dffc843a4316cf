//! Where the data of a loaded executable lies, from its headers in memory.

use crate::limits;
use leakhound_dump::{Memory, MemoryExt, Module};
use std::ops::Range;

/// Address ranges of one loaded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageRanges {
    /// From the base to the end of the last part.
    pub all: Range<u64>,
    /// Parts that hold variables: `.data` and `.bss`, or every data section of a PE image.
    pub data: Vec<Range<u64>>,
}

/// User space ends far below: sums with small offsets cannot overflow.
const HIGHEST: u64 = 1 << 57;

impl ImageRanges {
    /// From the headers in memory; without them, from the present writable regions in and after the module.
    pub fn of(memory: &dyn Memory, module: &Module) -> Self {
        match memory
            .array::<4>(module.base)
            .filter(|_| module.base < HIGHEST)
        {
            Some([0x7F, b'E', b'L', b'F']) => Self::elf(memory, module.base),
            Some([b'M', b'Z', ..]) => Self::pe(memory, module.base),
            _ => None,
        }
        .unwrap_or_else(|| Self::regions(memory, module))
    }

    fn elf(memory: &dyn Memory, base: u64) -> Option<Self> {
        let offset = memory.u64(base.checked_add(32)?)?;
        let (entry_bytes, count) = (
            u64::from(memory.u16(base.checked_add(54)?)?),
            usize::from(memory.u16(base.checked_add(56)?)?),
        );
        if entry_bytes < 56 || count > limits::IMAGE_SECTIONS {
            return None;
        }
        let (mut end, mut data) = (0u64, Vec::new());
        for i in 0..count as u64 {
            let at = base
                .checked_add(offset)?
                .checked_add(i * entry_bytes)
                .filter(|at| *at < HIGHEST)?;
            if memory.u32(at)? != 1 {
                continue;
            }
            let (flags, start, bytes) = (
                memory.u32(at + 4)?,
                memory.u64(at + 16)?,
                memory.u64(at + 40)?,
            );
            let range = base.checked_add(start)?..base.checked_add(start)?.checked_add(bytes)?;
            end = end.max(range.end);
            if flags & 2 != 0 {
                data.push(range);
            }
        }
        (end > base && !data.is_empty()).then_some(Self {
            all: base..end,
            data,
        })
    }

    fn pe(memory: &dyn Memory, base: u64) -> Option<Self> {
        let header = base.checked_add(u64::from(memory.u32(base.checked_add(0x3C)?)?))?;
        if memory.u32(header)? != 0x4550 {
            return None;
        }
        let (count, optional_bytes) = (
            usize::from(memory.u16(header + 6)?),
            u64::from(memory.u16(header + 20)?),
        );
        let size = u64::from(memory.u32(header + 24 + 56)?);
        if count > limits::IMAGE_SECTIONS {
            return None;
        }
        let mut data = Vec::new();
        for i in 0..count as u64 {
            let section = header + 24 + optional_bytes + 40 * i;
            let (bytes, start, flags) = (
                memory.u32(section + 8)?,
                memory.u32(section + 12)?,
                memory.u32(section + 36)?,
            );
            // Everything but code: from .NET 7 on the table of variables lies in read-only data.
            if flags & 0x2000_0000 == 0 {
                data.push(base + u64::from(start)..base + u64::from(start) + u64::from(bytes));
            }
        }
        Some(Self {
            all: base..base.checked_add(size)?,
            data,
        })
    }

    fn regions(memory: &dyn Memory, module: &Module) -> Self {
        let end = module.base.saturating_add(module.size);
        let mut all = module.base..end;
        let mut data = Vec::new();
        for region in memory
            .regions()
            .iter()
            .filter(|r| r.write && r.end > module.base)
        {
            // `.bss` is an anonymous mapping that follows the last part of the file.
            if region.start > all.end {
                break;
            }
            all.end = all.end.max(region.end);
            data.push(region.start.max(module.base)..region.end);
        }
        Self { all, data }
    }
}

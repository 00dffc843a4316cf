//! From a PE image in memory to its metadata.
//!
//! Images come mapped (sections at their addresses) or flat (as in the file): the runtime's flags say which.

use crate::limits;
use crate::metadata::{Metadata, MetadataError};
use leakhound_dump::{Memory, MemoryExt};

/// Why an image gave no metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeError {
    #[error("image at {base:#x}: {part} is not in the dump")]
    Missing { base: u64, part: &'static str },
    #[error("image at {base:#x}: {part} makes no sense")]
    Implausible { base: u64, part: &'static str },
    #[error("image at {base:#x}: {error}")]
    Metadata { base: u64, error: MetadataError },
}

/// Reads the metadata of the image at `base`, when it has at most `room` bytes.
pub(crate) fn metadata(
    memory: &dyn Memory,
    base: u64,
    flat: bool,
    room: usize,
) -> Result<Metadata, PeError> {
    let missing = |part| PeError::Missing { base, part };
    let wrong = |part| PeError::Implausible { base, part };
    let at = |offset: u64| base.checked_add(offset).ok_or(wrong("address"));
    if !(0x1000..1 << 57).contains(&base) {
        return Err(wrong("address"));
    }
    // Ready-to-run images may have zeros between "MZ" and the offset of the PE header.
    if memory.u16(base).ok_or(missing("first page"))? != 0x5A4D {
        return Err(wrong("DOS signature"));
    }
    let pe = u64::from(memory.u32(at(0x3C)?).ok_or(missing("DOS header"))?);
    if memory.u32(at(pe)?).ok_or(missing("PE header"))? != 0x4550 {
        return Err(wrong("PE signature"));
    }
    let section_count = usize::from(memory.u16(at(pe + 6)?).ok_or(missing("PE header"))?);
    let optional_bytes = u64::from(memory.u16(at(pe + 20)?).ok_or(missing("PE header"))?);
    let magic = memory.u16(at(pe + 24)?).ok_or(missing("optional header"))?;
    if section_count > limits::IMAGE_SECTIONS {
        return Err(wrong("section count"));
    }
    let directories = pe + 24 + if magic == 0x20B { 112 } else { 96 };
    // Data directory 14: the CLI header.
    let cli = memory
        .u32(at(directories + 8 * 14)?)
        .ok_or(missing("data directories"))?;
    let mut sections = Vec::new();
    for i in 0..section_count as u64 {
        let section = at(pe + 24 + optional_bytes + 40 * i)?;
        let field = |offset: u64| {
            memory
                .u32(section + offset)
                .ok_or(missing("section headers"))
        };
        sections.push((field(8)?, field(12)?, field(16)?, field(20)?));
    }
    let place = |rva: u32| -> Option<u64> {
        if !flat {
            return base.checked_add(rva.into());
        }
        let inside = |s: &&(u32, u32, u32, u32)| rva >= s.1 && rva - s.1 < s.0.max(s.2);
        let (_, start, _, file) = *sections.iter().find(inside)?;
        base.checked_add(u64::from(file) + u64::from(rva - start))
    };
    let header = place(cli)
        .filter(|_| cli != 0)
        .ok_or(wrong("CLI header address"))?;
    let rva = memory
        .u32(header.saturating_add(8))
        .ok_or(missing("CLI header"))?;
    let size = memory
        .u32(header.saturating_add(12))
        .ok_or(missing("CLI header"))? as usize;
    if size > limits::METADATA_BYTES || size > room {
        return Err(wrong("metadata size"));
    }
    let start = place(rva).ok_or(wrong("metadata address"))?;
    // The last byte first: a size that the dump cannot fill is not worth the allocation.
    let end = start
        .checked_add(size as u64)
        .and_then(|end| memory.u8(end.checked_sub(1)?));
    end.ok_or(missing("end of the metadata"))?;
    let bytes = memory.bytes(start, size).ok_or(missing("metadata"))?;
    Metadata::parse(bytes).map_err(|error| PeError::Metadata { base, error })
}

//! PE headers: Windows modules, and .NET assemblies on every system.
//!
//! Offsets are those of Microsoft's "PE Format" specification.

use leakhound_archive::ReadAt;

use crate::fields::{u16_at, u32_at, u64_at};
use crate::memory::Memory;

/// `IMAGE_SCN_MEM_WRITE`.
const SECTION_WRITE: u32 = 0x8000_0000;
/// `e_lfanew` lies within the first pages of real files.
const MAX_PE_OFFSET: u32 = 1 << 20;
/// `Magic` of the optional header of a 64-bit image.
const MAGIC_PE32_PLUS: u16 = 0x20b;
/// The optional header up to the sixth data directory.
const OPTIONAL_BYTES: usize = 112 + 6 * 8;
/// The Windows loader takes at most this many sections.
const MAX_SECTIONS: u16 = 96;

/// What the headers of a PE file or image say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeHeaders {
    /// Link time, or a hash of the content in reproducible builds.
    pub time_stamp: u32,
    /// Bytes of the loaded image.
    pub size_of_image: u32,
    /// Check sum; 0 in most .NET assemblies.
    pub check_sum: u32,
    /// Base that the image prefers; absolute addresses in the file are right for it.
    pub image_base: u64,
    /// Relocation table: offset from the base and bytes; zero when there is none.
    pub relocations: (u32, u32),
    /// Sections in file order.
    pub sections: Vec<PeSection>,
}

/// One section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeSection {
    /// Offset from the base of the loaded image.
    pub address: u32,
    /// Bytes in memory.
    pub memory_bytes: u32,
    /// Offset in the file.
    pub offset: u32,
    /// Bytes in the file.
    pub file_bytes: u32,
    /// The process may write to it.
    pub write: bool,
}

impl PeHeaders {
    /// Reads the headers of an image (or of a flat mapping of the file) at `base`.
    #[must_use]
    pub fn in_memory(memory: &dyn Memory, base: u64) -> Option<Self> {
        Self::parse(|offset, buf| {
            base.checked_add(offset)
                .map_or(0, |address| memory.read(address, buf))
        })
    }

    /// Reads the headers of a file.
    #[must_use]
    pub fn in_file(file: &dyn ReadAt) -> Option<Self> {
        Self::parse(|offset, buf| file.read_at(offset, buf).unwrap_or(0))
    }

    fn parse(read: impl Fn(u64, &mut [u8]) -> usize) -> Option<Self> {
        let mut dos = [0; 64];
        if read(0, &mut dos) < dos.len() || !dos.starts_with(b"MZ") {
            return None;
        }
        let lfanew = u32_at(&dos, 0x3c).filter(|&o| o <= MAX_PE_OFFSET)?;
        // Signature 0, COFF header 4, optional header 24: SizeOfImage +56, CheckSum +64; by its Magic (+0), PE32 or PE32+:
        // ImageBase +28 or +24, NumberOfRvaAndSizes +92 or +108, then the directories, of which number 5 is relocations.
        let mut pe = [0; 24 + OPTIONAL_BYTES];
        let there = read(u64::from(lfanew), &mut pe);
        if there < 24 + 68 || !pe.starts_with(b"PE\0\0") {
            return None;
        }
        let wide = u16_at(&pe, 24)? == MAGIC_PE32_PLUS;
        let (image_base, directories) = if wide {
            (u64_at(&pe, 24 + 24)?, 24 + 108)
        } else {
            (u64::from(u32_at(&pe, 24 + 28)?), 24 + 92)
        };
        let relocations = u32_at(&pe, directories)
            .filter(|count| *count > 5)
            .and_then(|_| {
                let at = directories + 4 + 5 * 8;
                Some((u32_at(&pe, at)?, u32_at(&pe, at + 4)?))
            })
            .unwrap_or_default();
        let count = u16_at(&pe, 6)?.min(MAX_SECTIONS);
        let table = u64::from(lfanew) + 24 + u64::from(u16_at(&pe, 20)?);
        let mut bytes = vec![0; usize::from(count) * 40];
        let n = read(table, &mut bytes);
        Some(Self {
            time_stamp: u32_at(&pe, 8)?,
            size_of_image: u32_at(&pe, 24 + 56)?,
            check_sum: u32_at(&pe, 24 + 64)?,
            image_base,
            relocations,
            sections: bytes[..n]
                .chunks_exact(40)
                .filter_map(PeSection::parse)
                .collect(),
        })
    }

    /// Time stamp, image size and check sum: together they name a build.
    #[must_use]
    pub fn identity(&self) -> (u32, u32, u32) {
        (self.time_stamp, self.size_of_image, self.check_sum)
    }

    /// Where in the file a byte of the loaded image comes from; `None` when no section brings it.
    #[must_use]
    pub fn file_offset(&self, address: u32) -> Option<u64> {
        self.sections.iter().find_map(|s| {
            let inside = address.checked_sub(s.address)?;
            (inside < s.file_bytes).then(|| u64::from(s.offset) + u64::from(inside))
        })
    }

    /// True when file offset `offset` mapped at `base + distance` is how a loader would place one of the sections.
    #[must_use]
    pub fn places_section(&self, distance: u64, offset: u64) -> bool {
        self.placed_at(distance, offset).next().is_some()
    }

    /// Like [`places_section`](Self::places_section), for a section that the process may write to.
    #[must_use]
    pub fn places_writable_section(&self, distance: u64, offset: u64) -> bool {
        self.placed_at(distance, offset).any(|s| s.write)
    }

    fn placed_at(&self, distance: u64, offset: u64) -> impl Iterator<Item = &PeSection> {
        let page = |v: u32| u64::from(v) & !0xfff;
        self.sections.iter().filter(move |s| {
            distance != 0 && page(s.address) == distance && page(s.offset) == offset
        })
    }
}

impl PeSection {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            memory_bytes: u32_at(bytes, 8)?,
            address: u32_at(bytes, 12)?,
            file_bytes: u32_at(bytes, 16)?,
            offset: u32_at(bytes, 20)?,
            write: u32_at(bytes, 36)? & SECTION_WRITE != 0,
        })
    }
}

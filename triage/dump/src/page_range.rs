//! What Windows says of a stretch of addresses (`VirtualQueryEx`, `MINIDUMP_MEMORY_INFO`).

use crate::image::{AddressKind, AddressRange};
use crate::memory::Region;

/// `MEM_COMMIT`.
pub const COMMIT: u32 = 0x1000;
/// `MEM_RESERVE`.
pub const RESERVE: u32 = 0x2000;
/// `MEM_PRIVATE`.
pub const PRIVATE: u32 = 0x2_0000;
/// `MEM_MAPPED`.
pub const MAPPED: u32 = 0x4_0000;
/// `MEM_IMAGE`.
pub const IMAGE: u32 = 0x100_0000;

/// PAGE_READWRITE, _WRITECOPY, _EXECUTE_READWRITE, _EXECUTE_WRITECOPY.
const WRITE: u32 = 0x04 | 0x08 | 0x40 | 0x80;
/// PAGE_EXECUTE, _EXECUTE_READ, _EXECUTE_READWRITE, _EXECUTE_WRITECOPY.
const EXECUTE: u32 = 0x10 | 0x20 | 0x40 | 0x80;
/// `PAGE_NOACCESS`, `PAGE_GUARD`.
const DENIED: u32 = 0x01 | 0x100;

/// A stretch of equal pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageRange {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// First address of the allocation.
    pub allocation: u64,
    /// `PAGE_*` that the allocation was made with.
    pub allocation_protect: u32,
    /// [`COMMIT`] or [`RESERVE`].
    pub state: u32,
    /// `PAGE_*` now; 0 when it is not committed.
    pub protect: u32,
    /// [`PRIVATE`], [`MAPPED`], [`IMAGE`].
    pub kind: u32,
}

impl PageRange {
    /// The process may write to it.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.protect & WRITE != 0
    }

    /// The process may execute it.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        self.protect & EXECUTE != 0
    }

    /// It can be read without changing what the process sees.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.state == COMMIT && self.protect != 0 && self.protect & DENIED == 0
    }

    /// As a region of memory, when it can be read.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        self.is_readable().then(|| Region {
            start: self.start,
            end: self.end,
            read: true,
            write: self.is_writable(),
            execute: self.is_executable(),
        })
    }

    /// For the address map; `None` when it is free or of a kind that Windows does not have.
    #[must_use]
    pub fn address_range(&self) -> Option<AddressRange> {
        let kind = match self.kind {
            PRIVATE => AddressKind::Private,
            MAPPED => AddressKind::Mapped,
            IMAGE => AddressKind::Image,
            _ => return None,
        };
        matches!(self.state, COMMIT | RESERVE).then_some(AddressRange {
            start: self.start,
            end: self.end,
            allocation: self.allocation,
            committed: self.state == COMMIT,
            kind,
            write: self.is_writable(),
            execute: self.is_executable(),
        })
    }
}

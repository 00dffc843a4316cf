//! The address space of a dumped or live process.

use std::ops::Range;

/// A stretch of addresses whose bytes are at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Readable by the process.
    pub read: bool,
    /// Writable by the process.
    pub write: bool,
    /// Executable by the process.
    pub execute: bool,
}

/// Reads of a process's memory. Reads stitch adjacent regions; holes end a read.
pub trait Memory: Send + Sync {
    /// Copies bytes from `address` on and returns how many were there before the first hole.
    fn read(&self, address: u64, buf: &mut [u8]) -> usize;

    /// Present regions, sorted, without overlap.
    fn regions(&self) -> &[Region];

    /// A borrowed view when `len` bytes at `address` lie contiguous and uncompressed in memory.
    fn slice(&self, _address: u64, _len: usize) -> Option<&[u8]> {
        None
    }

    /// Everything from `address` on that lies contiguous and uncompressed in memory; empty where nothing does.
    fn lend(&self, _address: u64) -> &[u8] {
        &[]
    }

    /// The addresses around `address` that are cheapest read together and alone: those of one compressed frame. A reader
    /// that goes forward reads block by block. `None` where any read is as good as another.
    fn block(&self, _address: u64) -> Option<Range<u64>> {
        None
    }

    /// What went wrong while reading so far, one sentence each: damaged frames, files that did not match.
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    /// Files on disk whose bytes stood in for pages that the dump lacks.
    fn files_used(&self) -> Vec<std::path::PathBuf> {
        Vec::new()
    }
}

/// Typed little-endian reads over any [`Memory`]. `None` means: not in the dump.
pub trait MemoryExt: Memory {
    /// Exactly `N` bytes.
    fn array<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mut buf = [0; N];
        (self.read(address, &mut buf) == N).then_some(buf)
    }
    /// One byte.
    fn u8(&self, address: u64) -> Option<u8> {
        self.array::<1>(address).map(|b| b[0])
    }
    /// Two bytes.
    fn u16(&self, address: u64) -> Option<u16> {
        self.array(address).map(u16::from_le_bytes)
    }
    /// Four bytes.
    fn u32(&self, address: u64) -> Option<u32> {
        self.array(address).map(u32::from_le_bytes)
    }
    /// Eight bytes.
    fn u64(&self, address: u64) -> Option<u64> {
        self.array(address).map(u64::from_le_bytes)
    }
    /// Exactly `len` bytes; `None` when any is missing. The caller has checked `len` against a limit.
    fn bytes(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut buf = vec![0; len];
        (self.read(address, &mut buf) == len).then_some(buf)
    }
}

impl<M: Memory + ?Sized> MemoryExt for M {}

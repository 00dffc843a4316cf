//! Smaller minidumps out of a full-memory one: wine's dump writer knows no other kind.

use crate::error::{Error, IoContext, Result};
use std::path::Path;

const MEMORY_LIST: u32 = 5;
const MEMORY64_LIST: u32 = 9;
const MEMORY_INFO_LIST: u32 = 16;
/// `MEM_COMMIT`, `MEM_PRIVATE`; the protections that allow writing.
const COMMIT: u32 = 0x1000;
const PRIVATE: u32 = 0x2_0000;
const WRITE: u32 = 0x04 | 0x08 | 0x40 | 0x80;

/// What a smaller dump keeps. Images, their metadata included, are gone in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Private memory and whatever is writable: ProcDump -mp, the runtime's own heap dump (MiniDumpWithPrivateReadWriteMemory and
    /// MiniDumpWithDataSegs).
    Heap,
    /// Private writable memory only (MiniDumpWithPrivateReadWriteMemory alone): the variables of the runtime are gone too.
    PrivateWritable,
}

/// Which stream lists the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// `MemoryListStream`, what Windows writes for partial memory.
    Memory,
    /// `Memory64ListStream`, what has room for more than 4 GiB.
    Memory64,
}

/// Writes to `into` what a smaller minidump keeps of `full`.
pub fn heap_of(full: &Path, into: &Path, kept: Kept, list: List) -> Result<()> {
    let bytes = std::fs::read(full).doing("read", full)?;
    let heap = shrink(&bytes, kept, list).ok_or_else(|| Error::Content {
        path: full.to_owned(),
        why: "not a full-memory minidump with memory information".to_owned(),
    })?;
    std::fs::write(into, heap).doing("write", into)
}

/// Bytes of memory that a full-memory minidump says it holds; `None` when it is no such thing or holds less than it says.
pub(crate) fn memory_bytes(file: &Path) -> Option<u64> {
    let full = std::fs::read(file).ok()?;
    let (count, directory) = (u32_at(&full, 8)? as usize, u32_at(&full, 12)? as usize);
    let entry = (0..count)
        .map(|i| directory + 12 * i)
        .find(|at| u32_at(&full, *at) == Some(MEMORY64_LIST))?;
    let list = u32_at(&full, entry + 8)? as usize;
    let (ranges, offset) = (size_at(&full, list)?, u64_at(&full, list + 8)?);
    let bytes: u64 = (0..ranges)
        .map(|i| u64_at(&full, list + 24 + 16 * i))
        .sum::<Option<u64>>()?;
    (offset.checked_add(bytes)? <= full.len() as u64).then_some(bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn size_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64_at(bytes, at)?).ok()
}

/// The streams as they are, then the kept memory, then its list in the place of the old one's directory entry.
fn shrink(full: &[u8], keep: Kept, kind: List) -> Option<Vec<u8>> {
    let (count, directory) = (u32_at(full, 8)? as usize, u32_at(full, 12)? as usize);
    let entry = |kind: u32| {
        (0..count)
            .map(|i| directory + 12 * i)
            .find(|at| u32_at(full, *at) == Some(kind))
    };
    let place = |at: usize| Some(u32_at(full, at + 8)? as usize);
    let (list_entry, info) = (entry(MEMORY64_LIST)?, place(entry(MEMORY_INFO_LIST)?)?);
    let list = place(list_entry)?;
    let (ranges, mut offset) = (size_at(full, list)?, size_at(full, list + 8)?);
    let mut heap = full.get(..offset)?.to_vec();
    let mut kept = Vec::new();
    for i in 0..ranges {
        let (start, bytes) = (
            u64_at(full, list + 16 + 16 * i)?,
            u64_at(full, list + 24 + 16 * i)?,
        );
        for (from, end) in writable(full, info, keep, start, start + bytes)? {
            let at = offset + usize::try_from(from - start).ok()?;
            let length = usize::try_from(end - from).ok()?;
            kept.extend_from_slice(&from.to_le_bytes());
            if kind == List::Memory {
                kept.extend_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
                kept.extend_from_slice(&u32::try_from(heap.len()).ok()?.to_le_bytes());
            } else {
                kept.extend_from_slice(&(end - from).to_le_bytes());
            }
            heap.extend_from_slice(full.get(at..at + length)?);
        }
        offset += usize::try_from(bytes).ok()?;
    }
    let at = u32::try_from(heap.len()).ok()?;
    let stream = match kind {
        List::Memory => {
            heap.extend_from_slice(&u32::try_from(kept.len() / 16).ok()?.to_le_bytes());
            MEMORY_LIST
        }
        List::Memory64 => {
            heap.extend_from_slice(&(kept.len() as u64 / 16).to_le_bytes());
            heap.extend_from_slice(&u64_at(full, list + 8)?.to_le_bytes());
            MEMORY64_LIST
        }
    };
    heap.extend_from_slice(&kept);
    let words = [stream, u32::try_from(heap.len()).ok()? - at, at];
    for (i, word) in words.into_iter().enumerate() {
        heap.get_mut(list_entry + 4 * i..list_entry + 4 * i + 4)?
            .copy_from_slice(&word.to_le_bytes());
    }
    Some(heap)
}

/// Parts of `start..end` that a heap minidump keeps, by the memory information list at `info`.
fn writable(full: &[u8], info: usize, keep: Kept, start: u64, end: u64) -> Option<Vec<(u64, u64)>> {
    let (header, size) = (
        u32_at(full, info)? as usize,
        u32_at(full, info + 4)? as usize,
    );
    let mut parts = Vec::new();
    for i in 0..size_at(full, info + 8)? {
        let at = info + header + size * i;
        let (base, bytes) = (u64_at(full, at)?, u64_at(full, at + 24)?);
        let (state, protect, kind) = (
            u32_at(full, at + 32)?,
            u32_at(full, at + 36)?,
            u32_at(full, at + 40)?,
        );
        let (from, to) = (base.max(start), base.saturating_add(bytes).min(end));
        let is_kept = match keep {
            Kept::Heap => kind == PRIVATE || protect & WRITE != 0,
            Kept::PrivateWritable => kind == PRIVATE && protect & WRITE != 0,
        };
        // The process runs while wine writes: what was only reserved when the list was made and has bytes now is new private memory.
        if from < to && (state != COMMIT || is_kept) {
            parts.push((from, to));
        }
    }
    Some(parts)
}

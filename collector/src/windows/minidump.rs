//! The head of a minidump: what the system's own writer says of a process, with a memory list of ours in the place of its own.
//!
//! `MiniDumpWriteDump` writes at offsets of its choice, which a compressed stream cannot follow. So it is asked only for what is
//! small: threads with their registers, modules, handles, system. That stays as it is, at the offsets that it has; behind it come
//! the address map and the list of memory ranges, and last the memory, in order. Structures: minidumpapiset.h
//! (learn.microsoft.com, `MINIDUMP_HEADER`, `MINIDUMP_DIRECTORY`, `MINIDUMP_MEMORY_INFO_LIST`, `MINIDUMP_MEMORY64_LIST`).

use leakhound_dump::page_range::PageRange;
use std::ops::Range;

const SIGNATURE: &[u8; 4] = b"MDMP";
const HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 12;
/// Streams of a real dump are two dozen.
const MAX_STREAMS: usize = 4096;

const UNUSED: u32 = 0;
const MEMORY_LIST: u32 = 5;
const MEMORY64_LIST: u32 = 9;
const MEMORY_INFO_LIST: u32 = 16;

/// `MiniDumpWithFullMemory`: every debugger then looks for the memory in the 64-bit list.
const WITH_FULL_MEMORY: u64 = 0x2;
/// `MiniDumpWithFullMemoryInfo`.
const WITH_MEMORY_INFO: u64 = 0x800;

/// Everything before the first byte of memory. `described` is a minidump without the memory.
///
/// # Errors
/// A sentence: `described` is none.
pub(crate) fn head(
    described: &[u8],
    map: &[PageRange],
    kept: &[Range<u64>],
) -> Result<Vec<u8>, String> {
    let streams = streams(described)?;
    let mut out = described.to_vec();
    // Stacks come with our memory, redacted or not; a copy beside it would be neither here nor there.
    for stack in memory_of(described, &streams) {
        out[stack].fill(0);
    }
    let mut directory: Vec<(u32, u32, u32)> = streams
        .into_iter()
        .filter(|(kind, ..)| ![UNUSED, MEMORY_LIST, MEMORY64_LIST, MEMORY_INFO_LIST].contains(kind))
        .collect();

    let begins = align(&mut out);
    memory_info(map, &mut out);
    directory.push(entry(MEMORY_INFO_LIST, begins, out.len())?);

    let begins = align(&mut out);
    let ends = begins + 16 + 16 * kept.len();
    directory.push(entry(MEMORY64_LIST, begins, ends)?);
    let directory_begins = ends;
    let memory_begins = directory_begins + directory.len() * ENTRY_BYTES;
    put(&mut out, &[kept.len() as u64, memory_begins as u64]);
    for range in kept {
        put(&mut out, &[range.start, range.end - range.start]);
    }
    for (kind, bytes, offset) in &directory {
        for word in [kind, bytes, offset] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    // NumberOfStreams 8, StreamDirectoryRva 12, CheckSum 16, Flags 24.
    let offset = u32::try_from(directory_begins).map_err(|_| too_large())?;
    out[8..12].copy_from_slice(&(directory.len() as u32).to_le_bytes());
    out[12..16].copy_from_slice(&offset.to_le_bytes());
    out[16..20].fill(0);
    let flags = number(&out, 24).unwrap_or(0) | WITH_FULL_MEMORY | WITH_MEMORY_INFO;
    out[24..32].copy_from_slice(&flags.to_le_bytes());
    Ok(out)
}

/// Where in the file the writer put memory: `MINIDUMP_MEMORY_LIST` is a count, then start, bytes `u32`, offset `u32` of each range.
fn memory_of(dump: &[u8], streams: &[(u32, u32, u32)]) -> Vec<Range<usize>> {
    let word = |at: usize| {
        let bytes = dump.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let lists = streams.iter().filter(|(kind, ..)| *kind == MEMORY_LIST);
    lists
        .flat_map(|(_, bytes, offset)| {
            let (bytes, offset) = (*bytes as usize, *offset as usize);
            let entries = (offset + 4..(offset + bytes).saturating_sub(15)).step_by(16);
            entries.filter_map(move |at| Some((word(at + 8)?, word(at + 12)?)))
        })
        .map(|(bytes, offset)| {
            let within = |at: usize| at.min(dump.len());
            within(offset)..within(offset.saturating_add(bytes))
        })
        .collect()
}

fn too_large() -> String {
    "what the system says of the process does not fit into a minidump".to_owned()
}

/// Kind, bytes and offset of every stream.
fn streams(dump: &[u8]) -> Result<Vec<(u32, u32, u32)>, String> {
    if dump.len() < HEADER_BYTES || !dump.starts_with(SIGNATURE) {
        return Err(format!(
            "the system's writer gave {} bytes that are no minidump",
            dump.len()
        ));
    }
    let word = |at: usize| {
        let bytes = dump.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let at = |at| word(at).map_or(0, |v| v as usize);
    let (count, directory) = (at(8), at(12));
    let stream = |n: usize| {
        let at = directory.checked_add(n * ENTRY_BYTES)?;
        let (kind, bytes, offset) = (word(at)?, word(at + 4)?, word(at + 8)?);
        let is_inside = u64::from(offset) + u64::from(bytes) <= dump.len() as u64;
        is_inside.then_some((kind, bytes, offset))
    };
    let all: Option<Vec<_>> = (0..count.min(MAX_STREAMS)).map(stream).collect();
    all.ok_or_else(|| "the minidump of the system's writer ends before its streams do".to_owned())
}

fn entry(kind: u32, begins: usize, ends: usize) -> Result<(u32, u32, u32), String> {
    let bytes = u32::try_from(ends - begins).map_err(|_| too_large())?;
    let offset = u32::try_from(begins).map_err(|_| too_large())?;
    Ok((kind, bytes, offset))
}

/// `MINIDUMP_MEMORY_INFO_LIST`: 16 bytes, then 48 for each range.
fn memory_info(map: &[PageRange], out: &mut Vec<u8>) {
    for word in [16_u32, 48] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    put(out, &[map.len() as u64]);
    for range in map {
        put(
            out,
            &[
                range.start,
                range.allocation,
                range.allocation_protect.into(),
                range.end - range.start,
                u64::from(range.state) | u64::from(range.protect) << 32,
                range.kind.into(),
            ],
        );
    }
}

fn put(out: &mut Vec<u8>, numbers: &[u64]) {
    for n in numbers {
        out.extend_from_slice(&n.to_le_bytes());
    }
}

fn align(out: &mut Vec<u8>) -> usize {
    out.resize(out.len().next_multiple_of(8), 0);
    out.len()
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_archive::read_at::PlainFile;
    use leakhound_dump::page_range::{COMMIT, PRIVATE};
    use std::sync::Arc;

    const SYSTEM_INFO: u32 = 7;

    /// What a writer says: the system, and a memory list with one stack.
    fn described() -> Vec<u8> {
        let mut dump = b"MDMP".to_vec();
        // Version, streams, directory, check sum, time.
        for word in [0xa793_u32, 3, 32, 9, 0] {
            dump.extend_from_slice(&word.to_le_bytes());
        }
        put(&mut dump, &[0]);
        for word in [SYSTEM_INFO, 56, 68, MEMORY_LIST, 20, 124, UNUSED, 0, 0] {
            dump.extend_from_slice(&word.to_le_bytes());
        }
        // PROCESSOR_ARCHITECTURE_AMD64.
        dump.extend_from_slice(&9_u16.to_le_bytes());
        dump.resize(124, 0);
        dump.extend_from_slice(&1_u32.to_le_bytes());
        put(&mut dump, &[0x7000]);
        for word in [16_u32, 144] {
            dump.extend_from_slice(&word.to_le_bytes());
        }
        dump.resize(161, 0xee);
        dump
    }

    #[test]
    fn a_dump_reads_back_with_our_memory_in_the_place_of_the_writers() {
        let page = |start| PageRange {
            start,
            end: start + 0x1000,
            allocation: start,
            allocation_protect: 4,
            state: COMMIT,
            protect: 4,
            kind: PRIVATE,
        };
        let map = [page(0x1_0000), page(0x2_0000)];
        let mut dump = head(
            &described(),
            &map,
            &[0x1_0000..0x1_1000, 0x2_0000..0x2_1000],
        )
        .unwrap();
        dump.extend_from_slice(&[0x11; 0x1000]);
        dump.extend_from_slice(&[0x22; 0x1000]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.dmp");
        std::fs::write(&file, &dump).unwrap();
        let image = leakhound_dump::open(Arc::new(PlainFile::open(&file).unwrap())).unwrap();
        let mut found = [0; 0x1001];
        assert_eq!(image.memory.read(0x1_0000, &mut found), 0x1000);
        assert_eq!(found[..0x1000], [0x11; 0x1000]);
        assert_eq!(image.memory.read(0x2_0800, &mut found), 0x800);
        assert_eq!(found[..0x800], [0x22; 0x800]);
        assert_eq!(image.memory.read(0x7000, &mut found), 0);
        assert_eq!(dump[144..160], [0; 16], "the stack that the writer put in");
        assert_eq!(image.address_map.len(), 2);
        assert!(
            image
                .address_map
                .iter()
                .all(|range| range.write && range.committed)
        );
    }

    #[test]
    fn what_a_head_says_is_read_over_memory_from_elsewhere() {
        let page = PageRange {
            start: 0x1_0000,
            end: 0x1_1000,
            allocation: 0x1_0000,
            allocation_protect: 4,
            state: COMMIT,
            protect: 4,
            kind: PRIVATE,
        };
        let guard = PageRange {
            start: 0x2_0000,
            end: 0x2_1000,
            protect: 0x104,
            ..page
        };
        let notes = |map: &[PageRange]| {
            let head = head(&described(), map, &[]).unwrap();
            leakhound_archive::mapped::InMemory::new(head, "notes")
        };
        let limits = leakhound_dump::Limits::default();
        let open = |map: &[PageRange]| {
            let memory = |regions: Vec<leakhound_dump::Region>| -> Arc<dyn leakhound_dump::Memory> {
                assert_eq!(regions.len(), 1, "a guard page is not read");
                let mut memory = leakhound_dump::SyntheticMemory::new();
                memory.map(regions[0].start, 0x1000);
                memory.put(0x1_0008, b"elsewhere");
                Arc::new(memory)
            };
            leakhound_dump::minidump::open_over(&notes(map), memory, &limits)
        };
        let image = open(&[page, guard]).unwrap();
        let mut found = [0; 9];
        assert_eq!(image.memory.read(0x1_0008, &mut found), 9);
        assert_eq!(&found, b"elsewhere");
        assert_eq!(image.address_map.len(), 2);
        let error = open(&[]).err().unwrap().to_string();
        assert!(error.contains("a map of the address space"), "{error}");
    }

    #[test]
    fn what_is_no_minidump_is_refused() {
        assert!(head(b"", &[], &[]).is_err());
        assert!(head(&[0; 64], &[], &[]).is_err());
        let mut cut = described();
        cut.truncate(90);
        assert!(head(&cut, &[], &[]).unwrap_err().contains("ends before"));
    }
}

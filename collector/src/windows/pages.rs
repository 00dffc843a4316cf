//! Which pages of a Windows process go into a dump.
//!
//! *Heap*: all private memory, what is shared without a file (the double-mapped memory of code generators), every page of an image
//! that may be written; of the runtime everything but code, of managed modules headers and metadata, of other images the
//! headers: code lies unchanged in the files. *Structure*: the same. *Full*: every page that can be read.

use crate::capture::Content;
use leakhound_dump::page_range::{IMAGE, MAPPED, PRIVATE, PageRange};
use leakhound_dump::{Memory, MemoryExt};
use std::collections::BTreeMap;
use std::ops::Range;

const PAGE: u64 = 4096;
/// Metadata larger than this is not believed.
const MAX_METADATA: u64 = 256 << 20;
/// `Magic` of the optional headers of 32- and 64-bit images.
const MAGICS: [(u16, u64); 2] = [(0x10b, 96), (0x20b, 112)];
/// Data directory of the CLI header.
const CLI_HEADER: u64 = 14;

/// What is behind a mapped range, as far as it matters here.
pub(crate) struct Process<'a> {
    /// Its memory.
    pub memory: &'a dyn Memory,
    /// Whether a range is a view of a file.
    pub is_file: &'a dyn Fn(u64) -> bool,
    /// Bases of images that carry the runtime.
    pub runtimes: &'a [u64],
}

/// The ranges to write, in order, none adjacent to the next.
pub(crate) fn choose(
    map: &[PageRange],
    content: Content,
    process: &Process<'_>,
) -> Vec<Range<u64>> {
    let mut needed: BTreeMap<u64, Vec<Range<u64>>> = BTreeMap::new();
    let mut kept: Vec<Range<u64>> = Vec::new();
    for range in map.iter().filter(|range| range.is_readable()) {
        let all = content == Content::Full || is_kept_whole(range, process);
        if all {
            add(&mut kept, range.start..range.end);
            continue;
        }
        // Flat views of managed modules lie in memory as in the file, which only the reader of modules knows: they stay whole.
        let parts = needed
            .entry(range.allocation)
            .or_insert_with(|| parts(process.memory, range.allocation, range.kind));
        for part in parts.iter() {
            let (from, to) = (part.start.max(range.start), part.end.min(range.end));
            if from < to {
                add(&mut kept, from..to);
            }
        }
    }
    kept
}

/// What is no file, in order: heaps, stacks, what is shared without a file.
pub(crate) fn anonymous(map: &[PageRange], is_file: &dyn Fn(u64) -> bool) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for range in map.iter().filter(|range| range.is_readable()) {
        if range.kind == PRIVATE || (range.kind == MAPPED && !is_file(range.start)) {
            add(&mut found, range.start..range.end);
        }
    }
    found
}

fn is_kept_whole(range: &PageRange, process: &Process<'_>) -> bool {
    match range.kind {
        PRIVATE => true,
        _ if range.is_writable() => true,
        MAPPED => !(process.is_file)(range.start),
        IMAGE => !range.is_executable() && process.runtimes.contains(&range.allocation),
        _ => false,
    }
}

/// What is needed of the module at `base`.
fn parts(memory: &dyn Memory, base: u64, kind: u32) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    match (kind, managed(memory, base)) {
        (MAPPED, Some(_)) => parts.push(base..u64::MAX),
        (IMAGE, managed) => {
            parts.push(base..base + PAGE);
            parts.extend(managed.into_iter().flatten());
            parts.sort_by_key(|part| part.start);
        }
        _ => {}
    }
    parts
}

/// CLI header and metadata of the image at `base`, widened to whole pages; `None` when it is no managed one. Offsets: ECMA-335
/// II.25.2 and II.25.3.3.
fn managed(memory: &dyn Memory, base: u64) -> Option<Vec<Range<u64>>> {
    let word = |at: u64| memory.u32(at).map(u64::from);
    (memory.u16(base)? == u16::from_le_bytes(*b"MZ")).then_some(())?;
    let pe = base.checked_add(word(base.checked_add(0x3c)?)?)?;
    (memory.u32(pe)? == u32::from_le_bytes(*b"PE\0\0")).then_some(())?;
    let optional = pe.checked_add(24)?;
    let magic = memory.u16(optional)?;
    let (_, directories) = MAGICS.into_iter().find(|(known, _)| *known == magic)?;
    let headers_bytes = word(optional.checked_add(60)?)?;
    let directory = optional.checked_add(directories + CLI_HEADER * 8)?;
    let cli = base.checked_add(word(directory).filter(|at| *at != 0)?)?;
    let metadata = base.checked_add(word(cli.checked_add(8)?)?)?;
    let metadata_bytes = word(cli.checked_add(12)?)?;
    if headers_bytes > MAX_METADATA || metadata_bytes > MAX_METADATA {
        return None;
    }
    Some(vec![
        pages(base, headers_bytes),
        pages(cli, 72),
        pages(metadata, metadata_bytes),
    ])
}

fn pages(start: u64, bytes: u64) -> Range<u64> {
    let end = start.saturating_add(bytes);
    start & !(PAGE - 1)..end.checked_next_multiple_of(PAGE).unwrap_or(end)
}

/// Adds a range that begins at or behind the start of the last one.
fn add(kept: &mut Vec<Range<u64>>, range: Range<u64>) {
    match kept.last_mut() {
        Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
        _ => kept.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakhound_dump::SyntheticMemory;
    use leakhound_dump::page_range::COMMIT;

    const NATIVE: u64 = 0x10_0000;
    const MODULE: u64 = 0x20_0000;

    fn range(start: u64, pages: u64, allocation: u64, protect: u32, kind: u32) -> PageRange {
        PageRange {
            start,
            end: start + pages * PAGE,
            allocation,
            allocation_protect: protect,
            state: COMMIT,
            protect,
            kind,
        }
    }

    /// A managed image: headers, CLI header in its second page, metadata in its fourth.
    fn memory() -> SyntheticMemory {
        let mut memory = SyntheticMemory::new();
        memory.map(MODULE, 6 * PAGE as usize);
        memory.put(MODULE, b"MZ");
        memory.put(MODULE + 0x3c, &0x80_u32.to_le_bytes());
        memory.put(MODULE + 0x80, b"PE\0\0");
        let optional = MODULE + 0x80 + 24;
        memory.put(optional, &0x20b_u16.to_le_bytes());
        memory.put(optional + 60, &0x400_u32.to_le_bytes());
        memory.put(optional + 112 + 14 * 8, &0x1010_u32.to_le_bytes());
        memory.put(MODULE + 0x1010 + 8, &0x3000_u32.to_le_bytes());
        memory.put(MODULE + 0x1010 + 12, &0x100_u32.to_le_bytes());
        memory
    }

    #[test]
    fn code_stays_in_its_files_and_the_rest_is_kept() {
        let memory = memory();
        let process = Process {
            memory: &memory,
            is_file: &|start| start == 0x50_0000,
            runtimes: &[],
        };
        let map = [
            range(0x1000, 2, 0x1000, 4, PRIVATE),
            // PAGE_NOACCESS.
            range(0x3000, 1, 0x1000, 1, PRIVATE),
            // A system library: header, code, data.
            range(NATIVE, 1, NATIVE, 2, IMAGE),
            range(NATIVE + PAGE, 8, NATIVE, 0x20, IMAGE),
            range(NATIVE + 9 * PAGE, 1, NATIVE, 4, IMAGE),
            range(MODULE, 6, MODULE, 2, IMAGE),
            // Code of the runtime's generator, and a file that is only read.
            range(0x40_0000, 1, 0x40_0000, 0x20, MAPPED),
            range(0x50_0000, 9, 0x50_0000, 2, MAPPED),
        ];
        let kept = choose(&map, Content::Heap, &process);
        assert_eq!(
            kept,
            [
                0x1000..0x3000,
                NATIVE..NATIVE + PAGE,
                NATIVE + 9 * PAGE..NATIVE + 10 * PAGE,
                MODULE..MODULE + 2 * PAGE,
                MODULE + 3 * PAGE..MODULE + 4 * PAGE,
                0x40_0000..0x40_1000,
            ]
        );
        assert_eq!(
            anonymous(&map, process.is_file),
            [0x1000..0x3000, 0x40_0000..0x40_1000]
        );
        let runtime = Process {
            runtimes: &[NATIVE, MODULE],
            ..process
        };
        let kept = choose(&map, Content::Heap, &runtime);
        assert!(
            kept.contains(&(MODULE..MODULE + 6 * PAGE))
                && !kept.contains(&(NATIVE..NATIVE + 10 * PAGE))
        );
        let full = choose(&map, Content::Full, &runtime);
        let bytes: u64 = full.iter().map(|r| r.end - r.start).sum();
        assert_eq!(bytes, (2 + 10 + 6 + 1 + 9) * PAGE);
    }
}

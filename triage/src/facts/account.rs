//! The byte account: where the process's memory went, what `!address -summary` and `!eeheap` show by hand.
//!
//! On Linux the basis is what each mapping really costs (resident plus swapped), because Linux commits nothing ahead:
//! a thread's 8 MB stack of which one page was touched costs one page. Windows commits for real, and its dumps carry the
//! map of the address space. Without either the basis is the regions of the dump itself, and the account says so.

use super::{address_map, mapped_files, reservation};
use leakhound_archive::manifest::MapEntry;
use leakhound_dump::{MemoryExt, Os, ProcessImage};
use leakhound_rules::{FactSheet, Row, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What the heap walk contributes to the account.
#[derive(Debug, Clone, Default)]
pub struct GcShare {
    /// Reserved ranges of segments and regions, sorted, without overlap.
    pub ranges: Vec<(u64, u64)>,
    /// Bytes of reachable objects; `None` when reachability is unknown.
    pub live_bytes: Option<u64>,
    /// Bytes of unreachable objects.
    pub garbage_bytes: Option<u64>,
    /// Bytes in holes.
    pub free_bytes: u64,
    /// Bytes in objects, dead or alive.
    pub used_bytes: u64,
}

/// A stretch of the address space with its cost.
pub(crate) struct Mapping<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Resident and swapped bytes; all of them when no memory map was saved.
    pub(crate) cost: u64,
    pub(crate) path: &'a str,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) executable: bool,
    pub(super) shared: bool,
}

/// In the place of a path: Windows names no file for these.
pub(super) const IMAGE: &str = "[image]";
pub(super) const NT_HEAP: &str = "[nt heap]";
pub(super) const RUNTIME: &str = "[runtime]";

impl Mapping<'_> {
    /// `rw-p`, as the kernel prints it.
    pub(crate) fn protection(&self) -> String {
        let flag = |set: bool, letter: char| if set { letter } else { '-' };
        [
            flag(self.readable, 'r'),
            flag(self.writable, 'w'),
            flag(self.executable, 'x'),
            if self.shared { 's' } else { 'p' },
        ]
        .iter()
        .collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Image,
    Stack,
    Gc,
    Runtime,
    BrkHeap,
    NtHeap,
    Arena,
    LargeMalloc,
    MappedFile,
    Shared,
    Anonymous,
}

impl Class {
    fn kind(self) -> &'static str {
        match self {
            Self::Image => "images",
            Self::Stack => "thread stacks",
            Self::Gc => "GC heap",
            Self::Runtime => "runtime (JIT code, loader heaps)",
            Self::BrkHeap => "malloc: brk heap",
            Self::NtHeap => "native heaps",
            Self::Arena => "malloc: thread arenas",
            Self::LargeMalloc => "malloc: large blocks",
            Self::MappedFile => "mapped files",
            Self::Shared => "shared memory",
            Self::Anonymous => "anonymous, owner unknown",
        }
    }
}

/// What a mapping is for, in one word.
pub(crate) fn kind_of(
    image: &ProcessImage,
    mapping: &Mapping<'_>,
    images: &std::collections::HashSet<&str>,
) -> &'static str {
    match classify(image, mapping, images) {
        Class::Image => "image",
        Class::Stack => "stack",
        Class::Gc => "gc",
        Class::Runtime => "runtime",
        Class::BrkHeap => "brk heap",
        Class::NtHeap => "native heap",
        Class::Arena => "malloc arena",
        Class::MappedFile => "file",
        Class::Shared => "shared",
        Class::Anonymous if mapping.writable && large_malloc_bytes(image, mapping) > 0 => {
            "malloc block"
        }
        Class::LargeMalloc => "malloc block",
        Class::Anonymous => "anonymous",
    }
}

/// Writes `memory.*` and `native_regions`.
pub fn write(image: &ProcessImage, map: &[MapEntry], gc: &GcShare, sheet: &mut FactSheet) {
    let mappings = mappings(image, map);
    if map.is_empty() && image.address_map.is_empty() {
        sheet.completeness.problems.push(
            "No memory map was saved with this dump: the byte account counts the dump's own regions, resident or not."
                .to_owned(),
        );
    }
    let images = image_paths(&mappings);
    let set_aside = reservation::find(&mappings, &gc.ranges);
    let mut totals: BTreeMap<Class, (u64, u64)> = BTreeMap::new();
    let mut arenas = BTreeSet::new();
    for mapping in &mappings {
        let class = match classify(image, mapping, &images) {
            Class::Anonymous if is_within(mapping, set_aside) => Class::Gc,
            class => class,
        };
        // Neighbours of equal rights are one line of the map: the GC's part of it is told by its segments.
        let size = mapping.end - mapping.start;
        let gc_part = overlap(&gc.ranges, mapping.start, mapping.end);
        let gc_cost =
            (u128::from(mapping.cost) * u128::from(gc_part) / u128::from(size.max(1))) as u64;
        add(&mut totals, Class::Gc, gc_cost);
        let mut cost = mapping.cost - gc_cost.min(mapping.cost);
        if class == Class::Arena {
            arenas.extend(arena(image, mapping.start));
        }
        if class == Class::Anonymous && mapping.writable {
            let large = large_malloc_bytes(image, mapping).min(cost);
            add(&mut totals, Class::LargeMalloc, large);
            cost -= large;
        }
        add(&mut totals, class, cost);
    }
    let of = |class: Class| totals.get(&class).map_or(0, |t| t.0);
    let commit: u64 = totals.values().map(|t| t.0).sum();
    let gc_cost = of(Class::Gc);

    sheet.int("memory.commit", commit);
    sheet.int("memory.images", of(Class::Image));
    sheet.int("memory.stacks", of(Class::Stack));
    sheet.int("memory.gc", gc_cost);
    // The parts of the GC's memory add up to what its mappings cost: objects first, then holes, then what is empty.
    let used = gc.used_bytes.min(gc_cost);
    let free = gc.free_bytes.min(gc_cost - used);
    if let (Some(live), Some(garbage)) = (gc.live_bytes, gc.garbage_bytes) {
        let live = live.min(used);
        sheet.int("memory.gc_live", live);
        sheet.int("memory.gc_garbage", garbage.min(used - live));
    } else {
        sheet.unknown("memory.gc_live", "reachability was not computed");
        sheet.unknown("memory.gc_garbage", "reachability was not computed");
    }
    sheet.int("memory.gc_free", free);
    sheet.int("memory.gc_empty", gc_cost - used - free);
    sheet.int("memory.runtime", of(Class::Runtime));
    sheet.int(
        "memory.native",
        of(Class::BrkHeap) + of(Class::NtHeap) + of(Class::Arena) + of(Class::LargeMalloc),
    );
    if image.os == Os::Linux {
        sheet.int("memory.arenas", arenas.len() as u64);
        sheet.int("memory.arena_bytes", of(Class::Arena));
    }
    sheet.int(
        "memory.mapped_files",
        of(Class::MappedFile) + of(Class::Shared),
    );
    sheet.int("memory.unattributed", of(Class::Anonymous));
    sheet.int("threads.stack_bytes", of(Class::Stack));

    if !map.is_empty() {
        mapped_files::write(image, &mappings, &images, sheet);
    }
    let mut regions: Vec<(Class, u64, u64)> = totals
        .into_iter()
        .filter(|(class, (bytes, _))| !matches!(class, Class::Gc) && *bytes > 0)
        .map(|(class, (bytes, count))| (class, bytes, count))
        .collect();
    regions.sort_by_key(|&(class, bytes, _)| (std::cmp::Reverse(bytes), class));
    sheet.lists.insert(
        "native_regions".to_owned(),
        regions
            .into_iter()
            .map(|(class, bytes, count)| {
                Row::from([
                    ("kind".to_owned(), Value::Text(class.kind().to_owned())),
                    ("count".to_owned(), Value::Int(count as i64)),
                    ("bytes".to_owned(), Value::Int(bytes as i64)),
                ])
            })
            .collect(),
    );
}

/// A mapping of a data file or of shared memory.
pub(super) fn is_data(
    image: &ProcessImage,
    mapping: &Mapping<'_>,
    images: &std::collections::HashSet<&str>,
) -> bool {
    let class = classify(image, mapping, images);
    matches!(class, Class::MappedFile | Class::Shared)
}

fn is_within(mapping: &Mapping<'_>, range: Option<(u64, u64)>) -> bool {
    range.is_some_and(|(start, end)| start <= mapping.start && mapping.end <= end)
}

fn add(totals: &mut BTreeMap<Class, (u64, u64)>, class: Class, bytes: u64) {
    if bytes > 0 {
        let total = totals.entry(class).or_default();
        total.0 += bytes;
        total.1 += 1;
    }
}

pub(crate) fn mappings<'a>(image: &'a ProcessImage, map: &'a [MapEntry]) -> Vec<Mapping<'a>> {
    if !map.is_empty() {
        let mut all: Vec<Mapping> = map
            .iter()
            .filter(|m| m.start < m.end)
            .map(|m| Mapping {
                start: m.start,
                end: m.end,
                cost: m.rss.saturating_add(m.swap).min(m.end - m.start),
                path: &m.path,
                readable: m.perms.starts_with('r'),
                writable: m.perms.as_bytes().get(1) == Some(&b'w'),
                executable: m.perms.as_bytes().get(2) == Some(&b'x'),
                shared: m.perms.as_bytes().get(3) == Some(&b's'),
            })
            .collect();
        all.sort_by_key(|m| m.start);
        return all;
    }
    if !image.address_map.is_empty() {
        return address_map::mappings(image);
    }
    image
        .memory
        .regions()
        .iter()
        .map(|region| {
            let file = image
                .mapped_files
                .partition_point(|f| f.start <= region.start)
                .checked_sub(1)
                .map(|i| &image.mapped_files[i])
                .filter(|f| region.start < f.end);
            Mapping {
                start: region.start,
                end: region.end,
                cost: region.end - region.start,
                path: file.and_then(|f| f.path.to_str()).unwrap_or_default(),
                readable: region.read,
                writable: region.write,
                executable: region.execute,
                shared: false,
            }
        })
        .collect()
}

/// Files of which some part is mapped executable, and managed assemblies, which are mapped read-only.
pub(crate) fn image_paths<'a>(mappings: &[Mapping<'a>]) -> std::collections::HashSet<&'a str> {
    mappings
        .iter()
        .filter(|m| {
            is_file(m.path)
                && (m.executable || {
                    let lower = m.path.to_ascii_lowercase();
                    [".dll", ".exe", ".so"].iter().any(|e| lower.ends_with(e))
                        || lower.contains(".so.")
                })
        })
        .map(|m| m.path)
        .collect()
}

fn is_file(path: &str) -> bool {
    (path.starts_with('/') && !path.starts_with("/memfd:") && !path.starts_with("/dev/zero"))
        || path.as_bytes().get(1) == Some(&b':')
}

fn classify(
    image: &ProcessImage,
    mapping: &Mapping<'_>,
    images: &std::collections::HashSet<&str>,
) -> Class {
    if mapping.path.starts_with("/memfd:doublemapper") {
        // The JIT writes code through one view and runs it through another (W^X, .NET 7 and later).
        return Class::Runtime;
    }
    if is_file(mapping.path) {
        return if images.contains(mapping.path) {
            Class::Image
        } else {
            Class::MappedFile
        };
    }
    if mapping.path.starts_with("[vdso")
        || mapping.path.starts_with("[vvar")
        || mapping.path == IMAGE
    {
        return Class::Image;
    }
    if mapping.path.starts_with("[stack")
        || image
            .threads
            .iter()
            .any(|t| (mapping.start..mapping.end).contains(&t.sp))
    {
        return Class::Stack;
    }
    match mapping.path {
        "[heap]" => return Class::BrkHeap,
        NT_HEAP => return Class::NtHeap,
        RUNTIME => return Class::Runtime,
        _ => {}
    }
    if mapping.shared {
        return Class::Shared;
    }
    if mapping.executable {
        return Class::Runtime;
    }
    if mapping.readable && mapping.writable && arena(image, mapping.start).is_some() {
        return Class::Arena;
    }
    Class::Anonymous
}

/// Bytes of `[start, end)` that lie in the sorted `ranges`.
fn overlap(ranges: &[(u64, u64)], start: u64, end: u64) -> u64 {
    let first = ranges.partition_point(|r| r.1 <= start);
    ranges[first..]
        .iter()
        .take_while(|r| r.0 < end)
        .map(|r| r.1.min(end) - r.0.max(start))
        .sum()
}

/// glibc `malloc/arena.c`: a thread arena is a `heap_info` at a 64 MiB boundary (`HEAP_MAX_SIZE`), whose words are
/// the arena, the previous heap, its size and its writable size. Returns the arena, which may have several heaps.
fn arena(image: &ProcessImage, start: u64) -> Option<u64> {
    const HEAP_MAX_SIZE: u64 = 64 << 20;
    if !start.is_multiple_of(HEAP_MAX_SIZE) {
        return None;
    }
    let memory = &*image.memory;
    let arena = memory.u64(start)?;
    let (size, writable) = (memory.u64(start + 16)?, memory.u64(start + 24)?);
    let is_heap = arena != 0
        && size != 0
        && size <= HEAP_MAX_SIZE
        && writable >= size
        && writable <= HEAP_MAX_SIZE;
    is_heap.then_some(arena)
}

/// glibc `malloc/malloc.c`: a block too large for an arena is a mapping of its own that starts with a chunk header
/// (previous size 0, its own size with the flag `IS_MMAPPED` = 2); neighbours merge into one entry of the map.
fn large_malloc_bytes(image: &ProcessImage, mapping: &Mapping<'_>) -> u64 {
    const PAGE: u64 = 4096;
    const IS_MMAPPED: u64 = 2;
    let memory = &*image.memory;
    let mut at = mapping.start;
    while at < mapping.end {
        let (Some(previous), Some(header)) = (memory.u64(at), memory.u64(at + 8)) else {
            break;
        };
        let size = header & !7;
        if previous != 0
            || header & 7 != IS_MMAPPED
            || size == 0
            || !size.is_multiple_of(PAGE)
            || size > mapping.end - at
        {
            break;
        }
        at += size;
    }
    at - mapping.start
}

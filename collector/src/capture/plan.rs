//! What goes into a core, where each byte comes from, and in which order it is written.
//!
//! The order is what keeps the pause short: everything that only the stopped process knows comes first in
//! the file; what lies unchanged in files on disk is copied after the process runs again. Before all comes memory that is shared:
//! the copy of a snapshot does not hold it still, and .NET keeps its types in such memory (`memfd:doublemapper`, from .NET 7 on).

use super::Content;
use crate::proc_maps::Mapping;
use std::ops::Range;

/// Bytes of a page. All supported machines use 4 KiB pages for the files that matter here.
pub const PAGE: u64 = 4096;
/// Untouched runs longer than this are left out instead of written as zeros: a sparse reservation of a
/// terabyte must not become a file of a terabyte.
const LONGEST_ZEROS: u64 = 1 << 30;
/// A run of clean file pages shorter than this between changed ones is read from memory with them, which
/// saves a segment.
const SHORTEST_FILE_RUN: u64 = 16 * PAGE;
/// Kept of every other library: ELF header, build id, program headers.
const LIBRARY_HEAD: u64 = 4 * PAGE;
/// Sparse shared memory above this size is read only where this process touched it.
const SHARED_READ_WHOLE: u64 = 64 << 20;

/// Where bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The stopped process.
    Memory,
    /// Never touched: zeros by definition.
    Zeros,
    /// The mapped file, which is unchanged: index into [`Plan::files`] and offset.
    File {
        /// Which file.
        file: usize,
        /// Offset of the first byte.
        offset: u64,
    },
    /// Not in the dump.
    Absent,
}

/// A run of pages with one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Where the bytes come from.
    pub source: Source,
}

/// A program header to be: adjacent pieces that are written together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// `PF_*` flags.
    pub flags: u32,
    /// Memory that others write too. A copy made by `fork` does not hold it still, so it is read first.
    pub shared: bool,
    /// Pieces, without gaps; empty when nothing of it is in the file.
    pub pieces: Vec<Piece>,
}

impl Segment {
    /// Bytes of it in the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.pieces.iter().map(|p| p.end - p.start).sum()
    }

    /// True when it is copied after the process runs again.
    #[must_use]
    pub fn is_deferred(&self) -> bool {
        matches!(self.pieces.first(), Some(p) if matches!(p.source, Source::File { .. }))
    }
}

/// What goes into a core.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Segments by address.
    pub segments: Vec<Segment>,
    /// Files that pieces are copied from: index into the mappings given.
    pub files: Vec<usize>,
    /// Sentences about what was left out.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Segments (indices) in the order in which they are written.
    #[must_use]
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.segments.len()).collect();
        order.sort_by_key(|at| {
            let segment = &self.segments[*at];
            (segment.is_deferred(), !segment.shared)
        });
        order
    }

    /// Bytes of all pieces whose source fits.
    #[must_use]
    pub fn bytes(&self, of: impl Fn(Source) -> bool) -> u64 {
        let pieces = self.segments.iter().flat_map(|s| &s.pieces);
        pieces
            .filter(|p| of(p.source))
            .map(|p| p.end - p.start)
            .sum()
    }

    /// Bytes of all segments in the file.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.segments.iter().map(Segment::file_bytes).sum()
    }
}

/// The state of pages as `/proc/PID/pagemap` tells it.
pub trait PageStates {
    /// One word per page of `range`; fewer when the kernel stops answering.
    fn states(&mut self, range: Range<u64>) -> Vec<u64>;

    /// The same for shared memory, which a copy of the process has no page tables of.
    fn shared_states(&mut self, range: Range<u64>) -> Vec<u64> {
        self.states(range)
    }

    /// Whether the file behind a mapping can be opened and is the one that was mapped.
    fn has_file(&mut self, mapping: &Mapping) -> bool;

    /// Ranges of that file that a reader of the heap needs; `None` for all of it.
    fn needed(&mut self, mapping: &Mapping) -> Option<Vec<Range<u64>>>;
}

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// Page of a file or of shared memory, as opposed to a private copy.
const FILE_PAGE: u64 = 1 << 61;

/// How a mapping is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    /// Touched pages from memory, untouched ones are zeros.
    Anonymous,
    /// Shared memory: every page may hold something even when this process has not touched it.
    Shared,
    /// Private pages from memory, clean ones from the file.
    WholeFile,
    /// Private pages from memory, of clean ones only the head.
    Head,
    /// Nothing.
    Skip,
}

fn treatment(mapping: &Mapping, content: Content, single_file: Option<&str>) -> Treatment {
    let path = mapping.entry.path.as_str();
    let special = path.starts_with("[vvar") || path == "[vsyscall]";
    let device = path.starts_with("/dev/") && !mapping.is_shared_memory();
    let kernel_object = path.starts_with("anon_inode:") || path.starts_with("socket:");
    if !mapping.readable()
        || mapping.is_device
        || mapping.dont_dump
        || special
        || device
        || kernel_object
    {
        return Treatment::Skip;
    }
    if mapping.is_shared_memory() || (mapping.shared() && !mapping.is_file()) {
        return Treatment::Shared;
    }
    if !mapping.is_file() {
        return Treatment::Anonymous;
    }
    match content {
        Content::Full => Treatment::WholeFile,
        Content::Heap | Content::Structure if is_managed(mapping, single_file) => {
            Treatment::WholeFile
        }
        // Shared file mappings are data on disk, written back by the kernel.
        Content::Heap | Content::Structure if mapping.shared() => Treatment::Skip,
        Content::Heap | Content::Structure => Treatment::Head,
    }
}

/// Managed modules (their metadata), and the parts of the runtime that describe themselves.
fn is_managed(mapping: &Mapping, single_file: Option<&str>) -> bool {
    let name = mapping.file_name().to_ascii_lowercase();
    if name.ends_with(".dll") || name.ends_with(".exe") {
        return true;
    }
    let runtime = name.starts_with("libcoreclr.so") || name.starts_with("libclrgc");
    let bundle = single_file == Some(mapping.entry.path.as_str());
    // The code itself is in the file system; symbols and read-only tables are what a reader needs.
    (runtime || bundle) && !mapping.executable()
}

/// Plans a core of `maps`. `single_file` is the executable's path when it carries the runtime within itself.
pub fn plan(
    maps: &[Mapping],
    content: Content,
    single_file: Option<&str>,
    pages: &mut dyn PageStates,
) -> Plan {
    let mut plan = Plan::default();
    let mut withheld = 0;
    let mut sparse = 0;
    for (index, mapping) in maps.iter().enumerate() {
        if mapping.dont_dump && mapping.entry.rss > 0 {
            withheld += mapping.entry.rss;
        }
        let treat = treatment(mapping, content, single_file);
        if treat == Treatment::Skip || mapping.size() == 0 {
            continue;
        }
        let file =
            matches!(treat, Treatment::WholeFile | Treatment::Head) && pages.has_file(mapping);
        let mut pieces = pieces_of(mapping, treat, file.then_some(plan.files.len()), pages);
        if file
            && content != Content::Full
            && treat == Treatment::WholeFile
            && let Some(needed) = pages.needed(mapping)
        {
            pieces = keep_needed(pieces, &needed);
        }
        if file
            && pieces
                .iter()
                .any(|p| matches!(p.source, Source::File { .. }))
        {
            plan.files.push(index);
        }
        for piece in &mut pieces {
            if piece.source == Source::Zeros && piece.end - piece.start > LONGEST_ZEROS {
                sparse += piece.end - piece.start;
                piece.source = Source::Absent;
            }
        }
        let flags = u32::from(mapping.executable())
            | u32::from(mapping.writable()) << 1
            | u32::from(mapping.readable()) << 2;
        segments_of(&pieces, flags, mapping.shared(), &mut plan.segments);
    }
    if withheld > 0 {
        plan.warnings.push(format!(
            "{withheld} bytes that the process marked with MADV_DONTDUMP were left out"
        ));
    }
    if sparse > 0 {
        plan.warnings.push(format!(
            "{sparse} bytes of untouched reservations were left out instead of written as zeros"
        ));
    }
    plan
}

/// The pieces of one mapping, without gaps.
fn pieces_of(
    mapping: &Mapping,
    treat: Treatment,
    file: Option<usize>,
    pages: &mut dyn PageStates,
) -> Vec<Piece> {
    let (start, end) = (mapping.entry.start, mapping.entry.end);
    let whole = |source| vec![Piece { start, end, source }];
    let untouched = mapping.entry.rss == 0 && mapping.entry.swap == 0;
    match treat {
        Treatment::Anonymous if untouched => return whole(Source::Zeros),
        Treatment::Shared if mapping.size() <= SHARED_READ_WHOLE => return whole(Source::Memory),
        Treatment::WholeFile if file.is_none() => return whole(Source::Memory),
        _ => {}
    }
    let mut out: Vec<Piece> = Vec::new();
    // The page map is read in stretches of 128 MiB, so that its buffer stays small.
    let mut at = start;
    while at < end {
        let stop = end.min(at + (128 << 20));
        let states = match treat {
            Treatment::Shared => pages.shared_states(at..stop),
            _ => pages.states(at..stop),
        };
        for (n, address) in (at..stop).step_by(PAGE as usize).enumerate() {
            // Where the kernel does not tell, the page is read.
            let state = states.get(n).copied().unwrap_or(PRESENT);
            let source = source_of(state, treat, file, address - start, mapping.entry.offset);
            let piece = Piece {
                start: address,
                end: (address + PAGE).min(end),
                source,
            };
            match out.last_mut() {
                Some(last) if joins(last, &piece) => last.end = piece.end,
                _ => out.push(piece),
            }
        }
        at = stop;
    }
    smooth(out)
}

fn source_of(
    state: u64,
    treat: Treatment,
    file: Option<usize>,
    within: u64,
    file_offset: u64,
) -> Source {
    let changed = state & SWAPPED != 0 || (state & PRESENT != 0 && state & FILE_PAGE == 0);
    let touched = state & (PRESENT | SWAPPED) != 0;
    match treat {
        Treatment::Anonymous | Treatment::Shared if touched => Source::Memory,
        Treatment::Anonymous | Treatment::Shared => Source::Zeros,
        _ if changed => Source::Memory,
        // Only the first mapping of a library starts with its headers.
        Treatment::Head if within >= LIBRARY_HEAD || file_offset != 0 => Source::Absent,
        _ => file.map_or(Source::Memory, |file| Source::File {
            file,
            offset: file_offset + within,
        }),
    }
}

/// True when `next` continues `last` from the same place.
fn joins(last: &Piece, next: &Piece) -> bool {
    match (last.source, next.source) {
        (Source::File { file: a, offset }, Source::File { file: b, offset: o }) => {
            a == b && offset + (last.end - last.start) == o
        }
        (a, b) => a == b,
    }
}

/// Turns short clean runs between changed ones into reads from memory.
fn smooth(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
    for (n, piece) in pieces.iter().enumerate() {
        let between = n > 0
            && pieces[n - 1].source == Source::Memory
            && pieces
                .get(n + 1)
                .is_some_and(|p| p.source == Source::Memory);
        let short = piece.end - piece.start < SHORTEST_FILE_RUN;
        let mut piece = *piece;
        if between && short && matches!(piece.source, Source::File { .. }) {
            piece.source = Source::Memory;
        }
        match out.last_mut() {
            Some(last) if joins(last, &piece) => last.end = piece.end,
            _ => out.push(piece),
        }
    }
    out
}

/// Leaves out clean pages outside the ranges that are needed.
fn keep_needed(pieces: Vec<Piece>, needed: &[Range<u64>]) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let Source::File { file, offset } = piece.source else {
            out.push(piece);
            continue;
        };
        for start in (piece.start..piece.end).step_by(PAGE as usize) {
            let at = offset + (start - piece.start);
            let source = if needed.iter().any(|r| r.contains(&at)) {
                Source::File { file, offset: at }
            } else {
                Source::Absent
            };
            let end = (start + PAGE).min(piece.end);
            let page = Piece { start, end, source };
            match out.last_mut() {
                Some(last) if last.end == start && joins(last, &page) => last.end = end,
                _ => out.push(page),
            }
        }
    }
    out
}

/// One segment per run of pieces that are written at the same time.
fn segments_of(pieces: &[Piece], flags: u32, shared: bool, out: &mut Vec<Segment>) {
    let first = out.len();
    for piece in pieces {
        let moment = |p: &Piece| match p.source {
            Source::Memory | Source::Zeros => 0,
            Source::File { .. } => 1,
            Source::Absent => 2,
        };
        match out[first..].last_mut() {
            // What is absent after a head belongs to the head's segment, as in the kernel's own cores.
            Some(last)
                if piece.source == Source::Absent && last.file_bytes() == last.end - last.start =>
            {
                last.end = piece.end;
            }
            Some(last)
                if last
                    .pieces
                    .last()
                    .is_some_and(|p| p.end == piece.start && moment(p) == moment(piece)) =>
            {
                last.end = piece.end;
                last.pieces.push(*piece);
            }
            _ => out.push(Segment {
                start: piece.start,
                end: piece.end,
                flags,
                shared,
                pieces: if piece.source == Source::Absent {
                    Vec::new()
                } else {
                    vec![*piece]
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakhound_archive::manifest::MapEntry;

    struct Fixed(Vec<u64>);
    impl PageStates for Fixed {
        fn states(&mut self, range: Range<u64>) -> Vec<u64> {
            let n = ((range.end - range.start) / PAGE) as usize;
            self.0
                .iter()
                .copied()
                .chain(std::iter::repeat(0))
                .take(n)
                .collect()
        }
        fn has_file(&mut self, _: &Mapping) -> bool {
            true
        }
        fn needed(&mut self, mapping: &Mapping) -> Option<Vec<Range<u64>>> {
            (mapping.file_name() == "Big.dll").then(|| vec![0..PAGE, 8 * PAGE..10 * PAGE])
        }
    }

    fn mapping(perms: &str, pages: u64, path: &str, rss: u64) -> Mapping {
        Mapping {
            entry: MapEntry {
                start: 0x10_0000,
                end: 0x10_0000 + pages * PAGE,
                perms: perms.into(),
                path: path.into(),
                rss,
                ..MapEntry::default()
            },
            inode: u64::from(path.starts_with('/')),
            ..Mapping::default()
        }
    }

    #[test]
    fn untouched_pages_are_zeros_and_touched_ones_are_read() {
        let map = mapping("rw-p", 4, "", PAGE);
        let plan = plan(
            &[map],
            Content::Heap,
            None,
            &mut Fixed(vec![PRESENT, 0, SWAPPED, 0]),
        );
        let sources: Vec<_> = plan.segments[0].pieces.iter().map(|p| p.source).collect();
        assert_eq!(plan.segments.len(), 1);
        assert_eq!(
            sources,
            [Source::Memory, Source::Zeros, Source::Memory, Source::Zeros]
        );
        assert_eq!(plan.raw_bytes(), 4 * PAGE);
    }

    #[test]
    fn a_giant_reservation_is_left_out_and_said() {
        let map = mapping("rw-p", 1 << 30, "", 0);
        let plan = plan(&[map], Content::Heap, None, &mut Fixed(vec![]));
        assert_eq!(plan.raw_bytes(), 0);
        assert_eq!(plan.warnings.len(), 1);
    }

    #[test]
    fn of_a_library_the_head_and_the_changed_pages_are_kept() {
        let clean = PRESENT | FILE_PAGE;
        let states = vec![clean, clean, clean, clean, clean, PRESENT, clean];
        let map = mapping("rw-p", 7, "/lib/libc.so.6", PAGE);
        let plan = plan(&[map], Content::Heap, None, &mut Fixed(states));
        let shape: Vec<_> = plan
            .segments
            .iter()
            .map(|s| {
                (
                    (s.end - s.start) / PAGE,
                    s.file_bytes() / PAGE,
                    s.is_deferred(),
                )
            })
            .collect();
        assert_eq!(shape, [(5, 4, true), (2, 1, false)]);
    }

    #[test]
    fn what_others_may_change_is_read_first_and_files_last() {
        let types = "/memfd:doublemapper (deleted)";
        let maps = [
            mapping("r--p", 4, "/app/Shop.dll", 0),
            mapping("rw-p", 4, "", PAGE),
            mapping("rw-s", 4, types, PAGE),
        ];
        let states = vec![PRESENT; 4];
        let mut pages = Fixed(states.iter().map(|_| PRESENT | FILE_PAGE).collect());
        let files = plan(&maps[..1], Content::Heap, None, &mut pages);
        let rest = plan(&maps[1..], Content::Heap, None, &mut Fixed(states));
        let both = Plan {
            segments: files.segments.into_iter().chain(rest.segments).collect(),
            ..Plan::default()
        };
        assert_eq!(both.order(), [2, 1, 0]);
    }

    #[test]
    fn managed_modules_are_whole_and_libraries_code_is_not() {
        let dll = mapping("r--p", 64, "/app/Shop.dll", 0);
        let lib = mapping("r-xp", 64, "/rt/libcoreclr.so", 0);
        let plan = plan(&[dll, lib], Content::Heap, None, &mut Fixed(vec![]));
        assert_eq!(plan.segments[0].file_bytes(), 64 * PAGE);
        assert_eq!(plan.segments[1].file_bytes(), LIBRARY_HEAD);
    }

    #[test]
    fn of_a_precompiled_module_headers_metadata_and_changed_pages_are_kept() {
        let mut states = vec![PRESENT | FILE_PAGE; 64];
        states[20] = PRESENT;
        let dll = mapping("r--p", 64, "/app/Big.dll", PAGE);
        let plan = plan(&[dll], Content::Heap, None, &mut Fixed(states));
        assert_eq!(plan.raw_bytes(), 4 * PAGE);
        let end = plan.segments.last().map(|s| s.end);
        assert_eq!(
            end,
            Some(0x10_0000 + 64 * PAGE),
            "the rest is known to be absent"
        );
    }

    #[test]
    fn devices_and_memory_marked_do_not_dump_stay_out() {
        let gpu = mapping("rw-s", 4, "/dev/dri/card0", PAGE);
        let mut keys = mapping("rw-p", 4, "", PAGE);
        keys.dont_dump = true;
        let plan = plan(
            &[gpu, keys],
            Content::Full,
            None,
            &mut Fixed(vec![PRESENT; 4]),
        );
        assert_eq!(plan.segments, []);
        assert!(plan.warnings[0].contains("MADV_DONTDUMP"));
    }
}

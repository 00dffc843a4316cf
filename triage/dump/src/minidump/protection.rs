//! Page protection and the address map from `MINIDUMP_MEMORY_INFO_LIST`.

use crate::fields::{u32_at, u64_at};
use crate::image::{AddressKind, AddressRange};
use crate::segments::Segment;

/// Ranges of equal protection, sorted, without overlap.
#[derive(Debug, Default)]
pub(super) struct Protections {
    ranges: Vec<Range>,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    start: u64,
    end: u64,
    allocation: u64,
    state: u32,
    protect: u32,
    kind: u32,
}

/// MEM_COMMIT, MEM_RESERVE; MEM_PRIVATE, MEM_MAPPED, MEM_IMAGE.
const COMMIT: u32 = 0x1000;
const RESERVE: u32 = 0x2000;
const PRIVATE: u32 = 0x2_0000;
const MAPPED: u32 = 0x4_0000;
const IMAGE: u32 = 0x100_0000;

/// PAGE_READWRITE, _WRITECOPY, _EXECUTE_READWRITE, _EXECUTE_WRITECOPY.
const WRITE: u32 = 0x04 | 0x08 | 0x40 | 0x80;
/// PAGE_EXECUTE, _EXECUTE_READ, _EXECUTE_READWRITE, _EXECUTE_WRITECOPY.
const EXECUTE: u32 = 0x10 | 0x20 | 0x40 | 0x80;

impl Protections {
    /// SizeOfHeader 0, SizeOfEntry 4, NumberOfEntries 8; entry: BaseAddress 0, AllocationBase 8,
    /// RegionSize 24, State 32, Protect 36, Type 40.
    pub(super) fn parse(list: &[u8]) -> Self {
        let (Some(header), Some(entry_bytes), Some(count)) =
            (u32_at(list, 0), u32_at(list, 4), u64_at(list, 8))
        else {
            return Self::default();
        };
        let entries = list.get(header as usize..).unwrap_or_default();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let range = |e: &[u8]| {
            let start = u64_at(e, 0)?;
            Some(Range {
                start,
                end: start.checked_add(u64_at(e, 24)?)?,
                allocation: u64_at(e, 8)?,
                state: u32_at(e, 32)?,
                protect: u32_at(e, 36)?,
                kind: u32_at(e, 40)?,
            })
        };
        // A zero size would never end; anything below the documented 48 bytes is damage.
        let size = (entry_bytes as usize).max(48);
        let mut ranges: Vec<Range> = entries
            .chunks_exact(size)
            .take(count)
            .filter_map(range)
            .collect();
        ranges.sort_by_key(|r| r.start);
        let mut covered = 0;
        ranges.retain_mut(|r| {
            r.start = r.start.max(covered);
            covered = covered.max(r.end);
            r.start < r.end
        });
        Self { ranges }
    }

    /// What is committed or reserved; free ranges and kinds that Windows does not have are left out.
    pub(super) fn address_map(&self) -> Vec<AddressRange> {
        let range = |r: &Range| {
            let kind = match r.kind {
                PRIVATE => AddressKind::Private,
                MAPPED => AddressKind::Mapped,
                IMAGE => AddressKind::Image,
                _ => return None,
            };
            matches!(r.state, COMMIT | RESERVE).then_some(AddressRange {
                start: r.start,
                end: r.end,
                allocation: r.allocation,
                committed: r.state == COMMIT,
                kind,
                write: r.protect & WRITE != 0,
                execute: r.protect & EXECUTE != 0,
            })
        };
        self.ranges.iter().filter_map(range).collect()
    }

    /// Cuts segments where the protection changes. What the list does not mention keeps read and write.
    pub(super) fn apply(&self, segments: Vec<Segment>) -> Vec<Segment> {
        if self.ranges.is_empty() {
            return segments;
        }
        let mut cut = Vec::new();
        for segment in segments {
            let mut rest = segment;
            let first = self.ranges.partition_point(|r| r.end <= rest.region.start);
            for range in self.ranges[first..]
                .iter()
                .take_while(|r| r.start < segment.region.end)
            {
                if rest.region.start < range.start {
                    cut.push(split_front(&mut rest, range.start));
                }
                let mut piece = split_front(&mut rest, range.end.min(segment.region.end));
                piece.region.write = range.protect & WRITE != 0;
                piece.region.execute = range.protect & EXECUTE != 0;
                cut.push(piece);
            }
            if rest.region.start < rest.region.end {
                cut.push(rest);
            }
        }
        cut
    }
}

/// Takes the part below `at` off `segment`.
fn split_front(segment: &mut Segment, at: u64) -> Segment {
    let mut front = *segment;
    front.region.end = at;
    let bytes = at - segment.region.start;
    segment.region.start = at;
    segment.offset = segment.offset.map(|o| o.saturating_add(bytes));
    front
}

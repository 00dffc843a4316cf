//! Page protection from `MINIDUMP_MEMORY_INFO_LIST`.

use crate::fields::{u32_at, u64_at};
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
    protect: u32,
}

/// PAGE_READWRITE, _WRITECOPY, _EXECUTE_READWRITE, _EXECUTE_WRITECOPY.
const WRITE: u32 = 0x04 | 0x08 | 0x40 | 0x80;
/// PAGE_EXECUTE, _EXECUTE_READ, _EXECUTE_READWRITE, _EXECUTE_WRITECOPY.
const EXECUTE: u32 = 0x10 | 0x20 | 0x40 | 0x80;

impl Protections {
    /// SizeOfHeader 0, SizeOfEntry 4, NumberOfEntries 8; entry: BaseAddress 0, RegionSize 24, Protect 36.
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
                protect: u32_at(e, 36)?,
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

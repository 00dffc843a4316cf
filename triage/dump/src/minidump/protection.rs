//! Page protection and the address map from `MINIDUMP_MEMORY_INFO_LIST`.

use crate::fields::{u32_at, u64_at};
use crate::image::AddressRange;
use crate::memory::Region;
use crate::page_range::PageRange;
use crate::segments::Segment;

/// Ranges of equal protection, sorted, without overlap.
#[derive(Debug, Default)]
pub(super) struct Protections {
    ranges: Vec<PageRange>,
}

impl Protections {
    /// SizeOfHeader 0, SizeOfEntry 4, NumberOfEntries 8; entry: BaseAddress 0, AllocationBase 8,
    /// AllocationProtect 16, RegionSize 24, State 32, Protect 36, Type 40.
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
            Some(PageRange {
                start,
                end: start.checked_add(u64_at(e, 24)?)?,
                allocation: u64_at(e, 8)?,
                allocation_protect: u32_at(e, 16)?,
                state: u32_at(e, 32)?,
                protect: u32_at(e, 36)?,
                kind: u32_at(e, 40)?,
            })
        };
        // A zero size would never end; anything below the documented 48 bytes is damage.
        let size = (entry_bytes as usize).max(48);
        let mut ranges: Vec<PageRange> = entries
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
        self.ranges
            .iter()
            .filter_map(PageRange::address_range)
            .collect()
    }

    /// What can be read.
    pub(super) fn regions(&self) -> Vec<Region> {
        self.ranges.iter().filter_map(PageRange::region).collect()
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
                piece.region.write = range.is_writable();
                piece.region.execute = range.is_executable();
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

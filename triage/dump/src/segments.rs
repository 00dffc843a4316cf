//! Memory whose bytes lie in a file: an ELF core or a minidump, raw or compressed.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use leakhound_archive::ReadAt;

use crate::memory::{Memory, Region};

/// A stretch of addresses and where its bytes lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Addresses and permissions.
    pub region: Region,
    /// Offset of the first byte in the file; `None` for memory known to be zero.
    pub offset: Option<u64>,
}

impl Segment {
    fn len(&self) -> u64 {
        self.region.end - self.region.start
    }
}

/// What became of the segments that a dump claims.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arranged {
    /// Bytes beyond the end of the file.
    pub cut_bytes: u64,
    /// Segments that reach beyond the end of the file.
    pub cut_segments: u64,
    /// Segments that claim addresses of an earlier one.
    pub overlapping: u64,
}

impl Arranged {
    /// Clipping and overlaps as sentences.
    pub(crate) fn describe(&self, file_bytes: u64, warnings: &mut Vec<String>) {
        if self.cut_segments > 0 {
            warnings.push(format!(
                "The dump is truncated: the file has {file_bytes} bytes, and {} bytes of memory in {} segments are missing.",
                self.cut_bytes, self.cut_segments
            ));
        }
        if self.overlapping > 0 {
            warnings.push(format!(
                "{} segments claim addresses that another segment has already; the first was believed.",
                self.overlapping
            ));
        }
    }
}

/// Several segments that are adjacent in memory and in the file: one read, one borrowed view.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u64,
    end: u64,
    offset: Option<u64>,
}

/// Last-hit slots, so that parallel walkers do not share a cache line.
const HINTS: usize = 16;

#[derive(Default)]
#[repr(align(128))]
struct Hint(AtomicUsize);

thread_local! {
    static HINT_SLOT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Picks one of the [`HINTS`] slots for the calling thread.
fn hint_slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    HINT_SLOT.with(|slot| {
        slot.get().unwrap_or_else(|| {
            let mine = NEXT.fetch_add(1, Ordering::Relaxed) % HINTS;
            slot.set(Some(mine));
            mine
        })
    })
}

/// [`Memory`] over a [`ReadAt`]. Lookup: last hit, else binary search over runs.
pub(crate) struct SegmentMemory {
    source: Arc<dyn ReadAt>,
    regions: Vec<Region>,
    runs: Vec<Run>,
    hints: [Hint; HINTS],
    failed_reads: AtomicU64,
}

impl SegmentMemory {
    /// Over segments that [`arrange`] has put in order.
    pub(crate) fn new(source: Arc<dyn ReadAt>, segments: &[Segment]) -> Self {
        Self {
            source,
            regions: segments.iter().map(|s| s.region).collect(),
            runs: join(segments),
            hints: Default::default(),
            failed_reads: AtomicU64::new(0),
        }
    }

    /// Index of the run that holds `address`.
    fn find(&self, address: u64) -> Option<usize> {
        let hint = &self.hints[hint_slot()].0;
        let last = hint.load(Ordering::Relaxed);
        let holds = |run: &Run| run.start <= address && address < run.end;
        if self.runs.get(last).is_some_and(holds) {
            return Some(last);
        }
        let index = self.runs.partition_point(|run| run.end <= address);
        if self.runs.get(index).is_some_and(holds) {
            hint.store(index, Ordering::Relaxed);
            return Some(index);
        }
        None
    }

    fn fill(&self, offset: Option<u64>, buf: &mut [u8]) -> usize {
        let Some(offset) = offset else {
            buf.fill(0);
            return buf.len();
        };
        if let Some(all) = self.source.as_slice() {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let rest = all.get(from..).unwrap_or_default();
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            return n;
        }
        self.source.read_at(offset, buf).unwrap_or_else(|error| {
            // The medium is damaged here (a broken frame, a bad sector): the same as absent, but remembered.
            if self.failed_reads.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(%error, offset, "A part of the dump cannot be read");
            }
            0
        })
    }
}

/// Sorts, clips to a file of `len` bytes and removes overlaps: an address belongs to the segment that starts first.
pub(crate) fn arrange(mut segments: Vec<Segment>, len: u64) -> (Vec<Segment>, Arranged) {
    let mut arranged = Arranged::default();
    segments.retain_mut(|s| clip(s, len, &mut arranged));
    segments.sort_by_key(|s| (s.region.start, std::cmp::Reverse(s.region.end)));
    let mut covered = 0;
    segments.retain_mut(|s| {
        if s.region.start < covered {
            arranged.overlapping += 1;
            let skip = covered - s.region.start;
            s.region.start = covered;
            s.offset = s.offset.map(|o| o.saturating_add(skip));
        }
        let keep = s.region.start < s.region.end;
        if keep {
            covered = s.region.end;
        }
        keep
    });
    (segments, arranged)
}

/// Clips `segment` to a file of `len` bytes; false when nothing is left.
fn clip(segment: &mut Segment, len: u64, arranged: &mut Arranged) -> bool {
    if let Some(offset) = segment.offset {
        let there = len.saturating_sub(offset).min(segment.len());
        if there < segment.len() {
            arranged.cut_segments += 1;
            arranged.cut_bytes = arranged.cut_bytes.saturating_add(segment.len() - there);
            segment.region.end = segment.region.start + there;
        }
    }
    segment.region.start < segment.region.end
}

/// Joins neighbors in memory that are also neighbors in the file.
fn join(segments: &[Segment]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for s in segments {
        if let Some(last) = runs.last_mut()
            && last.end == s.region.start
            && last.offset.map(|o| o.saturating_add(last.end - last.start)) == s.offset
        {
            last.end = s.region.end;
            continue;
        }
        runs.push(Run {
            start: s.region.start,
            end: s.region.end,
            offset: s.offset,
        });
    }
    runs
}

impl Memory for SegmentMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        let mut address = address;
        while done < buf.len() {
            let Some(index) = self.find(address) else {
                break;
            };
            let run = self.runs[index];
            let room = usize::try_from(run.end - address).unwrap_or(usize::MAX);
            let n = room.min(buf.len() - done);
            let offset = run.offset.map(|o| o + (address - run.start));
            let got = self.fill(offset, &mut buf[done..done + n]);
            done += got;
            address += got as u64;
            if got < n {
                break;
            }
        }
        done
    }

    fn regions(&self) -> &[Region] {
        &self.regions
    }

    fn slice(&self, address: u64, len: usize) -> Option<&[u8]> {
        let all = self.source.as_slice()?;
        let run = self.runs[self.find(address)?];
        if run.end - address < len as u64 {
            return None;
        }
        let from = usize::try_from(run.offset? + (address - run.start)).ok()?;
        all.get(from..from.checked_add(len)?)
    }

    fn lend(&self, address: u64) -> &[u8] {
        let Some(all) = self.source.as_slice() else {
            return &[];
        };
        let lent = self.find(address).and_then(|index| {
            let run = self.runs[index];
            let from = usize::try_from(run.offset? + (address - run.start)).ok()?;
            let len = usize::try_from(run.end - address).ok()?;
            all.get(from..from.checked_add(len)?)
        });
        lent.unwrap_or_default()
    }

    fn block(&self, address: u64) -> Option<Range<u64>> {
        let run = self.runs[self.find(address)?];
        let offset = run.offset? + (address - run.start);
        let block = self.source.block_at(offset)?;
        // A block may reach beyond what lies together in memory.
        let before = (offset - block.start).min(address - run.start);
        let after = (block.end - offset).min(run.end - address);
        Some(address - before..address + after)
    }

    fn problems(&self) -> Vec<String> {
        match self.failed_reads.load(Ordering::Relaxed) {
            0 => Vec::new(),
            n => vec![format!(
                "{n} reads of {} failed: the file is damaged there",
                self.source.origin().display()
            )],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Bytes;

    fn segment(start: u64, end: u64, offset: Option<u64>) -> Segment {
        Segment {
            region: Region {
                start,
                end,
                read: true,
                write: true,
                execute: false,
            },
            offset,
        }
    }

    fn memory(len: usize, segments: Vec<Segment>) -> (SegmentMemory, Arranged) {
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let (segments, arranged) = arrange(segments, len as u64);
        (
            SegmentMemory::new(Arc::new(Bytes::new(bytes)), &segments),
            arranged,
        )
    }

    #[test]
    fn reads_stitch_neighbors_and_stop_at_holes() {
        let (m, _) = memory(
            64,
            vec![
                segment(0x2000, 0x2004, Some(32)),
                segment(0x1000, 0x1010, Some(0)),
                segment(0x1010, 0x1018, Some(40)),
            ],
        );
        let mut buf = [0xee; 32];
        assert_eq!(m.read(0x100c, &mut buf), 12);
        assert_eq!(buf[..12], [12, 13, 14, 15, 40, 41, 42, 43, 44, 45, 46, 47]);
        assert_eq!(m.read(0x1018, &mut buf), 0);
        assert_eq!(m.read(0x2003, &mut buf), 1);
        assert_eq!(m.read(u64::MAX, &mut buf), 0);
    }

    #[test]
    fn slices_cross_segments_only_where_the_file_is_contiguous() {
        let (m, _) = memory(
            64,
            vec![
                segment(0x1000, 0x1008, Some(0)),
                segment(0x1008, 0x1010, Some(8)),
                segment(0x1010, 0x1018, Some(32)),
            ],
        );
        assert_eq!(m.slice(0x1004, 8), Some(&[4, 5, 6, 7, 8, 9, 10, 11][..]));
        assert_eq!(m.slice(0x100c, 8), None);
        assert_eq!(m.regions().len(), 3);
    }

    #[test]
    fn zero_memory_reads_as_zero_and_the_end_of_the_file_clips() {
        let (m, arranged) = memory(
            16,
            vec![
                segment(0x1000, 0x1004, None),
                segment(0x1004, 0x1010, Some(12)),
                segment(0x3000, 0x3010, Some(100)),
            ],
        );
        let mut buf = [0xee; 16];
        assert_eq!(m.read(0x1002, &mut buf), 6);
        assert_eq!(buf[..6], [0, 0, 12, 13, 14, 15]);
        assert_eq!(
            arranged,
            Arranged {
                cut_bytes: 8 + 16,
                cut_segments: 2,
                overlapping: 0
            }
        );
    }

    #[test]
    fn the_first_of_two_overlapping_segments_wins() {
        let (m, arranged) = memory(
            64,
            vec![
                segment(0x1008, 0x1018, Some(32)),
                segment(0x1000, 0x1010, Some(0)),
                segment(0x1002, 0x1004, Some(60)),
            ],
        );
        assert_eq!(arranged.overlapping, 2);
        let mut buf = [0; 24];
        assert_eq!(m.read(0x1000, &mut buf), 24);
        assert_eq!(buf[15..17], [15, 40]);
    }
}

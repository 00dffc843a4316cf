//! Snapshot: every object by a small number, in address order.
//!
//! Per object: 4 bytes of address, 4 of type, 2 of size. One bit per 8 bytes of heap finds the object at an address; where objects are
//! large and the bits would take more than they do, a search among their addresses.

use crate::completeness::Problem;
use crate::range_index::RangeIndex;
use crate::runtime::Runtime;
use crate::segments::{Generation, HeapRange};
use crate::shapes::TypeId;
use crate::walk::RangeStats;
use rayon::prelude::*;

/// All objects of a heap. Indices are dense, from 0, in address order.
pub struct Snapshot {
    ranges: Vec<SnapshotRange>,
    index: RangeIndex,
    offsets: Vec<u32>,
    types: Vec<u32>,
    sizes: Sizes,
    bits: Vec<u64>,
    ranks: Vec<u32>,
    stats: Vec<(HeapRange, RangeStats)>,
}

struct SnapshotRange {
    range: HeapRange,
    /// Index of its first object.
    first: u32,
    /// Index after its last object.
    end: u32,
    /// Index of its first word in `bits`; there is none where objects are large.
    word: usize,
    /// Index after its last word in `bits`.
    end_word: usize,
    /// Objects of the ranges before it that have no bits: what a count of bits lacks to be an index.
    without_bits: u32,
}

/// A range whose objects have more bytes each, on the average, has no bits.
const SPARSE_BYTES: usize = 1 << 10;
/// Words of the bitmap that share one entry of `ranks`.
const RANK_WORDS: usize = 2;

/// Sizes of objects in granules of 8 bytes, by index.
#[derive(Default)]
struct Sizes {
    /// [`LARGE`] for those that do not fit.
    small: Vec<u16>,
    /// Index and size of the others, by index. They have half a megabyte each: there are few.
    large: Vec<(u32, u32)>,
}

/// Stands for the size of a large object.
const LARGE: u16 = u16::MAX;

impl Sizes {
    fn push(&mut self, granules: u32) {
        let small = u16::try_from(granules).unwrap_or(LARGE);
        if small == LARGE {
            self.large.push((self.small.len() as u32, granules));
        }
        self.small.push(small);
    }

    fn extend(&mut self, other: &Self) {
        let first = self.small.len() as u32;
        self.small.extend_from_slice(&other.small);
        let large = other.large.iter();
        self.large
            .extend(large.map(|(index, granules)| (first + index, *granules)));
    }

    #[inline]
    fn granules(&self, index: u32) -> u32 {
        match self.small[index as usize] {
            LARGE => {
                let at = self.large.binary_search_by_key(&index, |large| large.0);
                at.map_or(0, |at| self.large[at].1)
            }
            small => small.into(),
        }
    }
}

#[derive(Default)]
struct Piece {
    offsets: Vec<u32>,
    types: Vec<u32>,
    sizes: Sizes,
}

impl Piece {
    /// Gives back what growing took too much: all pieces are alive at once.
    fn shrink(&mut self) {
        self.offsets.shrink_to_fit();
        self.types.shrink_to_fit();
        self.sizes.small.shrink_to_fit();
    }
}

impl Runtime {
    /// Walks the heap once and keeps every object.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let walker = self.walker();
        let pieces: Vec<(HeapRange, RangeStats, Piece)> = self
            .ranges
            .par_iter()
            .with_max_len(1)
            .map_init(
                || walker.tools(),
                |tools, range| {
                    let mut piece = Piece::default();
                    let mut beyond = 0;
                    let stats = walker.walk_range(range, tools, |object| {
                        let Ok(offset) = u32::try_from((object.address - range.start) / 8) else {
                            beyond += 1;
                            return;
                        };
                        piece.offsets.push(offset);
                        piece.types.push(object.type_id.0);
                        piece
                            .sizes
                            .push(u32::try_from(object.size / 8).unwrap_or(u32::MAX));
                    });
                    // A segment of more than 32 GB: its end does not fit the index.
                    if beyond > 0 {
                        self.log.add(Problem::LimitReached, beyond);
                    }
                    piece.shrink();
                    (*range, stats, piece)
                },
            )
            .collect();
        let total: usize = pieces.iter().map(|(_, _, p)| p.offsets.len()).sum();
        let mut snapshot = Snapshot {
            ranges: Vec::with_capacity(pieces.len()),
            index: RangeIndex::default(),
            offsets: Vec::with_capacity(total),
            types: Vec::with_capacity(total),
            sizes: Sizes {
                small: Vec::with_capacity(total),
                large: Vec::new(),
            },
            bits: Vec::new(),
            ranks: Vec::new(),
            stats: Vec::with_capacity(pieces.len()),
        };
        let mut unmarked = 0;
        for (range, stats, piece) in pieces {
            let first = u32::try_from(snapshot.offsets.len());
            let (Ok(first), Ok(end)) = (
                first,
                u32::try_from(snapshot.offsets.len() + piece.offsets.len()),
            ) else {
                self.log.count(Problem::LimitReached);
                self.log.note(
                    "The heap has more than 4,294,967,295 objects: the rest was left out.".into(),
                );
                break;
            };
            let word = snapshot.bits.len();
            let span = piece
                .offsets
                .last()
                .map_or(0, |last| *last as usize / 64 + 1);
            let without_bits = unmarked;
            if span * 64 * 8 > piece.offsets.len() * SPARSE_BYTES {
                unmarked += piece.offsets.len() as u32;
            } else {
                snapshot
                    .bits
                    .resize(word + span.next_multiple_of(RANK_WORDS), 0);
                for offset in &piece.offsets {
                    snapshot.bits[word + *offset as usize / 64] |= 1 << (offset % 64);
                }
            }
            snapshot.ranges.push(SnapshotRange {
                range,
                first,
                end,
                word,
                end_word: snapshot.bits.len(),
                without_bits,
            });
            snapshot.offsets.extend_from_slice(&piece.offsets);
            snapshot.types.extend_from_slice(&piece.types);
            snapshot.sizes.extend(&piece.sizes);
            snapshot.stats.push((range, stats));
        }
        let starts: Vec<u64> = snapshot.ranges.iter().map(|r| r.range.start).collect();
        snapshot.index = RangeIndex::new(&starts);
        let mut rank = 0;
        snapshot
            .ranks
            .reserve_exact(snapshot.bits.len() / RANK_WORDS);
        for block in snapshot.bits.chunks(RANK_WORDS) {
            snapshot.ranks.push(rank);
            rank += block.iter().map(|w| w.count_ones()).sum::<u32>();
        }
        snapshot
    }
}

impl Snapshot {
    /// Number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// There are no objects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// What the walk saw in each range, in address order.
    #[must_use]
    pub fn ranges(&self) -> &[(HeapRange, RangeStats)] {
        &self.stats
    }

    /// Type numbers of all objects.
    #[must_use]
    pub fn type_ids(&self) -> &[u32] {
        &self.types
    }

    /// Type of an object.
    #[must_use]
    pub fn type_id(&self, index: u32) -> TypeId {
        TypeId(self.types[index as usize])
    }

    /// Bytes of an object (capped at 32 GB).
    #[must_use]
    pub fn size(&self, index: u32) -> u64 {
        u64::from(self.sizes.granules(index)) * 8
    }

    /// Address of an object.
    #[must_use]
    pub fn address(&self, index: u32) -> u64 {
        let range = &self.ranges[self.range_of(index)];
        range.range.start + u64::from(self.offsets[index as usize]) * 8
    }

    /// As [`Self::address`], for objects that come one after the other: `range` is kept from one call to the next.
    #[inline]
    pub(crate) fn address_after(&self, index: u32, range: &mut usize) -> u64 {
        let holds = |r: &&SnapshotRange| (r.first..r.end).contains(&index);
        let own = match self.ranges.get(*range).filter(holds) {
            Some(own) => own,
            None => {
                *range = self.range_of(index);
                &self.ranges[*range]
            }
        };
        own.range.start + u64::from(self.offsets[index as usize]) * 8
    }

    /// Generation of an object.
    #[must_use]
    pub fn generation(&self, index: u32) -> Generation {
        self.ranges[self.range_of(index)].range.generation
    }

    /// The object that starts at an address.
    #[must_use]
    pub fn index_of(&self, address: u64) -> Option<u32> {
        let range = self.range_at(address)?;
        let offset = address - range.range.start;
        if !offset.is_multiple_of(8) {
            return None;
        }
        if range.word == range.end_word {
            let own = &self.offsets[range.first as usize..range.end as usize];
            let at = own.binary_search(&u32::try_from(offset / 8).ok()?).ok()?;
            return Some(range.first + at as u32);
        }
        let bit = usize::try_from(offset / 8).ok()?;
        let (word, shift) = (range.word + bit / 64, bit % 64);
        let bits = *self.bits.get(word)?;
        if bits >> shift & 1 == 0 || word >= range.end_word {
            return None;
        }
        let before = self.rank(word) + (bits & ((1 << shift) - 1)).count_ones();
        Some(range.without_bits + before)
    }

    /// The object that an address lies in: at its start or inside.
    #[must_use]
    pub fn index_around(&self, address: u64) -> Option<u32> {
        let range = self.range_at(address)?;
        let end = range.end as usize;
        let offset = u32::try_from((address - range.range.start) / 8).ok()?;
        let own = &self.offsets[range.first as usize..end];
        let at = own.partition_point(|o| *o <= offset).checked_sub(1)?;
        let index = range.first + u32::try_from(at).ok()?;
        (u64::from(own[at]) * 8 + self.size(index) > address - range.range.start).then_some(index)
    }

    /// Bytes between the end of an object and the start of the next one in its range: free blocks, and what a thread
    /// allocates from. 0 after the last.
    #[must_use]
    pub fn hole_after(&self, index: u32) -> u64 {
        let range = &self.ranges[self.range_of(index)];
        if index + 1 >= range.end {
            return 0;
        }
        let end = u64::from(self.offsets[index as usize]) * 8 + self.size(index);
        (u64::from(self.offsets[index as usize + 1]) * 8).saturating_sub(end)
    }

    /// Bytes between the end of the object before, or the start of the range, and this one.
    #[must_use]
    pub fn hole_before(&self, index: u32) -> u64 {
        let range = &self.ranges[self.range_of(index)];
        match index.checked_sub(1).filter(|before| *before >= range.first) {
            Some(before) => self.hole_after(before),
            None => u64::from(self.offsets[index as usize]) * 8,
        }
    }

    /// Consecutive indices that lie in one range each, at most `most` at once: pieces for parallel work.
    #[must_use]
    pub fn pieces(&self, most: u32) -> Vec<std::ops::Range<u32>> {
        let mut pieces = Vec::new();
        for range in &self.ranges {
            let mut start = range.first;
            while start < range.end {
                let stop = range.end.min(start.saturating_add(most.max(1)));
                pieces.push(start..stop);
                start = stop;
            }
        }
        pieces
    }

    fn rank(&self, word: usize) -> u32 {
        let block = word / RANK_WORDS;
        let before: u32 = self.bits[block * RANK_WORDS..word]
            .iter()
            .map(|w| w.count_ones())
            .sum();
        self.ranks[block] + before
    }

    fn range_at(&self, address: u64) -> Option<&SnapshotRange> {
        let near = self.index.near(address);
        let own = self.ranges.get(near.clone())?;
        let after = near.start + own.partition_point(|r| r.range.start <= address);
        self.ranges
            .get(after.checked_sub(1)?)
            .filter(|r| address < r.range.end)
    }

    fn range_of(&self, index: u32) -> usize {
        self.ranges.partition_point(|r| r.first <= index) - 1
    }
}

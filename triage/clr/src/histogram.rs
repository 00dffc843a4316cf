//! How many objects of each type there are, and how many bytes: the question that is asked of every dump first.

use crate::runtime::Runtime;
use crate::segments::{Generation, HeapRange};
use crate::shapes::TypeId;
use crate::walk::{Object, RangeStats};

/// Objects and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects.
    pub count: u64,
    /// Their bytes, headers and padding included.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

/// Objects by type and generation, free blocks by range: all that one walk can count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By generation, in the order of [`Generation::ALL`], and number of the type.
    tallies: [Vec<Tally>; Generation::ALL.len()],
    ranges: Vec<(HeapRange, RangeStats)>,
}

impl Histogram {
    /// Objects of a type in a generation.
    #[must_use]
    pub fn tally(&self, generation: Generation, id: TypeId) -> Tally {
        let of_generation = &self.tallies[generation as usize];
        of_generation.get(id.index()).copied().unwrap_or_default()
    }

    /// Every type that has objects, over all generations; most bytes first, then in order of number.
    #[must_use]
    pub fn types(&self) -> Vec<(TypeId, Tally)> {
        let count = self.tallies.iter().map(Vec::len).max().unwrap_or(0);
        let ids = (0..u32::try_from(count).unwrap_or(u32::MAX)).map(TypeId);
        let sum = |id| {
            let mut sum = Tally::default();
            for generation in Generation::ALL {
                sum.add(self.tally(generation, id));
            }
            (id, sum)
        };
        let mut types: Vec<(TypeId, Tally)> = ids.map(sum).filter(|(_, t)| t.count > 0).collect();
        types.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.bytes));
        types
    }

    /// What lies in each range, free blocks included, in address order.
    #[must_use]
    pub fn ranges(&self) -> &[(HeapRange, RangeStats)] {
        &self.ranges
    }

    /// The sum over all ranges.
    #[must_use]
    pub fn total(&self) -> RangeStats {
        let mut total = RangeStats::default();
        self.ranges.iter().for_each(|(_, stats)| total.add(stats));
        total
    }

    #[inline]
    fn count(&mut self, object: Object) {
        let tallies = &mut self.tallies[object.generation as usize];
        let one = Tally {
            count: 1,
            bytes: object.size,
        };
        match tallies.get_mut(object.type_id.index()) {
            Some(tally) => tally.add(one),
            None => count_first(tallies, object.type_id, one),
        }
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.tallies.iter_mut().zip(&other.tallies) {
            if mine.len() < theirs.len() {
                mine.resize(theirs.len(), Tally::default());
            }
            mine.iter_mut().zip(theirs).for_each(|(m, t)| m.add(*t));
        }
    }
}

#[cold]
fn count_first(tallies: &mut Vec<Tally>, id: TypeId, one: Tally) {
    tallies.resize(id.index() + 1, Tally::default());
    tallies[id.index()].add(one);
}

impl Runtime {
    /// Counts every object by type and generation, and the free blocks: one pass over the heap on all threads, in memory that
    /// depends on the number of types alone.
    #[must_use]
    pub fn histogram(&self) -> Histogram {
        let walk = self.walk(Histogram::default, Histogram::count);
        let mut pieces = walk.accumulators.into_iter();
        let mut histogram = pieces.next().unwrap_or_default();
        pieces.for_each(|piece| histogram.merge(&piece));
        histogram.ranges = walk.ranges;
        histogram
    }
}

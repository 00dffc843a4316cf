//! Finds the range of an address without a search: heaps have thousands of ranges, and every reference asks.

use std::ops::Range;

/// Slots of equal width over all ranges, at most: 256 KB.
const SLOT_BITS: u32 = 16;

/// For each slot, the first range that starts in it or later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeIndex {
    base: u64,
    shift: u32,
    firsts: Vec<u32>,
}

impl RangeIndex {
    /// Over ranges that start at these addresses, in order.
    pub fn new(starts: &[u64]) -> Self {
        let (Some(base), Some(last)) = (starts.first(), starts.last()) else {
            return Self::default();
        };
        let span = last - base;
        let shift = (u64::BITS - span.leading_zeros()).saturating_sub(SLOT_BITS);
        let mut firsts = vec![0];
        for (range, start) in (0u32..).zip(starts) {
            let slot = ((start - base) >> shift) as usize;
            // The slots up to its own begin no later than with this range.
            while firsts.len() <= slot {
                firsts.push(range);
            }
        }
        firsts.push(u32::try_from(starts.len()).unwrap_or(u32::MAX));
        Self {
            base: *base,
            shift,
            firsts,
        }
    }

    /// The ranges that start in the same slot as an address: those before start before it, those behind start behind it.
    #[inline]
    pub fn near(&self, address: u64) -> Range<usize> {
        let Some(distance) = address.checked_sub(self.base) else {
            return 0..0;
        };
        let slot =
            (distance >> self.shift).min((self.firsts.len() as u64).saturating_sub(2)) as usize;
        match self.firsts.get(slot..slot + 2) {
            Some(&[first, end]) => first as usize..end as usize,
            _ => 0..0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn last_start(index: &RangeIndex, starts: &[u64], address: u64) -> usize {
        let near = index.near(address);
        near.start + starts[near].partition_point(|s| *s <= address)
    }

    #[test]
    fn no_ranges_and_one_range_are_found_like_many() {
        assert_eq!(RangeIndex::new(&[]).near(7), 0..0);
        let one = RangeIndex::new(&[1000]);
        for (address, expected) in [(0, 0), (999, 0), (1000, 1), (u64::MAX, 1)] {
            assert_eq!(last_start(&one, &[1000], address), expected);
        }
    }

    proptest! {
        #[test]
        fn the_index_leads_where_a_search_leads(
            mut starts in prop::collection::vec(prop_oneof![0u64..5_000, any::<u64>()], 1..200),
            addresses in prop::collection::vec(prop_oneof![0u64..6_000, any::<u64>()], 1..200),
        ) {
            starts.sort_unstable();
            starts.dedup();
            let index = RangeIndex::new(&starts);
            prop_assert!(index.firsts.len() <= (1 << SLOT_BITS) + 2);
            for address in addresses.iter().chain(&starts) {
                let expected = starts.partition_point(|s| s <= address);
                prop_assert_eq!(last_start(&index, &starts, *address), expected);
            }
        }
    }
}

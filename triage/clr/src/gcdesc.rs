//! `GCDesc`: where the references of an object lie.
//!
//! It is stored downwards from the method table (gc/gcdesc.h). Nothing in it is believed: counts, offsets and sizes are checked
//! against the object before a slot is read.

use crate::limits;
use crate::method_table::MethodTable;
use leakhound_dump::{Memory, MemoryExt};

/// Places of references in objects of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RefMap {
    /// No references.
    None,
    /// Runs of references: start in the object, and length less the object's size (as the runtime stores it).
    Runs(Vec<(u64, i64)>),
    /// An array of structs: from `start` on, over and over, some references and some bytes to skip.
    Elements { start: u64, items: Vec<(u32, u32)> },
}

impl RefMap {
    /// Reads the description of a type; `None` when it makes no sense.
    pub fn read(memory: &dyn Memory, table: &MethodTable) -> Option<Self> {
        if !table.has_references() {
            return Some(Self::None);
        }
        let at = |distance: u64| table.address.checked_sub(distance);
        #[expect(clippy::cast_possible_wrap, reason = "the runtime stores it signed")]
        let count = memory.u64(at(8)?)? as i64;
        match count {
            // Each run is at least one word of the object.
            1..=limits::GC_SERIES if count.unsigned_abs() <= u64::from(table.base_size) / 8 => {
                let mut runs = Vec::new();
                for i in 0..count.unsigned_abs() {
                    let series = at(8 + 16 * (i + 1))?;
                    #[expect(clippy::cast_possible_wrap, reason = "the runtime stores it signed")]
                    let length = memory.u64(series)? as i64;
                    let start = memory.u64(series + 8)?;
                    if start < 8 || start % 8 != 0 || length % 8 != 0 {
                        return None;
                    }
                    runs.push((start, length));
                }
                Some(Self::Runs(runs))
            }
            _ if (-limits::GC_SERIES..0).contains(&count) => {
                let start = memory.u64(at(16)?)?;
                let mut items = Vec::new();
                let mut stride = 0u64;
                for i in 0..count.unsigned_abs() {
                    let item = at(24 + 8 * i)?;
                    let (references, skip) = (memory.u32(item)?, memory.u32(item + 4)?);
                    stride += u64::from(references) * 8 + u64::from(skip);
                    if (references, skip) != (0, 0) {
                        items.push((references, skip));
                    }
                }
                let aligned = items.iter().all(|(_, skip)| skip % 8 == 0);
                // One round is one element: that also bounds the work for each object by its size.
                let element = u64::from(table.component_size());
                (start >= 8 && start % 8 == 0 && aligned && stride > 0 && stride == element)
                    .then_some(Self::Elements { start, items })
            }
            _ => None,
        }
    }

    /// Calls `run` with the offset and number of words of every run of references in an object of `size` bytes.
    pub fn runs(&self, size: u64, mut run: impl FnMut(u64, u64)) {
        match self {
            Self::None => {}
            Self::Runs(runs) => {
                // Runs never overlap: together they are no longer than the object.
                let mut left = size / 8;
                for (start, length) in runs {
                    // The last word of the object's span is the next one's header: references never reach into it.
                    let bytes = length.saturating_add_unsigned(size);
                    let room = size.saturating_sub(8).saturating_sub(*start);
                    let words = (u64::try_from(bytes).unwrap_or(0) / 8)
                        .min(room / 8)
                        .min(left);
                    left -= words;
                    if words > 0 {
                        run(*start, words);
                    }
                }
            }
            Self::Elements { start, items } => {
                let end = size.saturating_sub(8);
                let mut at = *start;
                // A single item without gaps is one long run.
                if let [(_, 0)] = items.as_slice() {
                    if at < end {
                        run(at, (end - at) / 8);
                    }
                    return;
                }
                while at < end {
                    for (references, skip) in items {
                        let words = u64::from(*references).min(end.saturating_sub(at) / 8);
                        if words > 0 {
                            run(at, words);
                        }
                        at = at.saturating_add(u64::from(*references) * 8 + u64::from(*skip));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_dump::SyntheticMemory;
    use proptest::prelude::*;

    const TABLE: u64 = 0x10_1000;

    /// A method table with references: of an array when it has a component size, else of a class of 40 bytes.
    fn described(words: &[u64], component_size: u64) -> (SyntheticMemory, MethodTable) {
        let mut memory = SyntheticMemory::new();
        memory.map(TABLE - 0x1000, 0x2000);
        for (i, word) in words.iter().enumerate() {
            memory.put_u64(TABLE - 8 * (i as u64 + 1), *word);
        }
        let flags = match component_size {
            0 => 0x0100_0000,
            size => 0x8100_0000 | size,
        };
        memory.put_u64(TABLE, 40 << 32 | flags);
        let table = MethodTable::read(&memory, TABLE).unwrap();
        (memory, table)
    }

    fn slots(map: &RefMap, size: u64) -> Vec<u64> {
        let mut all = Vec::new();
        map.runs(size, |start, words| {
            all.extend((0..words).map(|i| start + i * 8))
        });
        all
    }

    #[test]
    fn runs_of_a_class_are_stored_less_the_object_size() {
        // One series: two references from offset 8 in an object of 40 bytes.
        let (memory, table) = described(&[1, 8, 16u64.wrapping_sub(40)], 0);
        let map = RefMap::read(&memory, &table).unwrap();
        assert_eq!(slots(&map, 40), [8, 16]);
    }

    #[test]
    fn arrays_of_structs_repeat_their_pattern_to_the_end() {
        // Elements of 24 bytes: one reference, then 16 bytes of something else.
        let (memory, table) = described(&[(-1i64) as u64, 16, 16 << 32 | 1], 24);
        let map = RefMap::read(&memory, &table).unwrap();
        assert_eq!(slots(&map, 24 + 3 * 24), [16, 40, 64]);
    }

    #[test]
    fn a_pattern_that_is_not_one_element_long_is_refused() {
        for (words, component_size) in [
            (vec![(-1i64) as u64, 16, 0], 24),
            (vec![(-1i64) as u64, 16, 16 << 32 | 1], 16),
            // More of them than fit into the table's own object.
            (vec![1 << 40], 0),
            (vec![6, 8, 16u64.wrapping_sub(40)], 0),
        ] {
            let (memory, table) = described(&words, component_size);
            assert_eq!(RefMap::read(&memory, &table), None, "{words:x?}");
        }
    }

    proptest! {
        #[test]
        fn slots_stay_inside_of_the_object(words in prop::collection::vec(any::<u64>(), 1..12), small in prop::collection::vec(-6i64..6, 1..12), component in 0u64..6, size in 3u64..400) {
            for words in [words, small.iter().map(|w| (*w * 8) as u64).collect()] {
                let (memory, table) = described(&words, component * 8);
                if let Some(map) = RefMap::read(&memory, &table) {
                    let size = size * 8;
                    prop_assert!(slots(&map, size).iter().all(|s| *s >= 8 && s + 8 <= size - 8 + 8));
                }
            }
        }
    }
}

//! Live strings, and how many bytes repeat a content that another string has already.

use super::rows::{int, row, text};
use super::survey::Survey;
use crate::child::Strings;
use crate::notify::scrub;
use leakhound_clr::Runtime;
use leakhound_dump::Memory;
use leakhound_rules::FactSheet;
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Contents that a sheet names.
const KEEP: usize = 25;
/// Characters of a content that are shown.
const SHOWN_CHARACTERS: usize = 80;
/// Objects per piece of parallel work.
const PIECE: u32 = 1 << 16;
/// Longer strings are compared by their beginning and their length.
const HASHED_BYTES: usize = 1 << 20;
/// Offset of the first character (object.h, `StringObject`): method table, length, text.
const TEXT_OFFSET: u64 = 12;

/// What tells a content from others, in 8 bytes for each live string however many contents there are: 44 bits of its hash, above
/// its size in granules. Among 40 million different contents of one size some 45 pairs are taken for equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(u64);

const SIZE_BITS: u32 = 20;
const GRANULE_BYTES: u64 = 8;
/// Stands for sizes from 8 MB on: those are few, and kept apart.
const LARGE: u64 = (1 << SIZE_BITS) - 1;

impl Key {
    /// A string that could not be read: equal to no other, and the last.
    const UNREAD: Self = Self(u64::MAX);

    fn new(hash: u64, bytes: u64) -> Self {
        Self(hash >> SIZE_BITS << SIZE_BITS | Self::size(bytes))
    }

    fn size(bytes: u64) -> u64 {
        (bytes / GRANULE_BYTES).min(LARGE)
    }
}

/// A content that several strings have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Repeated {
    /// What all but one of them take.
    wasted: u64,
    key: Reverse<Key>,
    count: u64,
}

/// Live strings of a heap.
struct Live<'s, 'a> {
    survey: &'s Survey<'a>,
    string_type: u32,
}

/// Writes `strings.*` and `duplicate_strings`.
pub fn write(survey: &Survey<'_>, strings: Strings, sheet: &mut FactSheet) {
    let Some(string_type) = (0u32..).take(survey.runtime.type_count()).find(|id| {
        survey
            .runtime
            .type_info(leakhound_clr::TypeId(*id))
            .is_some_and(|info| info.string)
    }) else {
        return;
    };
    let live = Live {
        survey,
        string_type,
    };
    let pieces = survey.objects.pieces(PIECE);
    let (counts, bytes) = live.totals(&pieces);
    sheet.int("strings.count", counts.iter().map(|n| *n as u64).sum());
    sheet.int("strings.bytes", bytes);
    let (mut keys, large) = live.keys(&pieces, &counts);
    let (duplicate_bytes, most) = repetitions(&mut keys, &large);
    drop(keys);
    sheet.int("strings.duplicate_bytes", duplicate_bytes);
    let samples = live.samples(&pieces, &most);
    let rows = most.iter().filter_map(|content| {
        let address = survey.objects.address(*samples.get(&content.key.0)?);
        let length = survey.runtime.string_length(address)?;
        let hash = content.key.0.0;
        let value = shown(survey.runtime, strings, address, hash, length);
        Some(row([
            ("value", text(value)),
            ("length", int(length.into())),
            ("count", int(content.count)),
            ("wasted", int(content.wasted)),
        ]))
    });
    sheet
        .lists
        .insert("duplicate_strings".to_owned(), rows.collect());
}

impl Live<'_, '_> {
    fn of(&self, piece: &Range<u32>) -> impl Iterator<Item = u32> {
        let types = self.survey.objects.type_ids();
        piece.clone().filter(move |object| {
            types[*object as usize] == self.string_type && self.survey.is_live(*object)
        })
    }

    /// Strings in each piece, and the bytes of all.
    fn totals(&self, pieces: &[Range<u32>]) -> (Vec<usize>, u64) {
        let sums: Vec<(usize, u64)> = pieces
            .par_iter()
            .map(|piece| {
                self.of(piece).fold((0, 0), |(count, bytes), object| {
                    (count + 1, bytes + self.survey.objects.size(object))
                })
            })
            .collect();
        let bytes = sums.iter().map(|sum| sum.1).sum();
        (sums.into_iter().map(|sum| sum.0).collect(), bytes)
    }

    /// Keys of all strings, and the sizes of large ones by key.
    fn keys(&self, pieces: &[Range<u32>], counts: &[usize]) -> (Vec<Key>, HashMap<Key, u64>) {
        let mut keys = vec![Key::UNREAD; counts.iter().sum()];
        let mut rest = keys.as_mut_slice();
        let mut jobs = Vec::with_capacity(pieces.len());
        for (piece, count) in pieces.iter().zip(counts) {
            let (own, others) = rest.split_at_mut(*count);
            jobs.push((piece, own));
            rest = others;
        }
        let large = Mutex::new(HashMap::new());
        jobs.into_par_iter()
            .for_each_init(Vec::new, |buffer, (piece, own)| {
                for (slot, object) in own.iter_mut().zip(self.of(piece)) {
                    let Some(key) = self.key(object, buffer) else {
                        continue;
                    };
                    *slot = key;
                    let bytes = self.survey.objects.size(object);
                    if Key::size(bytes) == LARGE {
                        let mut large = large.lock().unwrap_or_else(PoisonError::into_inner);
                        large.insert(key, bytes);
                    }
                }
            });
        let large = large.into_inner().unwrap_or_else(PoisonError::into_inner);
        (keys, large)
    }

    fn key(&self, object: u32, buffer: &mut Vec<u8>) -> Option<Key> {
        let address = self.survey.objects.address(object);
        let length = self.survey.runtime.string_length(address)?;
        let whole = (length as usize).saturating_mul(2);
        buffer.resize(whole.min(HASHED_BYTES), 0);
        let memory: &dyn Memory = &**self.survey.runtime.memory();
        if memory.read(address + TEXT_OFFSET, buffer) != buffer.len() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(buffer);
        if whole > HASHED_BYTES {
            hasher.write_u32(length);
        }
        let bytes = self.survey.objects.size(object);
        Some(Key::new(hasher.finish(), bytes))
    }

    /// The first string of each content: found by a second look at strings of these sizes, so that nothing but keys is kept in
    /// the first.
    fn samples(&self, pieces: &[Range<u32>], contents: &[Repeated]) -> HashMap<Key, u32> {
        let wanted: HashSet<Key> = contents.iter().map(|content| content.key.0).collect();
        let sizes: HashSet<u64> = wanted.iter().map(|key| key.0 & LARGE).collect();
        let first = |mut a: HashMap<Key, u32>, b: HashMap<Key, u32>| {
            for (key, object) in b {
                let own = a.entry(key).or_insert(object);
                *own = object.min(*own);
            }
            a
        };
        let of_piece = |buffer: &mut Vec<u8>, piece: &Range<u32>| {
            let mut found = HashMap::new();
            for object in self.of(piece) {
                if sizes.contains(&Key::size(self.survey.objects.size(object)))
                    && let Some(key) = self.key(object, buffer)
                    && wanted.contains(&key)
                {
                    found.entry(key).or_insert(object);
                }
            }
            found
        };
        pieces
            .par_iter()
            .map_init(Vec::new, of_piece)
            .reduce(HashMap::new, first)
    }
}

/// Sorts keys; what repetition costs in all, and the contents that cost most.
fn repetitions(keys: &mut Vec<Key>, large: &HashMap<Key, u64>) -> (u64, Vec<Repeated>) {
    keys.par_sort_unstable();
    keys.truncate(keys.partition_point(|key| *key < Key::UNREAD));
    let mut wasted_in_all = 0;
    // The smallest on top.
    let mut most = BinaryHeap::new();
    for equal in keys.chunk_by(|a, b| a == b).filter(|equal| equal.len() > 1) {
        let key = equal[0];
        let bytes = match key.0 & LARGE {
            LARGE => large.get(&key).copied().unwrap_or_default(),
            granules => granules * GRANULE_BYTES,
        };
        let count = equal.len() as u64;
        let wasted = (count - 1) * bytes;
        wasted_in_all += wasted;
        most.push(Reverse(Repeated {
            wasted,
            key: Reverse(key),
            count,
        }));
        if most.len() > KEEP {
            most.pop();
        }
    }
    let most = most.into_sorted_vec().into_iter().map(|Reverse(one)| one);
    (wasted_in_all, most.collect())
}

/// What may leave the node of the string at `address`: by default length and hash, otherwise a shortened, scrubbed text.
pub(crate) fn shown(
    runtime: &Runtime,
    strings: Strings,
    address: u64,
    hash: u64,
    length: u32,
) -> String {
    match strings {
        Strings::Hashed => format!("{length} characters, #{:08x}", hash >> 32),
        Strings::Scrubbed => {
            let content = runtime
                .string_text(address, SHOWN_CHARACTERS)
                .unwrap_or_default();
            let more = if (length as usize) > SHOWN_CHARACTERS {
                "…"
            } else {
                ""
            };
            format!("\"{}{more}\"", scrub::text(&content))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn repetition_is_what_counting_each_content_says(
            strings in proptest::collection::vec((0u64..60, prop_oneof![22u64..90, Just(9 << 20)]), 0..400),
            unread in 0usize..3,
        ) {
            // Size and hash make a content here.
            let contents = strings.iter().map(|(hash, bytes)| (hash << 40, bytes.next_multiple_of(8)));
            let mut counts: HashMap<(u64, u64), u64> = HashMap::new();
            contents.clone().for_each(|content| *counts.entry(content).or_default() += 1);
            let mut expected: Vec<(u64, u64)> =
                counts.iter().filter(|(_, n)| **n > 1).map(|((_, bytes), n)| ((n - 1) * bytes, *n)).collect();
            let sum: u64 = expected.iter().map(|(wasted, _)| wasted).sum();
            expected.sort_unstable_by_key(|one| Reverse(*one));
            expected.truncate(KEEP);

            let mut keys: Vec<Key> = contents.map(|(hash, bytes)| Key::new(hash, bytes)).collect();
            let large = keys.iter().filter(|key| key.0 & LARGE == LARGE).map(|key| (*key, 9 << 20)).collect();
            keys.extend(vec![Key::UNREAD; unread]);
            let (wasted, most) = repetitions(&mut keys, &large);
            prop_assert_eq!(wasted, sum);
            let found: Vec<u64> = most.iter().map(|one| one.wasted).collect();
            let expected: Vec<u64> = expected.into_iter().map(|(wasted, _)| wasted).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_million_different_contents_take_eight_bytes_each() {
        let mut keys: Vec<Key> = (0..1_000_000u64)
            .map(|i| Key::new(i.wrapping_mul(0x9E37_79B9_7F4A_7C15), 40))
            .collect();
        keys.push(keys[7]);
        let (wasted, most) = repetitions(&mut keys, &HashMap::new());
        assert_eq!((wasted, most.len()), (40, 1));
        assert_eq!(size_of_val(keys.as_slice()), 8 * 1_000_001);
    }
}

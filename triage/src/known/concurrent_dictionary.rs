//! `ConcurrentDictionary<K, V>`: nodes in buckets, counted per lock (3.1 to 10).

use super::{Reading, Shape, Use, View};
use leakhound_dump::MemoryExt;

/// More locks than this no dictionary has (`MaxLockNumber`, 1,024; a caller may ask for more, but hardly for this many).
const LOCKS: u64 = 1 << 16;

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Collections.Concurrent.ConcurrentDictionary`2"],
    usage: Use::Keeps,
    read: |dictionary| {
        let tables = dictionary.object("_tables")?;
        sum_of_ints(&tables.object("_countPerLock")?).map(Reading::linked)
    },
};

fn sum_of_ints(array: &View<'_, '_>) -> Option<u64> {
    let length = array.length().filter(|length| *length <= LOCKS)?;
    let length = usize::try_from(length).ok()?;
    let first = array.address.checked_add(16)?;
    let bytes = array.reader.runtime().memory().bytes(first, length * 4)?;
    bytes
        .chunks_exact(4)
        .map(|c| u64::try_from(i32::from_le_bytes(c.try_into().unwrap_or_default())).ok())
        .sum()
}

//! `Dictionary<K, V>`: entries in one array, places by hash in another (3.1 to 10).

use super::{Reading, Shape, Use};

/// A bucket is an `int`, and there is one for each entry.
const BUCKET_BYTES: u64 = 4;

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Collections.Generic.Dictionary`2"],
    usage: Use::Keeps,
    read: |dictionary| {
        let count = dictionary
            .count("_count")?
            .checked_sub(dictionary.count("_freeCount")?)?;
        let entries = dictionary.reading(count, "_entries")?;
        Some(Reading {
            slot_bytes: entries.slot_bytes + BUCKET_BYTES,
            ..entries
        })
    },
};

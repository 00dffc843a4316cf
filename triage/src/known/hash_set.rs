//! `HashSet<T>`: as `Dictionary` from 5 on; 3.1 calls its entries `_slots` and counts without the free ones.

use super::{Reading, Shape, Use};

const BUCKET_BYTES: u64 = 4;

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Collections.Generic.HashSet`1"],
    usage: Use::Keeps,
    read: |set| {
        let used = set.count("_count")?;
        let entries = if set.has("_slots") {
            set.reading(used, "_slots")?
        } else {
            set.reading(used.checked_sub(set.count("_freeCount")?)?, "_entries")?
        };
        Some(Reading {
            slot_bytes: entries.slot_bytes + BUCKET_BYTES,
            ..entries
        })
    },
};

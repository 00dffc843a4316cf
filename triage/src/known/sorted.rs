//! `SortedSet<T>` and `SortedDictionary<K, V>` (a tree), `SortedList<K, V>` (two arrays); 3.1 to 10.

use super::{Reading, Shape, Use};

pub(super) const SET: Shape = Shape {
    types: &[
        "System.Collections.Generic.SortedSet`1",
        "System.Collections.Generic.SortedDictionary`2",
    ],
    usage: Use::Keeps,
    read: |set| {
        let tree = set.object("_set").unwrap_or(*set);
        tree.count("count")
            .or_else(|| tree.count("_count"))
            .map(Reading::linked)
    },
};

pub(super) const LIST: Shape = Shape {
    types: &["System.Collections.Generic.SortedList`2"],
    usage: Use::Keeps,
    read: |list| {
        let count = list.count("_size")?;
        let keys = list.reading(count, "keys")?;
        let values = list.reading(count, "values")?;
        Some(Reading {
            slot_bytes: keys.slot_bytes + values.slot_bytes,
            ..keys
        })
    },
};

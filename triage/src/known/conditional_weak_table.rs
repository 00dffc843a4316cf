//! `ConditionalWeakTable<K, V>`: entries with dependent handles (3.1 to 10).

use super::{Reading, Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Runtime.CompilerServices.ConditionalWeakTable`2"],
    usage: Use::Keeps,
    read: |table| {
        let container = table.object("_container")?;
        let (capacity, slot_bytes) = container.room("_entries")?;
        // Removed entries are counted until the table is compacted; the true number is at most this.
        let count = container.count("_firstFreeEntry")?.min(capacity);
        Some(Reading {
            count,
            capacity,
            slot_bytes,
            ..Reading::default()
        })
    },
};

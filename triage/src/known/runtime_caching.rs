//! `MemoryCache` of System.Runtime.Caching: its stores, one for each processor, with their entries (package versions 4 to 10).

use super::{Reading, Shape, Use};

/// The cache itself holds its stores by handles.
pub(super) const SHAPE: Shape = Shape {
    types: &["System.Runtime.Caching.MemoryCacheStore"],
    usage: Use::Keeps,
    read: |store| {
        let entries = store.object("_entries")?;
        let count = entries.count_of(&["_count", "count"])?;
        Some(Reading::linked(count))
    },
};

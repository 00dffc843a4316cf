//! Immutable collections: trees that count themselves (System.Collections.Immutable; 3.1 to 10).

use super::{Reading, Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &[
        "System.Collections.Immutable.ImmutableDictionary`2",
        "System.Collections.Immutable.ImmutableHashSet`1",
        "System.Collections.Immutable.ImmutableSortedDictionary`2",
        "System.Collections.Immutable.ImmutableSortedSet`1",
        "System.Collections.Immutable.ImmutableList`1",
    ],
    usage: Use::Keeps,
    read: |collection| {
        collection
            .count("_count")
            .or_else(|| collection.object("_root")?.count("_count"))
            .map(Reading::linked)
    },
};

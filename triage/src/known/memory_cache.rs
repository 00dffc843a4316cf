//! `MemoryCache` of Microsoft.Extensions.Caching.Memory: entries by key (3.1 to 10).

use super::{Reading, Shape, Use, View};

pub(super) const SHAPE: Shape = Shape {
    types: &["Microsoft.Extensions.Caching.Memory.MemoryCache"],
    usage: Use::Keeps,
    read,
};

/// Up to 5 the entries lie in the cache itself, then in `_coherentState`; from 9 on those with string keys lie apart.
fn read(cache: &View<'_, '_>) -> Option<Reading> {
    let state = cache.object("_coherentState").unwrap_or(*cache);
    let counts = ["_entries", "_stringEntries", "_nonStringEntries"]
        .into_iter()
        .filter_map(|name| state.object(name)?.collection())
        .map(|entries| entries.count);
    counts
        .reduce(|a, b| a.saturating_add(b))
        .map(Reading::linked)
}

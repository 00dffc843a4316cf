//! Work that waits for the thread pool: the global queue and one queue per worker (System.Private.CoreLib, `ThreadPoolWorkQueue`).

use super::{Reading, Shape, Use, View};

/// The global queue: two lanes since 3.1.
pub(super) const GLOBAL: Shape = Shape {
    types: &["System.Threading.ThreadPoolWorkQueue"],
    usage: Use::Queues,
    read: |queue| {
        let lanes = ["workItems", "highPriorityWorkItems", "lowPriorityWorkItems"];
        let counts = lanes
            .into_iter()
            .filter_map(|name| queue.object(name)?.collection())
            .map(|lane| lane.count);
        counts
            .reduce(|a, b| a.saturating_add(b))
            .map(Reading::linked)
    },
};

/// A worker's own: a ring between two indexes.
pub(super) const LOCAL: Shape = Shape {
    types: &["System.Threading.ThreadPoolWorkQueue+WorkStealingQueue"],
    usage: Use::Queues,
    read: local,
};

fn local(queue: &View<'_, '_>) -> Option<Reading> {
    let head = queue.int("m_headIndex")?;
    let count = u64::try_from(queue.int("m_tailIndex")? - head).ok()?;
    queue.reading(count, "m_array")
}

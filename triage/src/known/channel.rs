//! `Channel<T>`: what was written and not yet read (System.Threading.Channels; 3.1 to 10).

use super::{Shape, Use};

pub(super) const UNBOUNDED: Shape = Shape {
    types: &["System.Threading.Channels.UnboundedChannel`1"],
    usage: Use::Queues,
    read: |channel| channel.object("_items")?.collection(),
};

/// Its items lie in a `Deque<T>`: a ring in an array.
pub(super) const BOUNDED: Shape = Shape {
    types: &["System.Threading.Channels.BoundedChannel`1"],
    usage: Use::Queues,
    read: |channel| {
        let items = channel.object("_items")?;
        items.reading(items.count("_size")?, "_array")
    },
};

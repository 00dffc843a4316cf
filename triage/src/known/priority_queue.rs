//! `PriorityQueue<TElement, TPriority>`: a heap in an array (6 and later).

use super::{Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Collections.Generic.PriorityQueue`2"],
    usage: Use::Queues,
    read: |queue| queue.reading(queue.count("_size")?, "_nodes"),
};

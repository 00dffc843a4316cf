//! `Queue<T>`: a ring in an array (3.1 to 10).

use super::{Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &[
        "System.Collections.Generic.Queue`1",
        "System.Collections.Queue",
    ],
    usage: Use::Queues,
    read: |queue| queue.reading(queue.count("_size")?, "_array"),
};

//! `ConcurrentStack<T>`: a chain of nodes that nobody counts (3.1 to 10).

use super::{Reading, Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Collections.Concurrent.ConcurrentStack`1"],
    usage: Use::Keeps,
    read: |stack| stack.chain("_head", "_next").map(Reading::linked),
};

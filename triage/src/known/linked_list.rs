//! `LinkedList<T>`: a ring of nodes that counts itself (3.1 to 10).

use super::{Reading, Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Collections.Generic.LinkedList`1"],
    usage: Use::Keeps,
    read: |list| list.count("count").map(Reading::linked),
};

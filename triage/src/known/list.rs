//! `List<T>` and `Stack<T>`: an array and how much of it is used (System.Private.CoreLib, System.Collections; 3.1 to 10).

use super::{Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &[
        "System.Collections.Generic.List`1",
        "System.Collections.ArrayList",
    ],
    usage: Use::Keeps,
    read: |list| list.reading(list.count("_size")?, "_items"),
};

pub(super) const STACK: Shape = Shape {
    types: &[
        "System.Collections.Generic.Stack`1",
        "System.Collections.Stack",
    ],
    usage: Use::Keeps,
    read: |stack| stack.reading(stack.count("_size")?, "_array"),
};

//! `MemoryStream`: bytes written and bytes reserved (3.1 to 10).

use super::{Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &["System.IO.MemoryStream"],
    usage: Use::Keeps,
    read: |stream| stream.reading(stream.count("_length")?, "_buffer"),
};

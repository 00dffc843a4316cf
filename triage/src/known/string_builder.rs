//! `StringBuilder`: a chain of chunks from the last to the first (3.1 to 10).

use super::{Reading, Shape, Use, View};

/// Chunks have at least 16 characters and up to 8,000; a chain this long has no more to tell.
const CHUNKS: usize = 1 << 20;

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Text.StringBuilder"],
    usage: Use::Keeps,
    read,
};

fn read(last: &View<'_, '_>) -> Option<Reading> {
    let mut reading = Reading {
        slot_bytes: 2,
        ..Reading::default()
    };
    let mut chunk = *last;
    for _ in 0..CHUNKS {
        reading.count += chunk.count("m_ChunkLength")?;
        reading.capacity += chunk.room("m_ChunkChars")?.0;
        match chunk.object("m_ChunkPrevious") {
            Some(previous) => chunk = previous,
            None => break,
        }
    }
    (reading.count <= reading.capacity).then_some(reading)
}

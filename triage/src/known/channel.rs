//! `Channel<T>`: what was written and not yet read (System.Threading.Channels; 3.1 to 10).

use super::{Reading, Shape, Use, View};
use leakhound_dump::MemoryExt;

/// `_items` is a collection of the framework; the one with priorities is of 9 and later.
pub(super) const UNBOUNDED: Shape = Shape {
    types: &[
        "System.Threading.Channels.UnboundedChannel`1",
        "System.Threading.Channels.UnboundedPrioritizedChannel`1",
    ],
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

/// With `SingleReader`: a chain of rings, for one writer and one reader at a time.
pub(super) const SINGLE_READER: Shape = Shape {
    types: &["System.Threading.Channels.SingleConsumerUnboundedChannel`1"],
    usage: Use::Queues,
    read: |channel| single_consumer(&channel.object("_items")?),
};

/// Segments double in length up to 2^24, so a chain of them is short.
const SEGMENTS: usize = 1 << 16;
/// The numbers of a segment lie where cache lines meet: of 128 bytes in libraries for any processor, of 64 in those for x64. Three
/// paddings make up most of its size, so that tells which.
const CACHE_LINES: [u64; 2] = [128, 64];

/// `SingleProducerSingleConsumerQueue<T>`: up to 7 its fields were called `m_…`.
fn single_consumer(queue: &View<'_, '_>) -> Option<Reading> {
    let mut reading = Reading::default();
    let mut segment = queue.object_of(&["_head", "m_head"])?;
    for _ in 0..SEGMENTS {
        let array = segment.object_of(&["_array", "m_array"])?;
        let length = array.length()?;
        reading.count += in_segment(&segment, length)?;
        reading.capacity += length;
        reading.slot_bytes = array.element_bytes();
        match segment.object_of(&["_next", "m_next"]) {
            Some(next) => segment = next,
            None => return Some(reading),
        }
    }
    None
}

/// `SegmentState`: padding, `_first`, `_lastCopy`, padding, `_firstCopy`, `_last`, padding.
fn in_segment(segment: &View<'_, '_>, length: u64) -> Option<u64> {
    let place = segment
        .place("_state")
        .or_else(|| segment.place("m_state"))?;
    let bytes = segment.bytes()?;
    let line = CACHE_LINES.into_iter().find(|line| 3 * line <= bytes)?;
    let memory = segment.reader.runtime().memory();
    let word = |at: u64| memory.u32(at).map(u64::from).filter(|n| *n < length);
    let first = word(place.checked_add(line - 4)?)?;
    let last = word(place.checked_add(2 * line + 4)?)?;
    // The length is a power of two; a ring that is full has one place left.
    Some((last + length - first) % length)
}

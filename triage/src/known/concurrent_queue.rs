//! `ConcurrentQueue<T>`: a chain of rings (`ConcurrentQueueSegment<T>`); 3.1 to 10.

use super::{Reading, Shape, Use, View};
use leakhound_dump::MemoryExt;

/// A segment that is full for good has its tail moved on by twice its length (`FreezeOffset`).
const FREEZE_LENGTHS: i64 = 2;
/// `PaddedHeadAndTail`: head and tail lie one and two cache lines into it (x64: 64 bytes; arm64: 128).
const CACHE_LINES: [u64; 2] = [64, 128];
/// Segments double in length up to 2^20, so a chain of them is short.
const SEGMENTS: usize = 1 << 20;

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Collections.Concurrent.ConcurrentQueue`1"],
    usage: Use::Queues,
    read,
};

fn read(queue: &View<'_, '_>) -> Option<Reading> {
    let mut segment = queue.object("_head")?;
    let mut reading = Reading::default();
    for _ in 0..SEGMENTS {
        let (length, slot_bytes) = segment.room("_slots")?;
        reading.capacity += length;
        reading.slot_bytes = slot_bytes;
        reading.count += in_segment(&segment, length)?;
        match segment.object("_nextSegment") {
            Some(next) => segment = next,
            None => return Some(reading),
        }
    }
    None
}

/// As `ConcurrentQueue.GetCount` counts one segment.
fn in_segment(segment: &View<'_, '_>, length: u64) -> Option<u64> {
    let place = segment.place("_headAndTail")?;
    let length = i64::try_from(length).ok().filter(|l| *l > 0)?;
    CACHE_LINES.iter().find_map(|line| {
        let word = |at: u64| {
            let memory = segment.reader.runtime().memory();
            #[expect(clippy::cast_possible_wrap, reason = "the fields are signed")]
            memory.u32(at).map(|v| i64::from(v as i32))
        };
        let head = word(place.checked_add(*line)?)?;
        let tail = word(place.checked_add(2 * *line)?)?;
        let there = tail - head;
        let frozen = there - FREEZE_LENGTHS * length;
        let count = [there, frozen]
            .into_iter()
            .find(|count| (0..=length).contains(count))?;
        u64::try_from(count).ok()
    })
}

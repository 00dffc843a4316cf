//! `ConcurrentBag<T>`: one work-stealing queue per thread (3.1 to 10).

use super::{Reading, Shape, Use};

/// One queue per thread that ever touched the bag.
const QUEUES: usize = 1 << 16;

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Collections.Concurrent.ConcurrentBag`1"],
    usage: Use::Keeps,
    read: |bag| {
        let mut reading = Reading::default();
        let mut next = bag.address_in("_workStealingQueues")?;
        for _ in 0..QUEUES {
            if next == 0 {
                return Some(reading);
            }
            let queue = bag.reader.view(next)?;
            let added = queue.int("_addTakeCount")?;
            let count = u64::try_from(added - queue.int("_stealCount")?).ok()?;
            let own = queue.reading(count, "_array")?;
            reading.count += own.count;
            reading.capacity += own.capacity;
            reading.slot_bytes = own.slot_bytes;
            next = queue.address_in("_nextQueue")?;
        }
        None
    },
};

//! `ArrayPool<T>`: arrays that were given back and wait to be rented.
//!
//! The shared pool (`TlsOverPerCoreLockedStacksArrayPool` up to 7, `SharedArrayPool` from 8 on) has one stack for each size and
//! processor; each thread keeps one more array of each size to itself, which is not counted here. A pool of its own
//! (`ArrayPool.Create`) has one bucket for each size (System.Private.CoreLib, 3.1 to 10).

use super::{Reading, Shape, Use, View};

/// Sizes of a pool: powers of two.
const BUCKETS: usize = 64;
/// Stacks of one size: one for each processor.
const STACKS: usize = 1 << 10;
/// Arrays in one stack: 8 up to 5, 32 now; the caller's choice in pools of their own.
const ARRAYS: usize = 1 << 16;

pub(super) const SHARED: Shape = Shape {
    types: &[
        "System.Buffers.TlsOverPerCoreLockedStacksArrayPool`1",
        "System.Buffers.SharedArrayPool`1",
    ],
    usage: Use::Holds,
    read: shared,
};

pub(super) const OWN: Shape = Shape {
    types: &["System.Buffers.ConfigurableArrayPool`1"],
    usage: Use::Holds,
    read: own,
};

fn shared(pool: &View<'_, '_>) -> Option<Reading> {
    let mut reading = Reading::default();
    for bucket in pool.object("_buckets")?.elements(BUCKETS)? {
        let stacks = bucket.object_of(&["_perCoreStacks", "_partitions"])?;
        for stack in stacks.elements(STACKS)? {
            let used = stack.count("_count")?;
            let arrays = stack.object("_arrays")?;
            let held = arrays.elements(usize::try_from(used).ok()?.min(ARRAYS))?;
            reading.count += used;
            reading.capacity += arrays.length()?;
            reading.idle_bytes += bytes_of(&held);
        }
    }
    Some(reading)
}

fn own(pool: &View<'_, '_>) -> Option<Reading> {
    let mut reading = Reading::default();
    for bucket in pool.object("_buckets")?.elements(BUCKETS)? {
        let buffers = bucket.object("_buffers")?;
        // Rented ones have left their places.
        let held = buffers.elements(ARRAYS)?;
        reading.count += held.len() as u64;
        reading.capacity += buffers.length()?;
        reading.idle_bytes += bytes_of(&held);
    }
    Some(reading)
}

fn bytes_of(arrays: &[View<'_, '_>]) -> u64 {
    let sizes = arrays.iter().filter_map(View::bytes);
    sizes.fold(0, u64::saturating_add)
}

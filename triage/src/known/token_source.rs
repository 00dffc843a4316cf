//! `CancellationTokenSource`: what is registered at it, whether it was cancelled, whether a timer will.
//!
//! System.Private.CoreLib, CancellationTokenSource.cs. Registrations lie in `_registrations` (5 and later) or in
//! `_callbackPartitions` (3.1). `_state` counts on from "not cancelled" to "notifying" and "done": 1, 2, 3 up to 7, then 0, 1, 2.

use super::{Reading, Shape, Use, View};

/// Partitions of registrations: one for each processor.
const PARTITIONS: usize = 1 << 10;

/// The class of every source; linked ones derive from it.
pub const TYPES: &[&str] = &["System.Threading.CancellationTokenSource"];

pub(super) const SHAPE: Shape = Shape {
    types: TYPES,
    usage: Use::Holds,
    read: |source| registrations(source).map(Reading::linked),
};

fn registrations(source: &View<'_, '_>) -> Option<u64> {
    if source.has("_callbackPartitions") {
        let Some(partitions) = source.object("_callbackPartitions") else {
            return Some(0);
        };
        let partitions = partitions.elements(PARTITIONS)?;
        return partitions
            .iter()
            .map(|partition| partition.chain("Callbacks", "Next"))
            .sum();
    }
    match source.address_in("_registrations")? {
        0 => Some(0),
        _ => source.object("_registrations")?.chain("Callbacks", "Next"),
    }
}

impl View<'_, '_> {
    /// A token source was cancelled, and everybody was told.
    #[must_use]
    pub fn is_cancelled(&self) -> Option<bool> {
        const DONE: i64 = 2;
        Some(self.int("_state")? >= DONE)
    }

    /// A timer will cancel a token source.
    #[must_use]
    pub fn has_timer(&self) -> Option<bool> {
        Some(self.address_in("_timer")? != 0)
    }
}

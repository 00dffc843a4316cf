//! Every difference that is no fault of the reader, with its reason. Nothing else may differ.

/// A named difference.
#[derive(Debug)]
pub struct Accepted {
    pub name: &'static str,
    pub reason: &'static str,
}

/// Static references of generic instances up to 8.
pub const GENERIC_STATICS: Accepted = Accepted {
    name: "statics of generic instances, up to .NET 8",
    reason: "the library has no question for them before ISOSDacInterface14 (9.0); the inventory program's own print covers them",
};

/// The first part of the finalization queue.
pub const OLDEST_FINALIZERS: Accepted = Accepted {
    name: "finalizable objects of the last generation",
    reason: "the library gives the end of each part of the queue, but not the start of the first: that of the pinned object heap (large objects in 3.1)",
};

/// All of them.
pub const ALL: &[&Accepted] = &[&GENERIC_STATICS, &OLDEST_FINALIZERS];

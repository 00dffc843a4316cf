//! `ThreadLocal<T>`: one value for each thread that asked for one (3.1 to 10).

use super::{Reading, Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Threading.ThreadLocal`1"],
    usage: Use::Holds,
    // The first link of its chain holds nothing; there is none after Dispose.
    read: |local| {
        let links = local.chain("_linkedSlot", "_next")?;
        links.checked_sub(1).map(Reading::linked)
    },
};

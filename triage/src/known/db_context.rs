//! `DbContext` of Entity Framework Core: the entities that its change tracker holds (3.1 to 9: `StateManager`, `EntityReferenceMap`).

use super::{Reading, Shape, Use};

/// By state; an entity is in one of them. What was detached is no longer tracked.
const MAPS: [&str; 4] = [
    "_unchangedReferenceMap",
    "_addedReferenceMap",
    "_modifiedReferenceMap",
    "_deletedReferenceMap",
];

/// Contexts of an application derive from it.
pub(super) const SHAPE: Shape = Shape {
    types: &["Microsoft.EntityFrameworkCore.DbContext"],
    usage: Use::Holds,
    read: |context| {
        // Made when the context is first used.
        if context.address_in("_dbContextDependencies")? == 0 {
            return Some(Reading::default());
        }
        let tracker = context
            .object("_dbContextDependencies")?
            .object("StateManager")?;
        let map = tracker.object("_entityReferenceMap")?;
        let mut count = 0;
        for name in MAPS {
            // A map is made when the first entity of that state comes.
            if map.address_in(name)? != 0 {
                count += map.object(name)?.collection()?.count;
            }
        }
        Some(Reading::linked(count))
    },
};

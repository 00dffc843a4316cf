//! `BlockingCollection<T>`: a concurrent collection behind two semaphores (3.1 to 10).

use super::{Reading, Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Collections.Concurrent.BlockingCollection`1"],
    usage: Use::Queues,
    read: |collection| {
        let inside = collection.object("_collection")?;
        inside.collection().or_else(|| {
            let waiting = collection.object("_occupiedNodes")?;
            waiting.count("m_currentCount").map(Reading::linked)
        })
    },
};

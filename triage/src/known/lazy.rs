//! `Lazy<T>`: whether its value was made (3.1 to 10: `_state` is null from then on).

use super::{Reading, Shape, Use};

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Lazy`1"],
    usage: Use::Holds,
    read: |lazy| {
        let made = lazy.address_in("_state")? == 0;
        Some(Reading {
            count: u64::from(made),
            capacity: 1,
            ..Reading::default()
        })
    },
};

//! `ExecutionContext`: the `AsyncLocal` values that flow with a call, a timer or a registration, and are kept by it.
//!
//! System.Private.CoreLib, AsyncLocal.cs: maps of one to three values (from 8 on four) are objects with fields, then an array, then a
//! dictionary (3.1 to 10).

use super::{Reading, Shape, Use, View};

pub(super) const SHAPE: Shape = Shape {
    types: &["System.Threading.ExecutionContext"],
    usage: Use::Holds,
    read: |context| match context.address_in("m_localValues")? {
        0 => Some(Reading::default()),
        map => values(&context.reader.view(map)?).map(Reading::linked),
    },
};

const FIXED: [(&str, u64); 5] = [
    ("EmptyAsyncLocalValueMap", 0),
    ("OneElementAsyncLocalValueMap", 1),
    ("TwoElementAsyncLocalValueMap", 2),
    ("ThreeElementAsyncLocalValueMap", 3),
    ("FourElementAsyncLocalValueMap", 4),
];

fn values(map: &View<'_, '_>) -> Option<u64> {
    let info = map.info()?;
    let fixed = FIXED.iter().find(|(name, _)| info.raw_name.ends_with(name));
    if let Some((_, count)) = fixed {
        return Some(*count);
    }
    if map.has("_keyValues") {
        return map.object("_keyValues")?.length();
    }
    map.count("_count")?.checked_sub(map.count("_freeCount")?)
}

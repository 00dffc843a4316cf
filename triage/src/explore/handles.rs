//! `handles`: GC handles by kind, and the bytes of what they lead to.

use super::table::{Cell, Column, ColumnKind, Table};
use super::{ExploreError, Query, Scene, View, object_at};
use leakhound_clr::HandleKind;
use std::collections::{BTreeMap, HashSet};

pub(super) const VIEW: View = View {
    name: "handles",
    about: "GC handles by kind, and the bytes of the objects they lead to",
    argument: None,
    columns: &[
        Column::new("kind", ColumnKind::Word),
        Column::new("count", ColumnKind::Count)
            .titled("handles")
            .summed(),
        Column::new("bytes", ColumnKind::Bytes)
            .titled("in targets")
            .summed(),
    ],
    sort: "count",
    share: Some("count"),
    read,
};

#[derive(Default)]
struct Tally {
    count: u64,
    bytes: u64,
    /// Two handles on one object hold it once.
    targets: HashSet<u64>,
}

fn read(scene: &mut Scene<'_>, _query: &Query) -> Result<Table, ExploreError> {
    let runtime = scene.runtime(true)?;
    let mut kinds: BTreeMap<HandleKind, Tally> = BTreeMap::new();
    runtime.each_handle(|handle| {
        let tally = kinds.entry(handle.kind).or_default();
        tally.count += 1;
        if tally.targets.insert(handle.target) {
            tally.bytes += object_at(runtime, handle.target).map_or(0, |(_, bytes)| bytes);
        }
    });
    let row = |(kind, tally): (HandleKind, Tally)| {
        vec![
            kind.name().into(),
            Cell::Int(tally.count),
            Cell::Int(tally.bytes),
        ]
    };
    Ok(Table {
        rows: kinds.into_iter().map(row).collect(),
        ..Table::default()
    })
}

//! `types`: objects and bytes by type, alive or dead.

use super::table::{Column, ColumnKind, Table};
use super::{ByName, ExploreError, Query, Scene, View, type_name};

pub(super) const VIEW: View = View {
    name: "types",
    about: "objects and bytes by type, alive or dead",
    argument: None,
    columns: &[
        Column::new("type", ColumnKind::Name),
        Column::new("count", ColumnKind::Count)
            .titled("objects")
            .summed(),
        Column::new("bytes", ColumnKind::Bytes).summed(),
    ],
    sort: "bytes",
    share: Some("bytes"),
    read,
};

fn read(scene: &mut Scene<'_>, query: &Query) -> Result<Table, ExploreError> {
    scene.runtime(false)?;
    scene.say(0.2, "walking the heap");
    let runtime = scene.runtime(false)?;
    let histogram = runtime.histogram();
    let mut named = ByName::default();
    for (id, tally) in histogram.types() {
        named.add(type_name(runtime, id), [tally.count, tally.bytes]);
    }
    if query.free {
        let total = histogram.total();
        named.add("Free".to_owned(), [total.free_count, total.free_bytes]);
    }
    Ok(named.into_table())
}

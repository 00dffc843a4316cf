//! `types`: objects and bytes by type, alive or dead.

use super::table::{Column, ColumnKind, Table};
use super::{ByName, ExploreError, Query, Scene, View, type_name};
use leakhound_clr::{Object, RangeStats, TypeId};

pub(super) const VIEW: View = View {
    name: "types",
    about: "objects and bytes by type, alive or dead",
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
    let walk = runtime.walk(Vec::new, |tallies: &mut Vec<(u64, u64)>, object: Object| {
        let at = object.type_id.index();
        if tallies.len() <= at {
            tallies.resize(at + 1, (0, 0));
        }
        tallies[at].0 += 1;
        tallies[at].1 += object.size;
    });
    let mut types: Vec<(u64, u64)> = vec![(0, 0); runtime.type_count()];
    for tallies in &walk.accumulators {
        for (sum, tally) in types.iter_mut().zip(tallies) {
            sum.0 += tally.0;
            sum.1 += tally.1;
        }
    }
    let mut named = ByName::default();
    for (id, (count, bytes)) in (0u32..).zip(types).filter(|(_, t)| t.0 > 0) {
        named.add(type_name(runtime, TypeId(id)), [count, bytes]);
    }
    if query.free {
        let mut all = RangeStats::default();
        walk.ranges.iter().for_each(|(_, stats)| all.add(stats));
        named.add("Free".to_owned(), [all.free_count, all.free_bytes]);
    }
    Ok(named.into_table())
}

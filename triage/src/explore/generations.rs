//! `gen`: every generation of every heap: reserved, committed, in objects, in holes.

use super::table::{Column, ColumnKind, Table};
use super::{ExploreError, Query, Scene, View};
use leakhound_clr::{Generation, Heap, RangeStats, Runtime};

pub(super) const VIEW: View = View {
    name: "gen",
    about: "every generation of every heap: reserved, committed, objects, holes",
    argument: None,
    columns: &[
        Column::new("heap", ColumnKind::Number),
        Column::new("generation", ColumnKind::Word),
        Column::new("reserved_bytes", ColumnKind::Bytes)
            .titled("reserved")
            .summed(),
        Column::new("committed_bytes", ColumnKind::Bytes)
            .titled("committed")
            .summed(),
        Column::new("object_count", ColumnKind::Count)
            .titled("objects")
            .summed(),
        Column::new("object_bytes", ColumnKind::Bytes)
            .titled("in objects")
            .summed(),
        Column::new("free_count", ColumnKind::Count)
            .titled("holes")
            .summed(),
        Column::new("free_bytes", ColumnKind::Bytes)
            .titled("in holes")
            .summed(),
        Column::new("largest_free_bytes", ColumnKind::Bytes).titled("largest hole"),
    ],
    sort: "heap",
    share: Some("committed_bytes"),
    read,
};

/// What the segment tables say of one generation of one heap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Extent {
    reserved_bytes: u64,
    committed_bytes: u64,
}

fn read(scene: &mut Scene<'_>, query: &Query) -> Result<Table, ExploreError> {
    scene.runtime(query.quick)?;
    let mut seen = Vec::new();
    if !query.quick {
        scene.say(0.2, "walking the heap");
        seen = scene.runtime(false)?.walk(|| (), |(), _| {}).ranges;
    }
    let runtime = scene.runtime(query.quick)?;
    let mut rows = Vec::new();
    for heap in runtime.heaps() {
        let extents = extents(heap);
        for generation in Generation::ALL {
            let mut stats = RangeStats::default();
            for (_, part) in seen
                .iter()
                .filter(|(r, _)| (r.heap, r.generation) == (heap.index, generation))
            {
                stats.add(part);
            }
            let walked = |number: u64| (!query.quick).then_some(number).into();
            let extent = extents[generation as usize];
            rows.push(vec![
                heap.index.into(),
                generation.name().into(),
                extent.reserved_bytes.into(),
                extent.committed_bytes.into(),
                walked(stats.object_count),
                walked(stats.object_bytes),
                walked(stats.free_count),
                walked(stats.free_bytes),
                walked(stats.largest_free_bytes),
            ]);
        }
    }
    let notes = describe(runtime);
    Ok(Table {
        rows,
        notes,
        ..Table::default()
    })
}

fn describe(runtime: &Runtime) -> Vec<String> {
    let info = runtime.info();
    let kind = if info.server_gc {
        "server"
    } else {
        "workstation"
    };
    let layout = if info.regions { "regions" } else { "segments" };
    vec![format!(".NET {}, {kind} GC, {layout}.", info.version)]
}

/// Reserved and committed bytes by generation. The ephemeral segment is shared: its older parts own the bytes they fill, the
/// youngest owns the rest.
fn extents(heap: &Heap) -> [Extent; 6] {
    let mut all = [Extent::default(); 6];
    for segment in &heap.segments {
        let mut older_bytes = 0;
        for part in segment
            .parts
            .iter()
            .filter(|p| p.generation != segment.generation)
        {
            let bytes = part.end.saturating_sub(part.start);
            all[part.generation as usize].reserved_bytes += bytes;
            all[part.generation as usize].committed_bytes += bytes;
            older_bytes += bytes;
        }
        let own = &mut all[segment.generation as usize];
        own.reserved_bytes += segment.reserved_bytes().saturating_sub(older_bytes);
        own.committed_bytes += segment.committed_bytes().saturating_sub(older_bytes);
    }
    all
}

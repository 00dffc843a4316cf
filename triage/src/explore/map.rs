//! `map`: the address space, each stretch with what it is for.

use super::table::{Cell, Column, ColumnKind, Table};
use super::{ExploreError, Query, Scene, View};
use crate::facts::account::{self, Mapping};
use leakhound_clr::{Generation, NoRuntime, Runtime};
use leakhound_dump::ProcessImage;

pub(super) const VIEW: View = View {
    name: "map",
    about: "the address space: what each stretch is for",
    argument: None,
    columns: &[
        Column::new("start", ColumnKind::Address),
        Column::new("end", ColumnKind::Address),
        Column::new("bytes", ColumnKind::Bytes).summed(),
        Column::new("resident_bytes", ColumnKind::Bytes)
            .titled("resident")
            .summed(),
        Column::new("kind", ColumnKind::Word),
        Column::new("protection", ColumnKind::Word).titled("access"),
        Column::new("name", ColumnKind::Name),
    ],
    sort: "start",
    share: Some("bytes"),
    read,
};

/// A stretch that belongs to the GC.
struct GcRange {
    start: u64,
    end: u64,
    kind: &'static str,
    name: String,
}

fn read(scene: &mut Scene<'_>, _query: &Query) -> Result<Table, ExploreError> {
    let mut table = Table::default();
    let gc = match scene.runtime(true) {
        Ok(runtime) => gc_ranges(runtime),
        Err(error) => {
            if !matches!(error, NoRuntime::NotDotNet { .. }) {
                table.notes.push(error.to_string());
            }
            Vec::new()
        }
    };
    let image = &scene.subject.image;
    let map = scene
        .subject
        .manifest
        .as_ref()
        .map_or(&[][..], |m| &m.memory_map);
    if map.is_empty() {
        table.notes.push(
            "No memory map was saved with this dump: these are the regions that the dump holds."
                .to_owned(),
        );
    }
    let mappings = account::mappings(image, map);
    let images = account::image_paths(&mappings);
    let mut stacks: Vec<(u64, u32, Option<&str>)> = image
        .threads
        .iter()
        .map(|t| (t.sp, t.os_id, t.name.as_deref()))
        .collect();
    stacks.sort_unstable();
    for mapping in &mappings {
        let (kind, name) = describe(image, mapping, &images, &stacks);
        for (start, end, owner) in pieces(mapping, &gc) {
            let (kind, name) = owner.map_or((kind, name.as_str()), |o| (o.kind, o.name.as_str()));
            // What a mapping costs is known of the whole only.
            let whole = (start, end) == (mapping.start, mapping.end);
            let resident = (!map.is_empty() && whole).then_some(mapping.cost);
            table.rows.push(vec![
                Cell::Address(start),
                Cell::Address(end),
                Cell::Int(end - start),
                resident.into(),
                kind.into(),
                mapping.protection().into(),
                name.into(),
            ]);
        }
    }
    Ok(table)
}

/// Segments and regions, committed and reserved parts apart, sorted, without overlap.
fn gc_ranges(runtime: &Runtime) -> Vec<GcRange> {
    let mut ranges = Vec::new();
    for segment in runtime.heaps().iter().flat_map(|h| &h.segments) {
        let mut add = |start: u64, end: u64, kind, generation: Generation| {
            if start < end {
                let name = format!("{}, heap {}", generation.name(), segment.heap);
                ranges.push(GcRange {
                    start,
                    end,
                    kind,
                    name,
                });
            }
        };
        // Generations share the ephemeral segment: the older ones own what they fill, the youngest owns the rest.
        let mut at = segment.start & !0xFFF;
        for part in segment
            .parts
            .iter()
            .filter(|p| p.generation != segment.generation)
        {
            add(at, part.end, "gc", part.generation);
            at = part.end;
        }
        add(at, segment.committed_end, "gc", segment.generation);
        add(
            segment.committed_end,
            segment.reserved_end,
            "gc reserved",
            segment.generation,
        );
    }
    ranges.sort_unstable_by_key(|r| r.start);
    let mut covered = 0;
    ranges.retain(|r| {
        let apart = r.start >= covered;
        covered = covered.max(r.end);
        apart
    });
    ranges
}

/// A mapping cut where the GC's ranges begin and end.
fn pieces<'a>(mapping: &Mapping<'_>, gc: &'a [GcRange]) -> Vec<(u64, u64, Option<&'a GcRange>)> {
    let mut pieces = Vec::new();
    let mut at = mapping.start;
    let first = gc.partition_point(|r| r.end <= mapping.start);
    for range in gc[first..].iter().take_while(|r| r.start < mapping.end) {
        if at < range.start {
            pieces.push((at, range.start, None));
        }
        let (from, to) = (range.start.max(at), range.end.min(mapping.end));
        pieces.push((from, to, Some(range)));
        at = to;
    }
    if at < mapping.end {
        pieces.push((at, mapping.end, None));
    }
    pieces
}

fn describe(
    image: &ProcessImage,
    mapping: &Mapping<'_>,
    images: &std::collections::HashSet<&str>,
    stacks: &[(u64, u32, Option<&str>)],
) -> (&'static str, String) {
    let kind = account::kind_of(image, mapping, images);
    if kind == "stack" {
        let at = stacks.partition_point(|(sp, ..)| *sp < mapping.start);
        if let Some((_, os_id, name)) = stacks.get(at).filter(|(sp, ..)| *sp < mapping.end) {
            let name = name.map_or_else(String::new, |n| format!(" {n}"));
            return (kind, format!("thread {os_id}{name}"));
        }
    }
    if mapping.path.is_empty() {
        // Windows: the dump has modules, but no list of file mappings.
        let module = image.modules.partition_point(|m| m.base <= mapping.start);
        if let Some(module) = module.checked_sub(1).map(|i| &image.modules[i])
            && mapping.start - module.base < module.size
        {
            return ("image", module.path.display().to_string());
        }
    }
    (kind, mapping.path.to_owned())
}

//! GC handles by kind; what pinned ones hold in place, and the holes they keep open.

use super::rows::{int, row, text};
use super::survey::Survey;
use leakhound_clr::{Generation, HandleKind, TypeId};
use leakhound_rules::FactSheet;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Rows kept per list.
const KEEP: usize = 100;

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: u64,
    bytes: u64,
    free_nearby: u64,
}

/// Writes `handles.*`, `handle_kinds`, `handle_targets`, `pinned` and `soh.pinned_free`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let objects = &survey.objects;
    let mut kinds: BTreeMap<HandleKind, u64> = BTreeMap::new();
    let mut targets: HashMap<(HandleKind, TypeId), Tally> = HashMap::new();
    let mut held: HashMap<(HandleKind, TypeId), Vec<u32>> = HashMap::new();
    let mut generations: BTreeMap<(HandleKind, Option<Generation>), Tally> = BTreeMap::new();
    let mut pinned: HashMap<(TypeId, Generation), Tally> = HashMap::new();
    let mut pinned_objects: HashSet<u32> = HashSet::new();
    for handle in &survey.handles {
        *kinds.entry(handle.kind).or_default() += 1;
        let found = objects.index_of(handle.target);
        let place = found.map(|object| objects.generation(object));
        let by_generation = generations.entry((handle.kind, place)).or_default();
        by_generation.count += 1;
        by_generation.bytes += found.map_or(0, |object| objects.size(object));
        let Some(object) = found else {
            continue;
        };
        let id = objects.type_id(object);
        let bytes = objects.size(object);
        let tally = targets.entry((handle.kind, id)).or_default();
        tally.count += 1;
        tally.bytes += bytes;
        // What a dependent handle attaches lives as long as its target, which lives without it too.
        let kept = match handle.kind {
            HandleKind::Strong => Some(object),
            HandleKind::Dependent => objects.index_of(handle.secondary),
            _ => None,
        };
        if let Some(kept) = kept {
            held.entry((handle.kind, id)).or_default().push(kept);
        }
        if handle.kind.is_pinned() {
            let tally = pinned.entry((id, objects.generation(object))).or_default();
            tally.count += 1;
            // Two handles on one object hold it once.
            if pinned_objects.insert(object) {
                tally.bytes += bytes;
                tally.free_nearby += objects.hole_before(object) + objects.hole_after(object);
            }
        }
    }
    let of = |kinds: &BTreeMap<HandleKind, u64>, wanted: &[HandleKind]| -> u64 {
        wanted.iter().filter_map(|k| kinds.get(k)).sum()
    };
    sheet.int("handles.total", kinds.values().sum());
    for (name, wanted) in [
        ("handles.strong", &[HandleKind::Strong][..]),
        ("handles.pinned", &[HandleKind::Pinned]),
        ("handles.async_pinned", &[HandleKind::AsyncPinned]),
        (
            "handles.weak",
            &[HandleKind::WeakShort, HandleKind::WeakLong],
        ),
        ("handles.dependent", &[HandleKind::Dependent]),
        ("handles.ref_counted", &[HandleKind::RefCounted]),
        ("handles.sized_ref", &[HandleKind::SizedRef]),
    ] {
        sheet.int(name, of(&kinds, wanted));
    }
    sheet.int("handles.weak_dead", survey.runtime.dead_weak_handles());
    sheet.int(
        "handles.pinned_bytes",
        pinned.values().map(|t| t.bytes).sum(),
    );
    sheet.int("soh.pinned_free", pinned_free(survey, &pinned_objects));

    let rows = generations.iter().map(|((kind, generation), tally)| {
        row([
            ("kind", text(kind.name())),
            ("generation", text(generation.map_or("", Generation::name))),
            ("count", int(tally.count)),
            ("bytes", int(tally.bytes)),
        ])
    });
    sheet
        .lists
        .insert("handle_kinds".to_owned(), rows.collect());

    let mut rows: Vec<((TypeId, Generation), Tally)> = pinned.into_iter().collect();
    rows.sort_by_key(|((id, generation), t)| {
        (
            std::cmp::Reverse((t.free_nearby, t.count)),
            *generation,
            survey.runtime.table_of(*id),
        )
    });
    let name = |id: TypeId| {
        let info = survey.runtime.type_info(id);
        info.map_or_else(|| "?".to_owned(), |info| info.name.clone())
    };
    sheet.lists.insert(
        "pinned".to_owned(),
        rows.into_iter()
            .take(KEEP)
            .map(|((id, generation), tally)| {
                row([
                    ("type", text(name(id))),
                    ("generation", text(generation.name())),
                    ("count", int(tally.count)),
                    ("bytes", int(tally.bytes)),
                    ("free_nearby", int(tally.free_nearby)),
                ])
            })
            .collect(),
    );
    let mut rows: Vec<((HandleKind, TypeId), Tally)> = targets.into_iter().collect();
    rows.sort_by_key(|((kind, id), t)| {
        (
            std::cmp::Reverse(t.count),
            *kind,
            survey.runtime.table_of(*id),
        )
    });
    sheet.lists.insert(
        "handle_targets".to_owned(),
        rows.into_iter()
            .take(KEEP)
            .map(|((kind, id), tally)| {
                let mut columns = row([
                    ("kind", text(kind.name())),
                    ("type", text(name(id))),
                    ("count", int(tally.count)),
                    ("bytes", int(tally.bytes)),
                ]);
                if let Some(kept) = held.remove(&(kind, id)) {
                    if kind == HandleKind::Dependent {
                        let value = most(kept.iter().map(|object| objects.type_id(*object)));
                        columns.extend(value.map(|id| ("value", text(name(id)))));
                    }
                    let retained = survey.retained_together(kept);
                    columns.insert("retained".to_owned(), int(retained));
                }
                columns
            })
            .collect(),
    );
}

/// What occurs most often; of equals the first by id.
fn most(all: impl Iterator<Item = TypeId>) -> Option<TypeId> {
    let mut counts: BTreeMap<TypeId, u64> = BTreeMap::new();
    for id in all {
        *counts.entry(id).or_default() += 1;
    }
    let (_, id) = counts
        .into_iter()
        .map(|(id, n)| ((n, std::cmp::Reverse(id)), id))
        .max()?;
    Some(id)
}

/// Holes of generations 0 to 2 next to a pinned object, each counted once.
fn pinned_free(survey: &Survey<'_>, pinned: &HashSet<u32>) -> u64 {
    let objects = &survey.objects;
    let mut total = 0;
    for object in pinned {
        if !objects.generation(*object).is_small() {
            continue;
        }
        total += objects.hole_after(*object);
        // The hole before belongs to the object before when that one is pinned too.
        if object
            .checked_sub(1)
            .is_none_or(|before| !pinned.contains(&before))
        {
            total += objects.hole_before(*object);
        }
    }
    total
}

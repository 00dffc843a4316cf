//! Collections: what passes through the long ones, and what room the roomy ones waste.

use super::path::Paths;
use super::rows::{int, row, text};
use super::survey::Survey;
use crate::known::{self, Reader, Reading, Use};
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Value};
use rayon::prelude::*;
use std::collections::HashMap;

/// Queues that a sheet names.
const QUEUES: usize = 30;
/// Shorter queues are nobody's backlog.
const SHORTEST_QUEUE: u64 = 100;
/// Collection types that a sheet names.
const TYPES: usize = 50;
/// Types that waste less are not worth a row.
const LEAST_WASTE_BYTES: u64 = 64 << 10;
/// Objects per piece of parallel work.
const PIECE: u32 = 1 << 17;

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: u64,
    elements: u64,
    capacity: u64,
    wasted_bytes: u64,
    empty: u64,
    /// The collection that wastes most, with how much.
    worst: Option<(u64, u32)>,
}

impl Tally {
    fn add(&mut self, object: u32, reading: Reading) {
        let wasted = reading.wasted_bytes();
        self.count += 1;
        self.elements = self.elements.saturating_add(reading.count);
        self.capacity = self.capacity.saturating_add(reading.capacity);
        self.wasted_bytes = self.wasted_bytes.saturating_add(wasted);
        self.empty += u64::from(reading.count == 0);
        self.worst = self.worst.max(Some((wasted, object)));
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.elements = self.elements.saturating_add(other.elements);
        self.capacity = self.capacity.saturating_add(other.capacity);
        self.wasted_bytes = self.wasted_bytes.saturating_add(other.wasted_bytes);
        self.empty += other.empty;
        self.worst = self.worst.max(other.worst);
    }
}

#[derive(Default)]
struct Found {
    types: HashMap<TypeId, Tally>,
    /// Elements and object.
    queues: Vec<(u64, u32)>,
}

/// Writes `collections`, `queues` and `threadpool.queued`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let shapes: Vec<Option<&known::Shape>> = (0u32..)
        .take(survey.runtime.type_count())
        .map(|id| {
            let info = survey.runtime.type_info(TypeId(id))?;
            known::shape_of(&info.raw_name)
        })
        .collect();
    let objects = &survey.objects;
    let found = objects
        .pieces(PIECE)
        .into_par_iter()
        .map(|piece| {
            let reader = Reader::new(survey.runtime);
            let mut found = Found::default();
            for object in piece {
                let id = objects.type_id(object);
                let Some(shape) = shapes.get(id.index()).copied().flatten() else {
                    continue;
                };
                if !survey.is_live(object) {
                    continue;
                }
                let view = reader.view_as(objects.address(object), id);
                let Some(reading) = (shape.read)(&view) else {
                    continue;
                };
                found.types.entry(id).or_default().add(object, reading);
                if shape.usage == Use::Queues && reading.count >= SHORTEST_QUEUE {
                    found.queues.push((reading.count, object));
                }
            }
            found
        })
        .reduce(Found::default, |mut all, part| {
            for (id, tally) in part.types {
                all.types.entry(id).or_default().merge(&tally);
            }
            all.queues.extend(part.queues);
            all
        });
    sheet.int("threadpool.queued", pool_work(survey, &found));
    let mut paths = Paths::new(survey);
    write_types(survey, &mut paths, &found, sheet);
    write_queues(survey, &mut paths, found.queues, sheet);
}

/// Work items in the pool's queues, global and local.
fn pool_work(survey: &Survey<'_>, found: &Found) -> u64 {
    let of_pool = |id: &TypeId| {
        let info = survey.runtime.type_info(*id);
        info.is_some_and(|info| {
            info.raw_name
                .starts_with("System.Threading.ThreadPoolWorkQueue")
        })
    };
    let pool = found.types.iter().filter(|(id, _)| of_pool(id));
    pool.map(|(_, tally)| tally.elements).sum()
}

fn write_types(
    survey: &Survey<'_>,
    paths: &mut Paths<'_, '_>,
    found: &Found,
    sheet: &mut FactSheet,
) {
    let mut types: Vec<(&TypeId, &Tally)> = found
        .types
        .iter()
        .filter(|(_, tally)| tally.wasted_bytes >= LEAST_WASTE_BYTES)
        .collect();
    types.sort_by_key(|(id, tally)| {
        (
            std::cmp::Reverse(tally.wasted_bytes),
            survey.runtime.table_of(**id),
        )
    });
    let rows = types.into_iter().take(TYPES).filter_map(|(id, tally)| {
        let worst = tally.worst.and_then(|(_, object)| paths.to(object));
        Some(row([
            ("type", text(survey.runtime.type_info(*id)?.name.clone())),
            ("count", int(tally.count)),
            ("elements", int(tally.elements)),
            ("capacity", int(tally.capacity)),
            ("empty", int(tally.empty)),
            ("wasted", int(tally.wasted_bytes)),
            (
                "path",
                Value::Texts(worst.map(|path| path.steps).unwrap_or_default()),
            ),
        ]))
    });
    let rows = rows.collect();
    sheet.lists.insert("collections".to_owned(), rows);
}

fn write_queues(
    survey: &Survey<'_>,
    paths: &mut Paths<'_, '_>,
    mut queues: Vec<(u64, u32)>,
    sheet: &mut FactSheet,
) {
    // A channel and the queue inside of it are one backlog: the outer one names it.
    let inner: Vec<u32> = queues
        .iter()
        .filter(|(_, object)| {
            let parent = survey.owners.parent(*object);
            parent.is_some_and(|parent| queues.iter().any(|(_, outer)| *outer == parent))
        })
        .map(|(_, object)| *object)
        .collect();
    queues.retain(|(_, object)| !inner.contains(object));
    queues.sort_by_key(|(count, object)| (std::cmp::Reverse(*count), *object));
    queues.truncate(QUEUES);
    let rows = queues.into_iter().filter_map(|(count, object)| {
        let path = paths.to(object)?;
        Some(row([
            ("queue", text(name_of(&path, survey, object))),
            ("type", text(survey.short_type_name(object))),
            ("elements", int(count)),
            ("retained", int(survey.retained(object))),
            ("path", Value::Texts(path.steps)),
        ]))
    });
    let rows = rows.collect();
    sheet.lists.insert("queues".to_owned(), rows);
}

/// The field that a developer knows it by.
fn name_of(path: &super::path::Path, survey: &Survey<'_>, object: u32) -> String {
    if !path.holder.is_empty() {
        return path.holder.clone();
    }
    path.static_field
        .clone()
        .unwrap_or_else(|| survey.short_type_name(object))
}

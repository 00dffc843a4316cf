//! Collections and other holders: what passes through the long ones, what room the roomy ones waste, what all of them hold.

use super::ages::{Age, Ages};
use super::path::Paths;
use super::rows::{int, row, text};
use super::survey::Survey;
use crate::known::{self, Reader, Reading, Use};
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Row, Value};
use rayon::prelude::*;
use std::collections::HashMap;

/// Queues that a sheet names.
const QUEUES: usize = 30;
/// Shorter queues are nobody's backlog.
const SHORTEST_QUEUE: u64 = 100;
/// Collection types that a sheet names.
const TYPES: usize = 50;
/// Types of well-known objects that a sheet names.
const SHAPES: usize = 120;
/// What keeps less alive has no path in the sheet.
const WORTH_A_PATH_BYTES: u64 = 64 << 10;
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
    idle_bytes: u64,
    /// The one that holds most, with how many elements.
    largest: Option<(u64, u32)>,
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
        self.idle_bytes = self.idle_bytes.saturating_add(reading.idle_bytes);
        self.largest = self.largest.max(Some((reading.count, object)));
        self.worst = self.worst.max(Some((wasted, object)));
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.elements = self.elements.saturating_add(other.elements);
        self.capacity = self.capacity.saturating_add(other.capacity);
        self.wasted_bytes = self.wasted_bytes.saturating_add(other.wasted_bytes);
        self.empty += other.empty;
        self.idle_bytes = self.idle_bytes.saturating_add(other.idle_bytes);
        self.largest = self.largest.max(other.largest);
        self.worst = self.worst.max(other.worst);
    }
}

#[derive(Default)]
struct Found {
    types: HashMap<TypeId, Tally>,
    /// Elements and object.
    queues: Vec<(u64, u32)>,
}

/// Writes `collections`, `shapes`, `queues` and `threadpool.queued`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let shapes: Vec<Option<&known::Shape>> = (0u32..)
        .take(survey.runtime.type_count())
        .map(|id| known::shape_of_type(survey.runtime, TypeId(id)))
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
    let mut ages = Ages::new(survey);
    write_types(survey, &mut paths, &found, sheet);
    write_shapes(survey, &shapes, &found, sheet, &mut paths, &mut ages);
    write_queues(survey, &mut paths, found.queues, &mut ages, sheet);
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

/// All types with what their objects hold: those that are no collections first, then by what the largest one keeps alive.
fn write_shapes(
    survey: &Survey<'_>,
    shapes: &[Option<&known::Shape>],
    found: &Found,
    sheet: &mut FactSheet,
    paths: &mut Paths<'_, '_>,
    ages: &mut Ages<'_, '_>,
) {
    let mut types: Vec<(bool, u64, TypeId, &Tally, u32)> = found
        .types
        .iter()
        .filter_map(|(id, tally)| {
            let (_, largest) = tally.largest?;
            let shape = shapes.get(id.index()).copied().flatten()?;
            let retained = survey.retained(largest);
            Some((shape.usage == Use::Holds, retained, *id, tally, largest))
        })
        .collect();
    types.sort_by_key(|(holds, retained, id, ..)| {
        (
            std::cmp::Reverse((*holds, *retained)),
            survey.runtime.table_of(*id),
        )
    });
    let mut rows = Vec::new();
    for (_, retained, id, tally, largest) in types.into_iter().take(SHAPES) {
        let Some(info) = survey.runtime.type_info(id) else {
            continue;
        };
        let mut columns = row([
            ("type", text(info.name.clone())),
            ("count", int(tally.count)),
            ("elements", int(tally.elements)),
            ("capacity", int(tally.capacity)),
            ("largest", int(tally.largest.map_or(0, |(count, _)| count))),
            ("retained", int(retained)),
        ]);
        if retained >= WORTH_A_PATH_BYTES
            && let Some(path) = paths.to(largest)
        {
            columns.insert("path".to_owned(), Value::Texts(path.steps));
        }
        if tally.idle_bytes > 0 {
            columns.insert("idle".to_owned(), int(tally.idle_bytes));
        }
        add_age(&mut columns, ages.of(largest), sheet);
        rows.push(columns);
    }
    sheet.lists.insert("shapes".to_owned(), rows);
}

/// How long before the capture the oldest and the newest element came.
fn add_age(columns: &mut Row, age: Option<Age>, sheet: &FactSheet) {
    let Some((age, captured_ms)) = age.zip(sheet.subject.captured_at_ms) else {
        return;
    };
    for (name, moment_ms) in [("oldest", age.oldest_ms), ("newest", age.newest_ms)] {
        if let Ok(span) = u64::try_from(captured_ms - moment_ms) {
            columns.insert(name.to_owned(), int(span));
        }
    }
    columns.insert("moment".to_owned(), text(age.field));
}

fn write_queues(
    survey: &Survey<'_>,
    paths: &mut Paths<'_, '_>,
    mut queues: Vec<(u64, u32)>,
    ages: &mut Ages<'_, '_>,
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
    let mut rows = Vec::new();
    for (count, object) in queues {
        let Some(path) = paths.to(object) else {
            continue;
        };
        let mut columns = row([
            ("queue", text(name_of(&path, survey, object))),
            ("type", text(survey.short_type_name(object))),
            ("elements", int(count)),
            ("retained", int(survey.retained(object))),
            ("path", Value::Texts(path.steps)),
        ]);
        add_age(&mut columns, ages.of(object), sheet);
        rows.push(columns);
    }
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

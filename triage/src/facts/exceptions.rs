//! Exceptions that are kept, with what they keep: traces, messages, inner exceptions.

use super::path::Paths;
use super::rows::{int, row, text};
use super::survey::Survey;
use crate::known::Reader;
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Value};
use std::collections::HashMap;

/// Types that a sheet names.
const KEEP: usize = 30;

#[derive(Default)]
struct Tally {
    count: u64,
    bytes: u64,
    objects: Vec<u32>,
    retained_bytes: u64,
    thrown: u64,
    deepest: u64,
    heaviest: Option<(u64, u32)>,
}

/// Writes `exceptions`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let runtime = survey.runtime;
    let is_exception = |id: TypeId| {
        let bases = runtime.base_types(id).into_iter();
        let mut names = bases.filter_map(|base| runtime.type_info(base));
        names.any(|info| info.raw_name == "System.Exception")
    };
    let exceptions: Vec<bool> = (0u32..)
        .take(runtime.type_count())
        .map(|id| is_exception(TypeId(id)))
        .collect();
    let reader = Reader::new(runtime);
    let mut types: HashMap<TypeId, Tally> = HashMap::new();
    for (object, id) in (0u32..).zip(survey.objects.type_ids()) {
        let wanted = exceptions.get(*id as usize).copied().unwrap_or(false);
        if !wanted || !survey.is_live(object) {
            continue;
        }
        let retained = survey.retained(object);
        let view = reader.view_as(survey.objects.address(object), TypeId(*id));
        let tally = types.entry(TypeId(*id)).or_default();
        tally.count += 1;
        tally.thrown += u64::from(view.was_thrown() == Some(true));
        tally.deepest = tally.deepest.max(view.inner_exceptions().unwrap_or(0));
        tally.bytes += survey.objects.size(object);
        tally.objects.push(object);
        tally.heaviest = tally.heaviest.max(Some((retained, object)));
    }
    let mut types: Vec<(TypeId, Tally)> = types.into_iter().collect();
    for (_, tally) in &mut types {
        // One exception holds another: what both hold counts once.
        tally.retained_bytes = survey.retained_together(tally.objects.drain(..));
    }
    types.sort_by_key(|(id, tally)| {
        (
            std::cmp::Reverse(tally.retained_bytes),
            runtime.table_of(*id),
        )
    });
    types.truncate(KEEP);
    let mut paths = Paths::new(survey);
    let rows = types.into_iter().filter_map(|(id, tally)| {
        let heaviest = tally.heaviest.and_then(|(_, object)| paths.to(object));
        Some(row([
            ("type", text(runtime.type_info(id)?.name.clone())),
            ("count", int(tally.count)),
            ("bytes", int(tally.bytes)),
            ("retained", int(tally.retained_bytes)),
            ("thrown", int(tally.thrown)),
            ("inner", int(tally.deepest)),
            (
                "path",
                Value::Texts(heaviest.map(|path| path.steps).unwrap_or_default()),
            ),
        ]))
    });
    let rows = rows.collect();
    sheet.lists.insert("exceptions".to_owned(), rows);
}

//! Live arrays on the large object heap: which types, and who holds the largest.

use super::path::Paths;
use super::rows::{int, row, text};
use super::survey::Survey;
use leakhound_clr::{Generation, TypeId};
use leakhound_rules::{FactSheet, Value};
use std::collections::HashMap;

/// Types that a sheet names.
const KEEP: usize = 30;

#[derive(Default, Clone, Copy)]
struct Tally {
    count: u64,
    bytes: u64,
    largest: Option<(u64, u32)>,
}

/// Writes `large_arrays`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let objects = &survey.objects;
    let mut types: HashMap<TypeId, Tally> = HashMap::new();
    for piece in objects.pieces(u32::MAX) {
        if objects.generation(piece.start) != Generation::Loh {
            continue;
        }
        for object in piece.filter(|object| survey.is_live(*object)) {
            let bytes = objects.size(object);
            let tally = types.entry(objects.type_id(object)).or_default();
            tally.count += 1;
            tally.bytes += bytes;
            tally.largest = tally.largest.max(Some((bytes, object)));
        }
    }
    let mut types: Vec<(TypeId, Tally)> = types.into_iter().collect();
    types.sort_by_key(|(id, tally)| (std::cmp::Reverse(tally.bytes), survey.runtime.table_of(*id)));
    let mut paths = Paths::new(survey);
    let rows = types.into_iter().filter_map(|(id, tally)| {
        let info = survey.runtime.type_info(id).filter(|info| info.array)?;
        let largest = tally.largest.and_then(|(_, object)| paths.to(object));
        Some(row([
            ("type", text(info.name.clone())),
            ("count", int(tally.count)),
            ("bytes", int(tally.bytes)),
            (
                "path",
                Value::Texts(largest.map(|path| path.steps).unwrap_or_default()),
            ),
        ]))
    });
    let rows = rows.take(KEEP).collect();
    sheet.lists.insert("large_arrays".to_owned(), rows);
}

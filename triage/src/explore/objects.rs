//! `objects TYPE`: every object of a type, alive or dead.

use super::table::{Cell, Column, ColumnKind, Table};
use super::{ExploreError, Query, ROWS_MAX, Scene, View};
use leakhound_clr::{Generation, Object, Runtime, Tally, TypeId};
use std::collections::HashSet;

pub(super) const VIEW: View = View {
    name: "objects",
    about: "every object of a type: address, generation, bytes",
    argument: Some("TYPE"),
    columns: &[
        Column::new("address", ColumnKind::Address),
        Column::new("generation", ColumnKind::Word),
        Column::new("bytes", ColumnKind::Bytes).summed(),
        Column::new("type", ColumnKind::Name),
    ],
    sort: "bytes",
    share: None,
    read,
};

/// An object that may be among the rows.
type Found = (u64, u64, Generation, TypeId);

fn read(scene: &mut Scene<'_>, query: &Query) -> Result<Table, ExploreError> {
    scene.runtime(false)?;
    scene.say(0.2, "finding the type");
    let wanted = query.argument.as_deref().unwrap_or_default();
    let runtime = scene.runtime(false)?;
    let types = runtime.histogram().types();
    let matching: Vec<(TypeId, Tally)> = types
        .iter()
        .copied()
        .filter(|(id, _)| is_called(runtime, *id, wanted))
        .collect();
    if matching.is_empty() {
        return Ok(Table {
            notes: vec![unknown(runtime, &types, wanted)],
            ..Table::default()
        });
    }
    scene.say(0.5, "collecting its objects");
    let runtime = scene.runtime(false)?;
    let ids: HashSet<TypeId> = matching.iter().map(|(id, _)| *id).collect();
    let room = query.limit.unwrap_or(ROWS_MAX).min(ROWS_MAX);
    let order = Order::of(query);
    let walk = runtime.walk(Vec::new, |found: &mut Vec<Found>, object: Object| {
        if ids.contains(&object.type_id) {
            found.push((
                object.address,
                object.size,
                object.generation,
                object.type_id,
            ));
            // Twice the room, so that cutting is rare.
            if found.len() >= (2 * room).max(64) {
                order.keep_first(found, room);
            }
        }
    });
    let mut found: Vec<Found> = walk.accumulators.into_iter().flatten().collect();
    order.keep_first(&mut found, room);
    let row = |(address, bytes, generation, id): Found| {
        vec![
            Cell::Address(address),
            generation.name().into(),
            bytes.into(),
            super::type_name(runtime, id).into(),
        ]
    };
    let sum = |pick: fn(&Tally) -> u64| matching.iter().map(|(_, tally)| pick(tally)).sum();
    Ok(Table {
        rows: found.into_iter().map(row).collect(),
        row_count: sum(|t| t.count),
        totals: vec![
            Cell::Null,
            Cell::Null,
            Cell::Int(sum(|t| t.bytes)),
            Cell::Null,
        ],
        ..Table::default()
    })
}

/// The same order as that of the finished table: a heap may have more objects than a table has rows.
#[derive(Debug, Clone, Copy)]
struct Order {
    by: By,
    reverse: bool,
}

#[derive(Debug, Clone, Copy)]
enum By {
    Address,
    Bytes,
    Generation,
    Type,
}

impl Order {
    fn of(query: &Query) -> Self {
        let by = match query.sort.as_deref() {
            Some("address") => By::Address,
            Some("generation") => By::Generation,
            Some("type") => By::Type,
            _ => By::Bytes,
        };
        Self {
            by,
            reverse: query.reverse,
        }
    }

    fn key(self, found: &Found) -> (u64, u64) {
        let (address, bytes, generation, id) = *found;
        let rising = match self.by {
            By::Address => address,
            By::Bytes => u64::MAX - bytes,
            By::Generation => generation as u64,
            By::Type => u64::from(id.0),
        };
        (
            if self.reverse {
                u64::MAX - rising
            } else {
                rising
            },
            address,
        )
    }

    fn keep_first(self, found: &mut Vec<Found>, room: usize) {
        if room > 0 && found.len() > room {
            found.select_nth_unstable_by_key(room - 1, |f| self.key(f));
            found.truncate(room);
        }
        found.sort_unstable_by_key(|f| self.key(f));
    }
}

/// By full name, by the name without namespaces, or by a part of the full name with `*` around it.
fn is_called(runtime: &Runtime, id: TypeId, wanted: &str) -> bool {
    let Some(info) = runtime.type_info(id) else {
        return false;
    };
    match wanted.strip_prefix('*').and_then(|w| w.strip_suffix('*')) {
        Some(part) => !part.is_empty() && info.name.contains(part),
        None => info.name == wanted || info.short_name == wanted,
    }
}

fn unknown(runtime: &Runtime, types: &[(TypeId, Tally)], wanted: &str) -> String {
    let names: Vec<String> = types
        .iter()
        .map(|(id, _)| super::type_name(runtime, *id))
        .collect();
    let near = leakhound_rules::diagnostic::nearest(wanted, names.iter().map(String::as_str))
        .map_or_else(String::new, |near| format!(" Did you mean `{near}`?"));
    format!(
        "The heap has no object of a type `{wanted}`.{near} `*{wanted}*` finds names that contain it."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(sort: Option<&str>, reverse: bool) -> Vec<u64> {
        let mut found: Vec<Found> = [(8, 100), (16, 24), (24, 300), (32, 100), (40, 24)]
            .map(|(address, bytes)| (address, bytes, Generation::Gen2, TypeId(1)))
            .to_vec();
        let order = Order::of(&Query {
            sort: sort.map(str::to_owned),
            reverse,
            ..Query::default()
        });
        order.keep_first(&mut found, 3);
        found.iter().map(|f| f.0).collect()
    }

    #[test]
    fn the_first_of_each_order_are_kept() {
        assert_eq!(kept(None, false), [24, 8, 32]);
        assert_eq!(kept(None, true), [16, 40, 8]);
        assert_eq!(kept(Some("address"), false), [8, 16, 24]);
        assert_eq!(kept(Some("address"), true), [40, 32, 24]);
    }
}

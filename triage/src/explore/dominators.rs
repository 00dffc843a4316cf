//! `dominators`: what keeps most alive: objects as a tree, or types.

use super::table::{Cell, Column, ColumnKind, Table};
use super::{ByName, ExploreError, Query, ROWS_MAX, Scene, View, type_name};
use crate::facts::survey::Survey;
use leakhound_graph::Holder;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

pub(super) const VIEW: View = View {
    name: "dominators",
    about: "objects (or --types) by what would go with them, the retained size",
    argument: None,
    columns: &[
        Column::new("rank", ColumnKind::Number),
        Column::new("depth", ColumnKind::Number),
        Column::new("address", ColumnKind::Address),
        Column::new("count", ColumnKind::Count).summed(),
        Column::new("bytes", ColumnKind::Bytes).summed(),
        Column::new("retained_bytes", ColumnKind::Bytes)
            .titled("retained")
            .summed(),
        Column::new("type", ColumnKind::Name),
        Column::new("held_by", ColumnKind::Name).titled("held by"),
    ],
    sort: "rank",
    share: Some("retained_bytes"),
    read,
};

fn read(scene: &mut Scene<'_>, query: &Query) -> Result<Table, ExploreError> {
    let ((runtime, image), at) = scene.walked()?;
    let survey = Survey::take(image, runtime, at)?;
    let mut table = if query.types {
        types(&survey)
    } else {
        // Only those that retain most can be picked beforehand.
        let ranked = matches!(
            query.sort.as_deref(),
            None | Some("rank" | "retained_bytes")
        );
        let limit = query.limit.filter(|_| ranked && !query.reverse);
        let room = limit.unwrap_or(ROWS_MAX).min(ROWS_MAX);
        objects(&survey, query.depth.unwrap_or(1).max(1), room)
    };
    table.totals = vec![Cell::Null; VIEW.columns.len()];
    table.totals[5] = survey.tree.total().into();
    table.row_count = table.row_count.max(table.rows.len() as u64);
    Ok(table)
}

/// The objects that retain most among those at most `depth` below the roots, as a tree: below each object those that it dominates,
/// the largest first.
fn objects(survey: &Survey<'_>, depth: u32, room: usize) -> Table {
    let mut candidates = Candidates {
        heap: BinaryHeap::new(),
        room,
    };
    candidates.add(survey, Holder::Several, 1);
    for root in &survey.roots {
        candidates.add(survey, Holder::Group(root.group), 1);
    }
    // By the object above: what was picked, in falling order.
    let mut picked: HashMap<Option<u32>, Vec<(u32, u32)>> = HashMap::new();
    let mut left = room;
    while left > 0 {
        let Some((_, Reverse(object), own_depth)) = candidates.heap.pop() else {
            break;
        };
        left -= 1;
        let above = match survey.tree.idom(object) {
            Some(Holder::Node(above)) => Some(above),
            _ => None,
        };
        picked.entry(above).or_default().push((object, own_depth));
        if own_depth < depth {
            candidates.add(survey, Holder::Node(object), own_depth + 1);
        }
    }
    let mut table = Table {
        row_count: survey.tree.nodes_within(depth),
        ..Table::default()
    };
    let mut open: Vec<(u32, u32)> = picked.remove(&None).unwrap_or_default();
    open.reverse();
    while let Some((object, depth)) = open.pop() {
        table
            .rows
            .push(row(survey, object, depth, table.rows.len()));
        let below = picked.remove(&Some(object)).unwrap_or_default();
        open.extend(below.into_iter().rev());
    }
    table
}

/// Objects that may be picked next: retained bytes, the object, its depth.
struct Candidates {
    heap: BinaryHeap<(u64, Reverse<u32>, u32)>,
    room: usize,
}

impl Candidates {
    /// Adds what a holder dominates directly.
    fn add(&mut self, survey: &Survey<'_>, above: Holder, depth: u32) {
        for (child, bytes) in survey.tree.children(above) {
            if let Holder::Node(node) = child {
                self.heap.push((bytes, Reverse(node), depth));
            }
            // What so many others come before is never picked. Rarely: a heap may have millions side by side.
            if self.heap.len() > 2 * self.room + 1_000 {
                let mut all = std::mem::take(&mut self.heap).into_vec();
                all.select_nth_unstable_by(self.room, |a, b| b.cmp(a));
                all.truncate(self.room);
                self.heap = all.into();
            }
        }
    }
}

fn row(survey: &Survey<'_>, object: u32, depth: u32, before: usize) -> Vec<Cell> {
    let held_by = match survey.tree.idom(object) {
        Some(Holder::Group(group)) => survey.root(group).map(|root| root.title()),
        Some(Holder::Several) => Some("several roots".to_owned()),
        _ => None,
    };
    vec![
        Cell::Int(before as u64 + 1),
        depth.into(),
        Cell::Address(survey.objects.address(object)),
        Cell::Null,
        survey.objects.size(object).into(),
        survey.retained(object).into(),
        type_name(survey.runtime, survey.objects.type_id(object)).into(),
        held_by.into(),
    ]
}

/// Live objects by type.
fn types(survey: &Survey<'_>) -> Table {
    let ids = survey.objects.type_ids();
    let types = survey.runtime.type_count() as u32;
    let retained = survey
        .tree
        .retained_by_type(types, |object| ids[object as usize]);
    let mut bytes = vec![0u64; types as usize];
    for (object, id) in (0u32..).zip(ids) {
        if survey.owners.of(object).is_some()
            && let Some(sum) = bytes.get_mut(*id as usize)
        {
            *sum += survey.objects.size(object);
        }
    }
    let mut named = ByName::default();
    for (id, (sum, own)) in (0u32..).zip(retained.iter().zip(bytes)) {
        if sum.count > 0 {
            let name = type_name(survey.runtime, leakhound_clr::TypeId(id));
            named.add(name, [sum.count, own, sum.bytes]);
        }
    }
    let mut table = named.into_table();
    table.rows.sort_by_key(|row| Reverse(row[3].int()));
    for (rank, row) in (1u64..).zip(&mut table.rows) {
        let [name, count, own, retained] = std::mem::take(row)
            .try_into()
            .unwrap_or([const { Cell::Null }; 4]);
        *row = vec![
            rank.into(),
            Cell::Null,
            Cell::Null,
            count,
            own,
            retained,
            name,
            Cell::Null,
        ];
    }
    table
}

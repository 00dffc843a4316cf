//! `path ADDR`: why an object is alive: the shortest path to it from each kind of root.

use super::table::{Cell, Column, ColumnKind, Table};
use super::{ExploreError, Query, Scene, View, type_name};
use crate::facts::path::Links;
use crate::facts::survey::{HeapGraph, RootKind};
use leakhound_graph::graph::Follow;
use leakhound_graph::paths;

pub(super) const VIEW: View = View {
    name: "path",
    about: "why an object is alive: the shortest path to it from each kind of root",
    argument: Some("ADDR"),
    columns: &[
        Column::new("path", ColumnKind::Number),
        Column::new("root", ColumnKind::Word),
        Column::new("step", ColumnKind::Number),
        Column::new("address", ColumnKind::Address),
        Column::new("bytes", ColumnKind::Bytes),
        Column::new("retained_bytes", ColumnKind::Bytes).titled("retained"),
        Column::new("type", ColumnKind::Name),
        Column::new("field", ColumnKind::Name),
    ],
    sort: "path",
    share: None,
    read,
};

/// An address as debuggers write it: hexadecimal, with or without `0x`, and with WinDbg's backtick.
///
/// # Errors
/// [`ExploreError::BadAddress`].
pub fn address(text: &str) -> Result<u64, ExploreError> {
    let digits = text.replace('`', "");
    let digits = digits
        .strip_prefix("0x")
        .or(digits.strip_prefix("0X"))
        .unwrap_or(&digits);
    u64::from_str_radix(digits, 16).map_err(|_| ExploreError::BadAddress(text.to_owned()))
}

fn read(scene: &mut Scene<'_>, query: &Query) -> Result<Table, ExploreError> {
    let wanted = address(query.argument.as_deref().unwrap_or_default())?;
    let ((runtime, image), at) = scene.walked()?;
    let heap = HeapGraph::read(image, runtime, at)?;
    let mut table = Table::default();
    let Some(object) = heap.objects.index_around(wanted) else {
        table
            .notes
            .push(format!("There is no object at {wanted:#x}."));
        return Ok(table);
    };
    let start = heap.objects.address(object);
    if start != wanted {
        table.notes.push(format!(
            "{wanted:#x} lies inside of the object at {start:#x}."
        ));
    }
    at(0.4, "searching backwards");
    let reversed = heap.graph.reversed()?;
    let found = paths::from_each_kind(&reversed, &heap.roots.groups, Follow::LIVE, object);
    drop(reversed);
    if found.is_empty() {
        table
            .notes
            .push("No root reaches it: it is garbage.".to_owned());
    }
    if found.iter().all(|(kind, _)| {
        matches!(
            RootKind::of(*kind),
            Some(RootKind::Ready | RootKind::Registered)
        )
    }) && !found.is_empty()
    {
        table.notes.push(
            "Only the finalizer's queues reach it: it is dead, and goes when finalizers have run."
                .to_owned(),
        );
    }
    if found
        .iter()
        .any(|(kind, _)| RootKind::of(*kind) == Some(RootKind::Stack))
    {
        table.notes.push(
            "A word of a stack or register that looks like a reference counts as one.".to_owned(),
        );
    }
    let survey = heap.survey(at)?;
    let mut links = Links::new(runtime, &survey.objects);
    for (number, (kind, path)) in (1u64..).zip(found) {
        let kind = RootKind::of(kind).map_or("?", RootKind::name);
        let root = survey
            .root(path.group)
            .map_or_else(|| "?".to_owned(), |root| root.title());
        table.rows.push(vec![
            number.into(),
            kind.into(),
            Cell::Int(0),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            root.into(),
            Cell::Null,
        ]);
        for (step, object) in (1u64..).zip(&path.nodes) {
            let next = path.nodes.get(step as usize);
            let field = next.map(|next| {
                let field = links.field(*object, *next);
                field.unwrap_or_else(|| holds_without_field(runtime, &survey.objects, *object))
            });
            table.rows.push(vec![
                number.into(),
                kind.into(),
                step.into(),
                Cell::Address(survey.objects.address(*object)),
                survey.objects.size(*object).into(),
                survey.retained(*object).into(),
                type_name(runtime, survey.objects.type_id(*object)).into(),
                field.into(),
            ]);
        }
    }
    Ok(table)
}

/// How an object holds another that no field of it names.
fn holds_without_field(
    runtime: &leakhound_clr::Runtime,
    objects: &leakhound_clr::Snapshot,
    object: u32,
) -> String {
    let info = runtime.type_info(objects.type_id(object));
    if info.is_some_and(|info| info.array) {
        "[]".to_owned()
    } else {
        "(dependent handle)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_as_debuggers_write_them() {
        for text in [
            "0x7f0012345678",
            "7f0012345678",
            "0X7F0012345678",
            "00007f00`12345678",
        ] {
            assert_eq!(super::address(text).ok(), Some(0x7f00_1234_5678), "{text}");
        }
        for text in ["", "0x", "Shop.Cart", "0x1_0000_0000_0000_0000", "-1"] {
            assert!(super::address(text).is_err(), "{text}");
        }
    }
}

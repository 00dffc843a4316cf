//! The objects that retain most, without those that an object above them explains already.

use super::path::Paths;
use super::rows::{int, row, text};
use super::statics::Way;
use super::survey::Survey;
use leakhound_graph::Holder;
use leakhound_rules::{FactSheet, Row, Value};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Objects that a sheet names.
const KEEP: usize = 30;
/// Objects that retain less are never anybody's problem.
const SMALLEST_BYTES: u64 = 4_096;
/// Objects from one that is listed down to its accumulation point; a longer way is a chain of links.
const LONGEST: usize = 1_000;

/// Writes `dominators`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let mut paths = Paths::new(survey);
    let rows = top(survey)
        .into_iter()
        .map(|object| one(survey, &mut paths, object))
        .collect();
    sheet.lists.insert("dominators".to_owned(), rows);
}

/// The objects that retain most, the largest first. Between a listed one and its accumulation point, and below that, no other is
/// listed; what hangs on the way beside that point may be.
fn top(survey: &Survey<'_>) -> Vec<u32> {
    let mut candidates = BinaryHeap::new();
    let add = |candidates: &mut BinaryHeap<_>, holder: Holder, except: Option<u32>| {
        for (child, bytes) in survey.tree.children(holder) {
            if let Holder::Node(node) = child
                && bytes >= SMALLEST_BYTES
                && except != Some(node)
            {
                candidates.push((bytes, Reverse(node)));
            }
        }
    };
    add(&mut candidates, Holder::Several, None);
    for root in &survey.roots {
        add(&mut candidates, Holder::Group(root.group), None);
    }
    let mut listed = Vec::new();
    while let Some((_, Reverse(object))) = candidates.pop() {
        listed.push(object);
        if listed.len() == KEEP {
            break;
        }
        for pair in survey.accumulation(object, LONGEST).windows(2) {
            add(&mut candidates, Holder::Node(pair[0]), Some(pair[1]));
        }
    }
    listed
}

fn one(survey: &Survey<'_>, paths: &mut Paths<'_, '_>, object: u32) -> Row {
    let way = Way::from(survey, paths, object);
    let path = paths.to(object).map(|path| path.steps);
    let mut columns = row([
        ("type", text(survey.type_name(object))),
        ("bytes", int(survey.objects.size(object))),
        ("retained", int(survey.retained(object))),
        ("accumulates_in", text(way.end_type)),
        ("path", Value::Texts(path.unwrap_or_default())),
    ]);
    if let Some(elements) = way.elements {
        columns.insert("elements".to_owned(), int(elements));
    }
    if let Some(element_type) = way.element_type {
        columns.insert("element_type".to_owned(), text(element_type));
    }
    columns
}

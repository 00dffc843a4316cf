//! Static fields by what they hold, with the way from the field to what accumulates.

use super::rows::{int, row, text};
use super::survey::{Root, RootKind, Survey};
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Value};
use std::collections::HashMap;

/// Fields that a sheet names.
const KEEP: usize = 100;
/// Fields that hold less are never anybody's problem.
const SMALLEST_BYTES: u64 = 4_096;
/// Steps of a path that are shown.
const PATH_STEPS: usize = 12;
/// Children of an accumulation point that are looked at to say what it holds.
const CHILDREN: usize = 1 << 20;

/// Writes `statics`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let mut fields: Vec<(&Root, leakhound_graph::Share)> = survey
        .roots
        .iter()
        .filter(|r| matches!(r.kind, RootKind::Static | RootKind::ThreadStatic))
        .map(|root| (root, survey.weights.share(root.group)))
        .filter(|(_, share)| share.bytes >= SMALLEST_BYTES)
        .collect();
    fields.sort_by(|a, b| {
        b.1.bytes
            .cmp(&a.1.bytes)
            .then_with(|| a.0.name.cmp(&b.0.name))
    });
    fields.truncate(KEEP);
    let rows = fields
        .into_iter()
        .filter_map(|(root, share)| {
            let top = share.heaviest?;
            let way = Way::from(survey, top);
            let mut path = vec![format!("static {}", root.name)];
            path.extend(way.steps.iter().cloned());
            let mut columns = row([
                ("field", text(&root.name)),
                ("type", text(survey.short_type_name(top))),
                (
                    "thread_static",
                    Value::Bool(root.kind == RootKind::ThreadStatic),
                ),
                ("retained", int(share.bytes)),
                ("objects", int(share.nodes)),
                ("path", Value::Texts(path)),
            ]);
            if let Some(elements) = way.elements {
                columns.insert("elements".to_owned(), int(elements));
            }
            if let Some(element_type) = way.element_type {
                columns.insert("element_type".to_owned(), text(element_type));
            }
            Some(columns)
        })
        .collect();
    sheet.lists.insert("statics".to_owned(), rows);
}

/// From a root object to its accumulation point.
struct Way {
    steps: Vec<String>,
    elements: Option<u64>,
    element_type: Option<String>,
}

impl Way {
    fn from(survey: &Survey<'_>, top: u32) -> Self {
        let nodes = survey.weights.accumulation(top, PATH_STEPS);
        let mut steps: Vec<String> = Vec::new();
        let mut seen: Vec<TypeId> = Vec::new();
        let mut last = top;
        for node in nodes {
            let id = survey.objects.type_id(node);
            // A chain of equal links is one step, however long.
            if seen.contains(&id) {
                break;
            }
            seen.push(id);
            steps.push(survey.short_type_name(node));
            last = node;
        }
        let element_type = main_child_type(survey, last);
        let elements = collection_count(survey, top).or_else(|| {
            survey
                .weights
                .accumulation(top, PATH_STEPS)
                .into_iter()
                .find_map(|node| collection_count(survey, node))
        });
        if let Some(name) = &element_type
            && steps.last() != Some(name)
        {
            steps.push(name.clone());
        }
        Self {
            steps,
            elements,
            element_type,
        }
    }
}

/// The type that most of what hangs on a node is, by bytes.
fn main_child_type(survey: &Survey<'_>, node: u32) -> Option<String> {
    let mut by_type: HashMap<TypeId, u64> = HashMap::new();
    for child in survey.graph.strong(node).iter().take(CHILDREN) {
        if survey.owners.parent(*child) == Some(node) {
            *by_type.entry(survey.objects.type_id(*child)).or_default() +=
                survey.weights.below(*child);
        }
    }
    let (id, _) = by_type
        .into_iter()
        .max_by_key(|(id, bytes)| (*bytes, std::cmp::Reverse(id.0)))?;
    survey
        .runtime
        .type_info(id)
        .map(|info| info.short_name.clone())
}

/// Elements of a well-known collection; `None` when the object is none, or its layout is not known.
///
/// Field names are those of System.Private.CoreLib and System.Collections from 3.1 to 10: `List`, `Stack`, `Queue`,
/// `SortedDictionary`'s set (`_size`, `_count`), `Dictionary` and `HashSet` (`_count` less `_freeCount`),
/// `ConcurrentDictionary` (`_tables._countPerLock`).
fn collection_count(survey: &Survey<'_>, object: u32) -> Option<u64> {
    let id = survey.objects.type_id(object);
    let info = survey.runtime.type_info(id)?;
    if !info.name.starts_with("System.Collections.") {
        return None;
    }
    let address = survey.objects.address(object);
    let number = |name: &str| {
        let field = survey.runtime.instance_field(id, name)?;
        survey.runtime.read_i32(address, &field)
    };
    if let Some(tables) = survey.runtime.instance_field(id, "_tables") {
        let tables = survey.runtime.read_reference(address, &tables)?;
        let tables_id = survey.runtime.type_of(tables)?;
        let counts = survey.runtime.instance_field(tables_id, "_countPerLock")?;
        let counts = survey.runtime.read_reference(tables, &counts)?;
        return sum_of_ints(survey, counts);
    }
    let count = number("_size").or_else(|| number("_count"))?;
    let free = number("_freeCount").unwrap_or(0);
    u64::try_from(count.checked_sub(free)?).ok()
}

fn sum_of_ints(survey: &Survey<'_>, array: u64) -> Option<u64> {
    use leakhound_dump::MemoryExt;
    /// A `ConcurrentDictionary` has at most this many locks (`MaxLockNumber`).
    const LOCKS: u32 = 1_024;
    let length = survey.runtime.array_length(array)?;
    if length > LOCKS {
        return None;
    }
    let bytes = survey
        .runtime
        .memory()
        .bytes(array.checked_add(16)?, length as usize * 4)?;
    let counts = bytes
        .chunks_exact(4)
        .map(|c| i32::from_le_bytes(c.try_into().unwrap_or_default()));
    counts.map(|c| u64::try_from(c).ok()).sum()
}

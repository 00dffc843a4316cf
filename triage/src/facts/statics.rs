//! Static fields by what they hold, with the way from the field to what accumulates.

use super::bounds::Bounds;
use super::path::Paths;
use super::rows::{int, row, text};
use super::survey::{Root, RootKind, Survey};
use super::threads::is_of_framework;
use leakhound_clr::TypeId;
use leakhound_graph::Share;
use leakhound_rules::{FactSheet, Row, Value};
use std::collections::{BTreeMap, HashMap};

/// Fields that a sheet names.
pub(super) const KEEP: usize = 100;
/// Fields that hold less are never anybody's problem.
const SMALLEST_BYTES: u64 = 4_096;
/// Steps of a path that are shown.
const PATH_STEPS: usize = 12;
/// Fields of an accumulation point that are looked at for collections.
const FIELDS: usize = 256;
/// References of an accumulation point that are looked at to say what it holds.
const CHILDREN: usize = 1 << 20;

/// Writes `statics`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let mut fields: Vec<(&Root, Share)> = survey
        .roots
        .iter()
        .filter(|r| matches!(r.kind, RootKind::Static | RootKind::ThreadStatic))
        .map(|root| (root, survey.owned_by(root)))
        .filter(|(_, share)| share.bytes >= SMALLEST_BYTES)
        .collect();
    fields.sort_by(|a, b| {
        b.1.bytes
            .cmp(&a.1.bytes)
            .then_with(|| a.0.name.cmp(&b.0.name))
    });
    fields.truncate(KEEP);
    let tops = tops(survey);
    let queues = Bounds::of(survey, &tops);
    let mut paths = Paths::new(survey);
    let rows = fields
        .into_iter()
        .filter_map(|(root, share)| {
            Some(one(
                survey,
                &mut paths,
                &queues,
                root,
                share,
                *tops.get(&root.group.0)?,
            ))
        })
        .collect();
    sheet.lists.insert("statics".to_owned(), rows);
}

/// By group: the object in the field that retains most.
fn tops(survey: &Survey<'_>) -> BTreeMap<u32, u32> {
    let mut tops: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
    for (group, object) in survey.groups.slots() {
        let is_static = survey
            .root(group)
            .is_some_and(|r| matches!(r.kind, RootKind::Static | RootKind::ThreadStatic));
        if is_static {
            let own = (survey.retained(object), object);
            let top = tops.entry(group.0).or_insert(own);
            *top = own.max(*top);
        }
    }
    tops.into_iter()
        .map(|(group, top)| (group, top.1))
        .collect()
}

fn one(
    survey: &Survey<'_>,
    paths: &mut Paths<'_, '_>,
    bounds: &Bounds<'_, '_>,
    root: &Root,
    share: Share,
    top: u32,
) -> Row {
    let way = Way::from(survey, paths, top);
    let mut path = vec![root.title()];
    path.extend(way.steps);
    let mut columns = row([
        ("field", text(&root.name)),
        ("type", text(survey.short_type_name(top))),
        (
            "thread_static",
            Value::Bool(root.kind == RootKind::ThreadStatic),
        ),
        ("owned", int(share.bytes)),
        ("retained", int(survey.retained_by(root))),
        ("objects", int(share.nodes)),
        ("path", Value::Texts(path)),
    ]);
    if let Some(held_in) = &way.held_in {
        columns.insert("held_in".to_owned(), text(held_in));
    }
    if let Some(bound) = way.collection.and_then(|found| bounds.on(root, &found)) {
        columns.insert("bound".to_owned(), text(bound));
    }
    if let Some(elements) = way.elements {
        columns.insert("elements".to_owned(), int(elements));
    }
    if let Some(element_type) = way.element_type {
        columns.insert("element_type".to_owned(), text(element_type));
    }
    columns
}

/// From an object to its accumulation point.
pub(super) struct Way {
    /// Types on the way.
    pub steps: Vec<String>,
    /// Type of the accumulation point.
    pub end_type: String,
    /// Elements of the first collection on the way.
    pub elements: Option<u64>,
    /// What the accumulation point mostly holds.
    pub element_type: Option<String>,
    /// The application's own field that holds that collection, when it is another than the one the way begins at.
    pub held_in: Option<String>,
    /// That collection and its elements.
    pub collection: Option<Collection>,
}

/// A collection on a way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Collection {
    /// The object.
    pub object: u32,
    /// Who holds it, when that is not the field itself.
    pub holder: Option<u32>,
    /// Elements.
    pub elements: u64,
}

impl Way {
    pub(super) fn from(survey: &Survey<'_>, paths: &mut Paths<'_, '_>, top: u32) -> Self {
        let nodes = survey.accumulation(top, PATH_STEPS);
        let mut steps: Vec<String> = Vec::new();
        let mut seen: Vec<TypeId> = Vec::new();
        let mut last = top;
        for node in &nodes {
            let id = survey.objects.type_id(*node);
            // A chain of equal links is one step, however long.
            if seen.contains(&id) {
                break;
            }
            seen.push(id);
            steps.push(survey.short_type_name(*node));
            last = *node;
        }
        let element_type = main_child_type(survey, paths, last);
        let collection = fullest(survey, &nodes).or_else(|| fullest_in(survey, paths, last));
        let held_in = collection.and_then(|found| {
            let holder = found.holder?;
            let info = survey.runtime.type_info(survey.objects.type_id(holder))?;
            let field = paths.field(holder, found.object)?;
            let own = !info.array && !is_of_framework(&info.name);
            own.then(|| format!("{}.{field}", info.name))
        });
        if let Some(name) = &element_type
            && steps.last() != Some(name)
        {
            steps.push(name.clone());
        }
        Self {
            steps,
            end_type: survey.short_type_name(last),
            elements: collection.map(|found| found.elements),
            element_type,
            held_in,
            collection,
        }
    }
}

/// The type that most of what hangs on an object is, by bytes. What others hold too counts as well: a second index over the same
/// entities retains none of them, and still is an index of entities.
fn main_child_type(survey: &Survey<'_>, paths: &mut Paths<'_, '_>, object: u32) -> Option<String> {
    let mut by_type: HashMap<TypeId, u64> = HashMap::new();
    let mut left = CHILDREN;
    paths.each_reference(object, |child| {
        if left > 0 && child != object {
            left -= 1;
            *by_type.entry(survey.objects.type_id(child)).or_default() += survey.retained(child);
        }
    });
    let (id, _) = by_type
        .into_iter()
        .max_by_key(|(id, bytes)| (*bytes, std::cmp::Reverse(id.0)))?;
    survey
        .runtime
        .type_info(id)
        .map(|info| info.short_name.clone())
}

/// The collection with most elements on a way: a container of services has a few, the cache in one of them has many.
fn fullest(survey: &Survey<'_>, nodes: &[u32]) -> Option<Collection> {
    let found = nodes.iter().enumerate().filter_map(|(at, node)| {
        Some(Collection {
            object: *node,
            holder: at.checked_sub(1).map(|before| nodes[before]),
            elements: collection_count(survey, *node)?,
        })
    });
    // Of equal ones the outer.
    found.fold(None, |best: Option<Collection>, next| match best {
        Some(best) if best.elements >= next.elements => Some(best),
        _ => Some(next),
    })
}

/// The collection with most elements among those that an object refers to: where two of them share their elements, neither lies on the
/// way.
fn fullest_in(survey: &Survey<'_>, paths: &mut Paths<'_, '_>, holder: u32) -> Option<Collection> {
    let mut best: Option<Collection> = None;
    let mut left = FIELDS;
    paths.each_reference(holder, |object| {
        if left == 0 {
            return;
        }
        left -= 1;
        let elements = collection_count(survey, object);
        if let Some(elements) = elements.filter(|n| best.is_none_or(|best| best.elements < *n)) {
            best = Some(Collection {
                object,
                holder: Some(holder),
                elements,
            });
        }
    });
    best
}

/// Elements of a well-known collection; `None` when the object is none, or its layout is not known.
///
/// Field names are those of System.Private.CoreLib and System.Collections from 3.1 to 10: `List`, `Stack`, `Queue`,
/// `SortedDictionary`'s set (`_size`, `_count`), `Dictionary` and `HashSet` (`_count` less `_freeCount`),
/// `ConcurrentDictionary` (`_tables._countPerLock`).
pub(super) fn collection_count(survey: &Survey<'_>, object: u32) -> Option<u64> {
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

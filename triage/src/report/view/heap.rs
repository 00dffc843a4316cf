//! What is on the managed heap, and beside it: generations, types, statics, handles, strings, native memory.

use leakhound_rules::diagnosis::MemoryAccount;
use leakhound_rules::sheet::{FactSheet, Name, Row, Value};
use leakhound_rules::vocabulary::{self, Kind};
use serde::Serialize;

use super::{Cut, name};
use crate::report::amount;

/// Rows of the largest table.
const TYPES_MAX: usize = 20;
/// Rows of a smaller one.
const ROWS_MAX: usize = 10;
/// Facts of the table of all facts; the vocabulary has fewer.
const FACTS_MAX: usize = 400;

/// A generation.
#[derive(Debug, Clone, Serialize)]
pub struct Generation {
    /// `Generation 2`, `Large objects`.
    pub label: &'static str,
    /// Committed.
    pub committed: String,
    /// In live objects, in dead objects, in holes, and in none of them; shares of the largest generation's commit.
    pub parts: [f64; 4],
    /// Bytes in objects, dead or alive.
    pub used: String,
    /// Bytes in dead objects.
    pub garbage: String,
    /// Bytes in holes.
    pub free: String,
    /// Largest hole.
    pub largest_free: String,
    /// Objects.
    pub objects: String,
}

/// A line of a table of holdings: something that holds bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Holding {
    /// The type, the field, the content.
    pub name: String,
    /// More about it: the type of a static, the generation of a pin.
    pub detail: String,
    /// Exact bytes; 0 when the table has none.
    pub bytes: u64,
    /// The same as text.
    pub text: String,
    /// How many.
    pub count: String,
    /// Share of the largest line, 0 to 1.
    pub share: f64,
}

/// A table of holdings.
#[derive(Debug, Clone, Serialize)]
pub struct Family {
    /// Title of the table.
    pub title: &'static str,
    /// What is counted: `Objects`, `Handles`.
    pub counted: &'static str,
    /// It tells what grew since earlier captures.
    pub growth: bool,
    /// The lines.
    pub rows: Cut<Holding>,
}

/// One scalar fact.
#[derive(Debug, Clone, Serialize)]
pub struct Known {
    /// Name in the vocabulary.
    pub name: String,
    /// The value with its unit.
    pub text: String,
    /// What it means.
    pub meaning: &'static str,
}

/// What is on the heap.
#[derive(Debug, Clone, Serialize)]
pub struct Heap {
    /// Generations that are known.
    pub generations: Vec<Generation>,
    /// Types by live bytes, for a picture: name and bytes.
    pub live_types: Vec<(String, u64)>,
    /// Types by bytes.
    pub types: Family,
    /// Static fields by what they own.
    pub statics: Family,
    /// Smaller tables, those that have lines.
    pub families: Vec<Family>,
    /// Every scalar fact.
    pub facts: Cut<Known>,
}

impl Heap {
    /// Works out what to show.
    #[must_use]
    pub fn new(sheet: &FactSheet, memory: &MemoryAccount) -> Self {
        let families = FAMILIES
            .iter()
            .map(|table| family(sheet, table))
            .filter(|family| !family.rows.shown.is_empty())
            .collect();
        Self {
            generations: generations(sheet),
            live_types: live_types(sheet, memory),
            types: family(sheet, &TYPES),
            statics: family(sheet, &STATICS),
            families,
            facts: facts(sheet),
        }
    }
}

/// Where a table gets its columns.
struct Table {
    list: &'static str,
    title: &'static str,
    counted: &'static str,
    limit: usize,
    name: &'static str,
    detail: &'static str,
    bytes: &'static str,
    count: &'static str,
}

const TYPES: Table = Table {
    list: "types",
    title: "Largest types",
    counted: "Objects",
    limit: TYPES_MAX,
    name: "type",
    detail: "",
    bytes: "bytes",
    count: "count",
};

const STATICS: Table = Table {
    list: "statics",
    title: "Static fields that keep the most",
    counted: "Elements",
    limit: TYPES_MAX,
    name: "field",
    detail: "type",
    bytes: "owned",
    count: "elements",
};

/// The smaller tables, in the order of a report. A table is one entry here.
#[rustfmt::skip]
const FAMILIES: &[Table] = &[
    Table { list: "dominators", title: "Objects that keep the most", counted: "Elements", limit: ROWS_MAX, name: "type", detail: "accumulates_in", bytes: "retained", count: "elements" },
    Table { list: "growing_statics", title: "Static fields that grew in every capture", counted: "Elements", limit: ROWS_MAX, name: "field", detail: "type", bytes: "delta", count: "elements" },
    Table { list: "growing_types", title: "Types that grew in every capture", counted: "", limit: ROWS_MAX, name: "type", detail: "", bytes: "delta", count: "" },
    Table { list: "growing_places", title: "Places where more piled up in every capture", counted: "Objects", limit: ROWS_MAX, name: "type", detail: "root", bytes: "delta", count: "count" },
    Table { list: "growing_shapes", title: "Queues, events, timers and the like that grew in every capture", counted: "More", limit: ROWS_MAX, name: "name", detail: "shape", bytes: "bytes_delta", count: "delta" },
    Table { list: "accumulations", title: "Where objects pile up", counted: "Objects", limit: ROWS_MAX, name: "type", detail: "root", bytes: "bytes", count: "count" },
    Table { list: "ready", title: "Waiting for the finalizer", counted: "Objects", limit: ROWS_MAX, name: "type", detail: "", bytes: "bytes", count: "count" },
    Table { list: "finalizable", title: "Registered for finalization", counted: "Objects", limit: ROWS_MAX, name: "type", detail: "", bytes: "bytes", count: "count" },
    Table { list: "pinned", title: "Pinned", counted: "Handles", limit: ROWS_MAX, name: "type", detail: "generation", bytes: "bytes", count: "count" },
    Table { list: "handle_targets", title: "Targets of handles", counted: "Handles", limit: ROWS_MAX, name: "type", detail: "kind", bytes: "bytes", count: "count" },
    Table { list: "duplicate_strings", title: "Strings kept more than once", counted: "Copies", limit: ROWS_MAX, name: "value", detail: "", bytes: "wasted", count: "count" },
    Table { list: "native_regions", title: "Outside the GC heap", counted: "Mappings", limit: ROWS_MAX, name: "kind", detail: "", bytes: "bytes", count: "count" },
    Table { list: "thread_names", title: "Threads", counted: "Threads", limit: ROWS_MAX, name: "name", detail: "", bytes: "", count: "count" },
];

fn family(sheet: &FactSheet, table: &Table) -> Family {
    let rows = sheet
        .lists
        .get(table.list)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let by = if table.bytes.is_empty() {
        table.count
    } else {
        table.bytes
    };
    let largest = rows
        .iter()
        .take(table.limit)
        .filter_map(|row| whole(row, by))
        .max()
        .unwrap_or(0);
    Family {
        title: table.title,
        counted: table.counted,
        growth: table.list.starts_with("growing_"),
        rows: Cut::first(rows, table.limit, |row| {
            let bytes = whole(row, table.bytes);
            let size = whole(row, by).unwrap_or(0);
            Holding {
                name: text(row, table.name),
                detail: text(row, table.detail),
                bytes: bytes.unwrap_or(0),
                text: bytes.map(amount::bytes).unwrap_or_default(),
                // A static that is no collection has no elements to count.
                count: whole(row, table.count)
                    .filter(|n| *n > 0)
                    .map(amount::count)
                    .unwrap_or_default(),
                share: if largest == 0 {
                    0.0
                } else {
                    size as f64 / largest as f64
                },
            }
        }),
    }
}

fn whole(row: &Row, column: &str) -> Option<u64> {
    match row.get(column)? {
        Value::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

fn text(row: &Row, column: &str) -> String {
    match row.get(column) {
        Some(Value::Text(text)) => name(text),
        _ => String::new(),
    }
}

/// Name in the vocabulary and label.
const GENERATIONS: [(&str, &str); 6] = [
    ("gen0", "Generation 0"),
    ("gen1", "Generation 1"),
    ("gen2", "Generation 2"),
    ("loh", "Large objects"),
    ("poh", "Pinned objects"),
    ("frozen", "Frozen objects"),
];

fn generations(sheet: &FactSheet) -> Vec<Generation> {
    let fact = |generation: &str, what: &str| {
        let value = sheet.get_int(&format!("{generation}.{what}"))?;
        u64::try_from(value).ok()
    };
    let known: Vec<_> = GENERATIONS
        .into_iter()
        .filter_map(|(generation, label)| Some((generation, label, fact(generation, "committed")?)))
        .filter(|(.., committed)| *committed > 0)
        .collect();
    let largest = known
        .iter()
        .map(|(.., committed)| *committed)
        .max()
        .unwrap_or(0)
        .max(1);
    known
        .into_iter()
        .map(|(generation, label, committed)| {
            let read = |what| fact(generation, what);
            let shown = |what| {
                read(what)
                    .map(amount::bytes)
                    .unwrap_or_else(|| "?".to_owned())
            };
            let (used, free) = (read("used").unwrap_or(0), read("free").unwrap_or(0));
            let garbage = read("garbage").unwrap_or(0).min(used);
            let rest = committed.saturating_sub(used.saturating_add(free));
            Generation {
                label,
                committed: amount::bytes(committed),
                parts: [used - garbage, garbage, free, rest]
                    .map(|bytes| bytes as f64 / largest as f64),
                used: shown("used"),
                garbage: shown("garbage"),
                free: shown("free"),
                largest_free: shown("largest_free"),
                objects: read("objects")
                    .map(amount::count)
                    .unwrap_or_else(|| "?".to_owned()),
            }
        })
        .collect()
}

/// The live part of the heap by type. Empty when live bytes by type are unknown.
fn live_types(sheet: &FactSheet, memory: &MemoryAccount) -> Vec<(String, u64)> {
    let Some(live) = memory.gc_live else {
        return Vec::new();
    };
    let rows = sheet
        .lists
        .get("types")
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut types: Vec<(String, u64)> = rows
        .iter()
        .take(TYPES_MAX)
        .filter_map(|row| Some((text(row, "type"), whole(row, "live_bytes")?)))
        .filter(|(_, bytes)| *bytes > 0)
        .collect();
    types.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    if types.is_empty() {
        return types;
    }
    let named = types
        .iter()
        .fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    if live > named {
        types.push(("all other types".to_owned(), live - named));
    }
    types
}

fn facts(sheet: &FactSheet) -> Cut<Known> {
    let all: Vec<(&Name, &Value)> = sheet.facts.iter().collect();
    Cut::first(&all, FACTS_MAX, |(fact, value)| {
        let known = vocabulary::fact_named(fact);
        Known {
            name: name(fact),
            text: name(&amount::value(
                value,
                known.map_or(Kind::Text, |fact| fact.kind),
            )),
            meaning: known.map_or("", |fact| fact.sentence),
        }
    })
}

//! Rows that grew: static fields, types, places where objects pile up, and well-known shapes.

use super::times;
use super::trend::Trend;
use crate::facts::{accumulations, statics, types};
use leakhound_rules::{FactSheet, Row, Value};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Rows kept per list.
const KEEP: usize = 50;
/// Less growth than this is noise: a few objects, a page of bytes.
const LEAST_COUNT: i64 = 10;
const LEAST_BYTES: i64 = 4_096;

/// How the rows of one list become series.
struct Lane {
    /// The list.
    list: &'static str,
    /// Columns that say which row is the same thing in another sheet.
    key: &'static [&'static str],
    /// What is compared; rows with the same key are added up.
    value: &'static str,
    /// Rows after which the list is cut; 0 when what is cut off is small by the meaning of the list.
    cut: usize,
    /// The column that the list is ordered by: what was cut off has at most the last row's.
    order: &'static str,
    /// Growth below this is noise.
    least: i64,
}

const STATICS: Lane = Lane {
    list: "statics",
    key: &["field"],
    value: "owned",
    cut: statics::KEEP,
    order: "owned",
    least: LEAST_BYTES,
};

const TYPES: Lane = Lane {
    list: "types",
    key: &["type"],
    value: "live_bytes",
    cut: types::KEEP,
    order: "bytes",
    least: LEAST_BYTES,
};

const PLACES: Lane = Lane {
    list: "accumulations",
    key: &["path"],
    value: "bytes",
    cut: accumulations::KEEP,
    order: "bytes",
    least: LEAST_BYTES,
};

/// Well-known shapes: what they are called, their list, its name column, and what is counted.
const SHAPES: &[(&str, &str, &[&str], &str)] = &[
    ("queue", "queues", &["queue"], "elements"),
    ("event", "event_handlers", &["event"], "handlers"),
    ("collection", "shapes", &["type"], "elements"),
    ("connections", "http_pools", &["host"], "connections"),
    ("timer", "timers", &["calls"], "count"),
    ("registration", "registrations", &["registered_by"], "count"),
    ("async call", "async_calls", &["method"], "count"),
    ("exception", "exceptions", &["type"], "count"),
    ("resource", "resources", &["type"], "count"),
    ("handle", "handle_targets", &["kind", "type"], "count"),
    ("finalizable", "finalizable", &["type"], "count"),
    ("thread", "thread_names", &["name"], "count"),
    ("generated assembly", "dynamic_modules", &["name"], "count"),
    ("load context", "load_contexts", &["type"], ""),
];

/// Writes the lists `growing_*`; a list that no two captures have is left out.
pub(super) fn write(captures: &[&FactSheet], added: &mut FactSheet) {
    let lanes = [
        (
            &STATICS,
            "growing_statics",
            "owned",
            &[
                "retained",
                "type",
                "thread_static",
                "elements",
                "element_type",
                "held_in",
                "path",
            ][..],
        ),
        (&TYPES, "growing_types", "bytes", &["count"][..]),
        (
            &PLACES,
            "growing_places",
            "bytes",
            &["type", "holder", "root", "count"][..],
        ),
    ];
    for (lane, list, now, carried) in lanes {
        if let Some(grown) = lane.growing(captures) {
            let rows = grown.into_iter().take(KEEP).map(|grown| {
                let mut row = grown.row(now);
                for name in lane.key.iter().chain(carried) {
                    if let Some(value) = grown.newest.get(*name) {
                        row.insert((*name).to_owned(), value.clone());
                    }
                }
                row
            });
            added.lists.insert(list.to_owned(), rows.collect());
        }
    }
    write_shapes(captures, added);
}

fn write_shapes(captures: &[&FactSheet], added: &mut FactSheet) {
    let mut rows: Vec<(i64, i64, Row)> = Vec::new();
    let mut compared = false;
    for (shape, list, key, value) in SHAPES {
        let counted = Lane {
            list,
            key,
            value,
            cut: 0,
            order: value,
            least: LEAST_COUNT,
        };
        let Some(grown) = counted.growing(captures) else {
            continue;
        };
        compared = true;
        let kept = Lane {
            value: "retained",
            ..counted
        };
        let kept: HashMap<String, Trend> = kept.trends(captures).into_iter().flatten().collect();
        for grown in grown {
            let mut row = grown.row("now");
            let name: Vec<String> = key
                .iter()
                .filter_map(|column| Some(spelled(grown.newest.get(*column)?)))
                .collect();
            row.insert("shape".to_owned(), Value::Text((*shape).to_owned()));
            row.insert("name".to_owned(), Value::Text(name.join(" ")));
            let bytes = kept.get(&grown.key).map_or(0, |trend| trend.delta.max(0));
            row.insert("bytes_delta".to_owned(), Value::Int(bytes));
            rows.push((bytes, grown.trend.delta, row));
        }
    }
    if compared {
        rows.sort_by_key(|(bytes, delta, _)| std::cmp::Reverse((*bytes, *delta)));
        let rows = rows.into_iter().take(KEEP).map(|(_, _, row)| row);
        added
            .lists
            .insert("growing_shapes".to_owned(), rows.collect());
    }
}

/// Something that grew in every step.
struct Grown<'s> {
    key: String,
    newest: &'s Row,
    trend: Trend,
    steps: usize,
}

impl Grown<'_> {
    fn row(&self, now: &str) -> Row {
        let trend = &self.trend;
        let steps = i64::try_from(self.steps).unwrap_or(i64::MAX);
        let mut row: Row = [
            (now, trend.now),
            ("previous", trend.first),
            ("delta", trend.delta),
            ("step", trend.step),
            ("steps", steps),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::Int(value)))
        .collect();
        for (name, value) in [
            ("rate", trend.rate),
            ("rate_error", trend.rate_error),
            ("last_rate", trend.last_rate),
        ] {
            if let Some(value) = value {
                row.insert(name.to_owned(), Value::Float(value));
            }
        }
        row
    }
}

impl Lane {
    /// What grew in every step, the most growth first; `None` when the newest sheet, or every earlier one, lacks the list.
    fn growing<'s>(&self, captures: &[&'s FactSheet]) -> Option<Vec<Grown<'s>>> {
        let trends = self.trends(captures)?;
        let steps = self.comparable(captures).len() - 1;
        let newest = captures.last()?.lists.get(self.list)?;
        let mut seen = HashSet::new();
        let mut grown: Vec<Grown<'s>> = newest
            .iter()
            .filter_map(|row| {
                let key = self.key_of(row);
                let trend = *trends.get(&key)?;
                let grew = trend.in_every_step && trend.delta >= self.least;
                (grew && seen.insert(key.clone())).then_some(Grown {
                    key,
                    newest: row,
                    trend,
                    steps,
                })
            })
            .collect();
        // Stable: what grew by the same keeps the order of the sheet.
        grown.sort_by_key(|grown| std::cmp::Reverse(grown.trend.delta));
        Some(grown)
    }

    /// The trend of each key of the newest sheet.
    fn trends(&self, captures: &[&FactSheet]) -> Option<BTreeMap<String, Trend>> {
        let sheets = self.comparable(captures);
        let (newest, earlier) = sheets.split_last()?;
        if earlier.is_empty() || !newest.lists.contains_key(self.list) {
            return None;
        }
        let moments = times(&sheets);
        let series: Vec<HashMap<String, i64>> = sheets.iter().map(|s| self.values(s)).collect();
        let cut_off: Vec<i64> = sheets.iter().map(|sheet| self.cut_off(sheet)).collect();
        let trends = series.last()?.keys().filter_map(|key| {
            let values: Vec<i64> = series
                .iter()
                .zip(&cut_off)
                .map(|(values, cut_off)| values.get(key).copied().unwrap_or(*cut_off))
                .collect();
            Some((key.clone(), Trend::of(&values, moments.as_ref())?))
        });
        Some(trends.collect())
    }

    /// Sheets that have the list. One whose heap could not be read says nothing; it does not say zero.
    fn comparable<'s>(&self, captures: &[&'s FactSheet]) -> Vec<&'s FactSheet> {
        let has_list = |sheet: &&&FactSheet| sheet.lists.contains_key(self.list);
        captures.iter().filter(has_list).copied().collect()
    }

    fn values(&self, sheet: &FactSheet) -> HashMap<String, i64> {
        let mut values: HashMap<String, i64> = HashMap::new();
        for row in sheet.lists.get(self.list).into_iter().flatten() {
            let value = match row.get(self.value) {
                Some(Value::Int(value)) => *value,
                // Rows that are counted themselves.
                _ if self.value.is_empty() => 1,
                _ => continue,
            };
            let sum = values.entry(self.key_of(row)).or_default();
            *sum = sum.saturating_add(value);
        }
        values
    }

    /// The most that something can have had that the sheet does not list.
    fn cut_off(&self, sheet: &FactSheet) -> i64 {
        let rows = sheet.lists.get(self.list).map_or(&[][..], Vec::as_slice);
        match rows.last().and_then(|row| row.get(self.order)) {
            Some(Value::Int(least)) if self.cut > 0 && rows.len() >= self.cut => *least,
            _ => 0,
        }
    }

    fn key_of(&self, row: &Row) -> String {
        let parts = self.key.iter().filter_map(|column| row.get(*column));
        let parts: Vec<String> = parts.map(spelled).collect();
        parts.join("\u{1F}")
    }
}

fn spelled(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Texts(texts) => texts.join(" → "),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
    }
}

//! Rows that grew: static fields, types, places where objects pile up, and well-known shapes.

use super::times;
use super::trend::Trend;
use crate::facts::{accumulations, statics, types};
use leakhound_rules::{FactSheet, Row, Value};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

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

/// Whether growth looks at a list.
pub(super) fn compares(list: &str) -> bool {
    let lanes = [STATICS.list, TYPES.list, PLACES.list];
    lanes.contains(&list) || SHAPES.iter().any(|(_, shape, ..)| *shape == list)
}

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
                    if let Some(value) = grown.newest.get(name) {
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
        let bytes = kept.grown_bytes(captures, &grown);
        for (grown, bytes) in grown.into_iter().zip(bytes) {
            let mut row = grown.row("now");
            let name: Vec<String> = key
                .iter()
                .filter_map(|column| Some(spelled(grown.newest.get(column)?)))
                .collect();
            row.insert("shape".to_owned(), Value::Text((*shape).to_owned()));
            row.insert("name".to_owned(), Value::Text(name.join(" ")));
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

/// What is the same thing in another sheet: some columns of a row, compared where they lie.
#[derive(Clone, Copy)]
struct Key<'s> {
    row: &'s Row,
    parts: [Option<&'s Value>; KEY_COLUMNS],
}

/// Columns that a key has at most.
const KEY_COLUMNS: usize = 2;

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

// A column of a key is a name or a list of names; a number that equals nothing would only be a key of its own.
impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for part in self.parts {
            match part {
                Some(Value::Text(text)) => text.hash(state),
                Some(Value::Texts(texts)) => texts.hash(state),
                Some(Value::Int(number)) => number.hash(state),
                Some(Value::Bool(flag)) => flag.hash(state),
                Some(Value::Float(_)) | None => state.write_u8(0),
            }
        }
    }
}

/// Keys in order, each once.
#[derive(Default)]
struct Keys<'s> {
    keys: Vec<Key<'s>>,
    places: HashMap<Key<'s>, usize>,
}

impl<'s> Keys<'s> {
    fn of(keys: impl Iterator<Item = Key<'s>>) -> Self {
        let mut own = Self::default();
        for key in keys {
            own.places.entry(key).or_insert_with(|| {
                own.keys.push(key);
                own.keys.len() - 1
            });
        }
        own
    }

    /// The place of a key; asked for first at `expected`, since sheets list much in the same order.
    fn find(&self, key: &Key<'_>, expected: usize) -> Option<usize> {
        match self.keys.get(expected) {
            Some(there) if there == key => Some(expected),
            _ => self.places.get(key).copied(),
        }
    }
}

/// Something that grew in every step.
struct Grown<'s> {
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
    ///
    /// From the newest sheet back: what did not grow in one step is looked for no further, and that is nearly everything.
    fn growing<'s>(&self, captures: &[&'s FactSheet]) -> Option<Vec<Grown<'s>>> {
        let sheets = self.comparable(captures);
        let (newest, earlier) = sheets.split_last()?;
        let rows = newest.lists.get(self.list)?;
        if earlier.is_empty() {
            return None;
        }
        let counted = rows.iter().filter(|row| self.value_of(row).is_some());
        let mut keys = Keys::of(counted.map(|row| self.key_of(row)));
        // Values from now back to the first.
        let mut left: Vec<(Key<'s>, Vec<i64>)> = keys
            .keys
            .iter()
            .copied()
            .zip(self.sums(newest, &keys).into_iter().map(|v| vec![v]))
            .collect();
        for sheet in earlier.iter().rev() {
            let before = self.sums(sheet, &keys);
            let n_before = left.len();
            left = left
                .into_iter()
                .zip(before)
                .filter(|((_, values), before)| values.last().is_some_and(|after| before < after))
                .map(|((key, mut values), before)| {
                    values.push(before);
                    (key, values)
                })
                .collect();
            if left.is_empty() {
                break;
            }
            if left.len() < n_before {
                keys = Keys::of(left.iter().map(|(key, _)| *key));
            }
        }
        let moments = times(&sheets);
        let mut grown: Vec<Grown<'s>> = left
            .into_iter()
            .filter_map(|(key, mut values)| {
                values.reverse();
                let trend = Trend::of(&values, moments.as_ref())?;
                (trend.delta >= self.least).then_some(Grown {
                    newest: key.row,
                    trend,
                    steps: sheets.len() - 1,
                })
            })
            .collect();
        // Stable: what grew by the same keeps the order of the sheet.
        grown.sort_by_key(|grown| std::cmp::Reverse(grown.trend.delta));
        Some(grown)
    }

    /// By how much each of `grown` grew from the first sheet to the newest, in the column of this lane; 0 when it did not.
    fn grown_bytes(&self, captures: &[&FactSheet], grown: &[Grown<'_>]) -> Vec<i64> {
        let keys = Keys::of(grown.iter().map(|grown| self.key_of(grown.newest)));
        let sheets = self.comparable(captures);
        match sheets.as_slice() {
            [first, .., newest] if !grown.is_empty() => self
                .sums(first, &keys)
                .into_iter()
                .zip(self.sums(newest, &keys))
                .map(|(first, now)| now.saturating_sub(first).max(0))
                .collect(),
            _ => vec![0; grown.len()],
        }
    }

    /// The value of each key in one sheet; rows with the same key are added up.
    fn sums(&self, sheet: &FactSheet, keys: &Keys<'_>) -> Vec<i64> {
        let mut sums: Vec<Option<i64>> = vec![None; keys.keys.len()];
        let mut expected = 0;
        for row in sheet.lists.get(self.list).into_iter().flatten() {
            let Some(place) = keys.find(&self.key_of(row), expected) else {
                continue;
            };
            expected = place + 1;
            if let Some(value) = self.value_of(row) {
                let sum = &mut sums[place];
                *sum = Some(sum.unwrap_or(0).saturating_add(value));
            }
        }
        let cut_off = self.cut_off(sheet);
        sums.into_iter().map(|sum| sum.unwrap_or(cut_off)).collect()
    }

    /// Sheets that have the list. One whose heap could not be read says nothing; it does not say zero.
    fn comparable<'s>(&self, captures: &[&'s FactSheet]) -> Vec<&'s FactSheet> {
        let has_list = |sheet: &&&FactSheet| sheet.lists.contains_key(self.list);
        captures.iter().filter(has_list).copied().collect()
    }

    fn value_of(&self, row: &Row) -> Option<i64> {
        match row.get(self.value) {
            Some(Value::Int(value)) => Some(*value),
            // Rows that are counted themselves.
            _ if self.value.is_empty() => Some(1),
            _ => None,
        }
    }

    /// The most that something can have had that the sheet does not list.
    fn cut_off(&self, sheet: &FactSheet) -> i64 {
        let rows = sheet.lists.get(self.list).map_or(&[][..], Vec::as_slice);
        match rows.last().and_then(|row| row.get(self.order)) {
            Some(Value::Int(least)) if self.cut > 0 && rows.len() >= self.cut => *least,
            _ => 0,
        }
    }

    fn key_of<'s>(&self, row: &'s Row) -> Key<'s> {
        let mut columns = self.key.iter();
        Key {
            row,
            parts: std::array::from_fn(|_| row.get(columns.next()?)),
        }
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

//! Growth between captures of the same process: only what grew in every step counts as growing.
//!
//! Works on sheets alone; the dumps may be long gone.

use leakhound_rules::{FactSheet, Row, Value};
use std::collections::HashMap;

/// Rows kept per growth list.
const KEEP: usize = 50;
/// A step between two captures shorter than this says nothing about a rate.
const SHORTEST_SPAN_MS: i64 = 1_000;

/// Writes `growth.*`, `growing_statics` and `growing_types` into `sheet` from `earlier` sheets, oldest first.
/// With nothing to compare the facts stay unknown, and say so.
pub fn write(earlier: &[FactSheet], sheet: &mut FactSheet) {
    let now = sheet.subject.captured_at_ms;
    let mut steps: Vec<&FactSheet> = earlier
        .iter()
        .filter(|s| match (s.subject.captured_at_ms, now) {
            (Some(then), Some(now)) => then < now,
            _ => true,
        })
        .collect();
    steps.sort_by_key(|s| s.subject.captured_at_ms);
    let Some(first) = steps.first() else {
        for name in [
            "growth.commit",
            "growth.managed",
            "growth.native",
            "growth.threads",
        ] {
            sheet.unknown(
                name,
                "there is no earlier capture of this process to compare with",
            );
        }
        return;
    };
    let span_ms = match (first.subject.captured_at_ms, now) {
        (Some(then), Some(now)) if now - then >= SHORTEST_SPAN_MS => Some(now - then),
        _ => None,
    };

    let grown = |names: &[&str]| -> Option<u64> {
        let total = |s: &FactSheet| -> Option<i64> { names.iter().map(|n| s.get_int(n)).sum() };
        Some((total(sheet)? - total(first)?).max(0) as u64)
    };
    let commit = grown(&["memory.commit"]);
    let managed = grown(&["heap.live"]);
    let native = grown(&["memory.native", "memory.unattributed"]);
    let threads = grown(&["threads"]);
    let statics = growing(&steps, sheet, &Lane::STATICS, span_ms);
    let types = growing(&steps, sheet, &Lane::TYPES, span_ms);

    sheet.int("growth.captures", steps.len() as u64 + 1);
    if let Some(span_ms) = span_ms {
        sheet.int("growth.span", span_ms as u64);
    }
    for (name, rate, value) in [
        ("growth.commit", Some("growth.commit_rate"), commit),
        ("growth.managed", None, managed),
        ("growth.native", Some("growth.native_rate"), native),
        ("growth.threads", Some("growth.threads_rate"), threads),
    ] {
        let Some(value) = value else { continue };
        sheet.int(name, value);
        if let (Some(rate), Some(span_ms)) = (rate, span_ms) {
            sheet.float(rate, per_hour(value as i64, span_ms));
        }
    }
    sheet.lists.insert("growing_statics".to_owned(), statics);
    sheet.lists.insert("growing_types".to_owned(), types);
}

/// How a list of the sheet becomes a list of growth.
struct Lane {
    list: &'static str,
    key: &'static str,
    value: &'static str,
    now: &'static str,
    carried: &'static [&'static str],
}

impl Lane {
    const STATICS: Self = Self {
        list: "statics",
        key: "field",
        value: "owned",
        now: "owned",
        carried: &["type", "retained", "elements", "element_type", "path"],
    };
    const TYPES: Self = Self {
        list: "types",
        key: "type",
        value: "live_bytes",
        now: "bytes",
        carried: &[],
    };
}

fn growing(steps: &[&FactSheet], sheet: &FactSheet, lane: &Lane, span_ms: Option<i64>) -> Vec<Row> {
    let earlier: Vec<HashMap<&str, i64>> = steps.iter().map(|s| by_key(s, lane)).collect();
    let mut rows: Vec<(i64, Row)> = Vec::new();
    for row in sheet.lists.get(lane.list).into_iter().flatten() {
        let (Some(Value::Text(key)), Some(Value::Int(now))) =
            (row.get(lane.key), row.get(lane.value))
        else {
            continue;
        };
        // A field that an earlier sheet does not list owned less than what that sheet cut off: count it as zero.
        let values: Vec<i64> = earlier
            .iter()
            .map(|sheet| sheet.get(key.as_str()).copied().unwrap_or(0))
            .chain([*now])
            .collect();
        if !values.windows(2).all(|pair| pair[0] < pair[1]) {
            continue;
        }
        let delta = now - values[0];
        let mut out = Row::from([
            (lane.key.to_owned(), Value::Text(key.clone())),
            (lane.now.to_owned(), Value::Int(*now)),
            ("delta".to_owned(), Value::Int(delta)),
        ]);
        if let Some(span_ms) = span_ms {
            out.insert("rate".to_owned(), Value::Float(per_hour(delta, span_ms)));
        }
        if lane.list == "statics" {
            out.insert("previous".to_owned(), Value::Int(values[0]));
            out.insert("steps".to_owned(), Value::Int(steps.len() as i64));
        }
        for name in lane.carried {
            if let Some(value) = row.get(*name) {
                out.insert((*name).to_owned(), value.clone());
            }
        }
        rows.push((delta, out));
    }
    rows.sort_by_key(|(delta, _)| std::cmp::Reverse(*delta));
    rows.truncate(KEEP);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn by_key<'a>(sheet: &'a FactSheet, lane: &Lane) -> HashMap<&'a str, i64> {
    sheet
        .lists
        .get(lane.list)
        .into_iter()
        .flatten()
        .filter_map(|row| match (row.get(lane.key), row.get(lane.value)) {
            (Some(Value::Text(key)), Some(Value::Int(value))) => Some((key.as_str(), *value)),
            _ => None,
        })
        .collect()
}

fn per_hour(delta: i64, span_ms: i64) -> f64 {
    (delta as f64 * 3_600_000.0 / span_ms as f64).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(at_ms: i64, statics: &[(&str, i64)]) -> FactSheet {
        let mut sheet = FactSheet::default();
        sheet.subject.captured_at_ms = Some(at_ms);
        sheet.lists.insert(
            "statics".to_owned(),
            statics
                .iter()
                .map(|(field, owned)| {
                    Row::from([
                        ("field".to_owned(), Value::Text((*field).to_owned())),
                        ("owned".to_owned(), Value::Int(*owned)),
                    ])
                })
                .collect(),
        );
        sheet
    }

    #[test]
    fn only_what_grew_in_every_step_grows() {
        let old = [
            sheet(0, &[("Shop.Cache.Items", 100), ("Shop.Pool.Buffers", 50)]),
            sheet(
                3_600_000,
                &[("Shop.Cache.Items", 200), ("Shop.Pool.Buffers", 40)],
            ),
        ];
        let mut new = sheet(
            7_200_000,
            &[("Shop.Cache.Items", 400), ("Shop.Pool.Buffers", 90)],
        );
        write(&old, &mut new);
        let growing = &new.lists["growing_statics"];
        assert_eq!(growing.len(), 1);
        assert_eq!(growing[0]["field"], Value::Text("Shop.Cache.Items".into()));
        assert_eq!(growing[0]["delta"], Value::Int(300));
        assert_eq!(growing[0]["rate"], Value::Float(150.0));
        assert_eq!(growing[0]["steps"], Value::Int(2));
    }

    #[test]
    fn without_an_earlier_capture_growth_is_unknown_not_zero() {
        let mut new = sheet(1, &[("A.B", 1)]);
        write(&[], &mut new);
        assert!(!new.facts.contains_key("growth.commit"));
        assert!(new.unknown.contains_key("growth.commit"));
        assert!(!new.lists.contains_key("growing_statics"));
    }

    #[test]
    fn a_capture_from_the_future_is_not_a_baseline() {
        let mut new = sheet(10, &[("A.B", 5)]);
        write(&[sheet(20, &[("A.B", 1)])], &mut new);
        assert!(!new.lists.contains_key("growing_statics"));
    }
}

//! Growth between captures of the same process: only what grew in every step counts as growing (LeakCanary's insight: a cache that
//! fills up, a pool that breathes and a burst grow now and then; a leak grows always).
//!
//! Works on sheets alone; the dumps may be long gone.

mod lists;
mod trend;

use leakhound_rules::FactSheet;
use std::borrow::Borrow;
use trend::{Times, Trend};

/// Scalars that are compared: name of the growth, and the facts that are added up for it.
const SCALARS: &[(&str, &[&str])] = &[
    ("growth.commit", &["memory.commit"]),
    ("growth.managed", &["heap.live"]),
    ("growth.native", &["memory.native", "memory.unattributed"]),
    ("growth.threads", &["threads"]),
];

/// Writes `growth.*` and the lists `growing_*` into `sheet` from `earlier` sheets of the same process.
/// With nothing to compare the facts stay unknown, and say so.
pub fn write(earlier: &[impl Borrow<FactSheet>], sheet: &mut FactSheet) {
    let now = sheet.subject.captured_at_ms;
    let mut captures: Vec<&FactSheet> = earlier
        .iter()
        .map(Borrow::borrow)
        .filter(|s| match (s.subject.captured_at_ms, now) {
            (Some(then), Some(now)) => then < now,
            _ => true,
        })
        .collect();
    captures.sort_by_key(|s| s.subject.captured_at_ms);
    if captures.is_empty() {
        for (name, _) in SCALARS {
            sheet.unknown(
                name,
                "there is no earlier capture of this process to compare with",
            );
        }
        return;
    }
    let mut added = FactSheet::default();
    captures.push(sheet);
    write_span(&captures, &mut added);
    for (name, facts) in SCALARS {
        write_scalar(name, facts, &captures, &mut added);
    }
    lists::write(&captures, &mut added);
    sheet.facts.extend(added.facts);
    sheet.lists.extend(added.lists);
    sheet.unknown.extend(added.unknown);
}

/// Whether growth looks at a list of the sheets that it compares.
pub fn compares(list: &str) -> bool {
    lists::compares(list)
}

/// Takes out again what [`write()`] added.
pub fn erase(sheet: &mut FactSheet) {
    let is_growth = |name: &str| name.starts_with("growth.") || name.starts_with("growing_");
    sheet.facts.retain(|name, _| !is_growth(name));
    sheet.unknown.retain(|name, _| !is_growth(name));
    sheet.lists.retain(|name, _| !is_growth(name));
}

/// How many captures, over how long, and whether anything happened between them.
fn write_span(captures: &[&FactSheet], added: &mut FactSheet) {
    added.int("growth.captures", captures.len() as u64);
    let moments = times(captures);
    let span = |from: usize| {
        let moment = |at: usize| captures.get(at)?.subject.captured_at_ms;
        u64::try_from(moment(captures.len() - 1)? - moment(from)?).ok()
    };
    if moments.is_some() {
        for (name, from) in [("growth.span", 0), ("growth.last_span", captures.len() - 2)] {
            if let Some(span) = span(from) {
                added.int(name, span);
            }
        }
    }
    for (name, counter) in [
        ("growth.collections", "gc.gen0_collections"),
        ("growth.allocated", "threads.allocated"),
    ] {
        let first = captures[0].get_int(counter);
        let last = captures[captures.len() - 1].get_int(counter);
        if let (Some(first), Some(last)) = (first, last)
            && let Ok(between) = u64::try_from(last - first)
        {
            added.int(name, between);
        }
    }
}

fn times(captures: &[&FactSheet]) -> Option<Times> {
    let moments: Vec<Option<i64>> = captures.iter().map(|s| s.subject.captured_at_ms).collect();
    Times::of(&moments)
}

fn write_scalar(name: &str, facts: &[&str], captures: &[&FactSheet], added: &mut FactSheet) {
    let total = |s: &FactSheet| -> Option<i64> { facts.iter().map(|fact| s.get_int(fact)).sum() };
    let (known, values): (Vec<&FactSheet>, Vec<i64>) = captures
        .iter()
        .filter_map(|sheet| Some((*sheet, total(sheet)?)))
        .unzip();
    let last_is_known = captures.last().is_some_and(|sheet| total(sheet).is_some());
    let Some(trend) = Trend::of(&values, times(&known).as_ref()).filter(|_| last_is_known) else {
        added.unknown(name, "it is not known of two captures");
        return;
    };
    added.int(name, trend.delta.max(0).unsigned_abs());
    added.int(&format!("{name}_step"), trend.step.max(0).unsigned_abs());
    added.bool(&format!("{name}_in_every_step"), trend.in_every_step);
    if let Some(rate) = trend.rate {
        added.float(&format!("{name}_rate"), rate);
    }
    let error = format!("{name}_rate_error");
    match trend.rate_error {
        Some(value) => added.float(&error, value),
        None => added.unknown(&error, "how sure a rate is shows from three captures on"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_rules::{Row, Value, vocabulary};

    const HOUR: i64 = 3_600_000;

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

    fn queue(at_ms: i64, elements: i64, retained: i64) -> FactSheet {
        let mut sheet = sheet(at_ms, &[]);
        let row = Row::from([
            ("queue".to_owned(), Value::Text("Shop.Inbox.pending".into())),
            ("elements".to_owned(), Value::Int(elements)),
            ("retained".to_owned(), Value::Int(retained)),
        ]);
        sheet.lists.insert("queues".to_owned(), vec![row]);
        sheet
    }

    fn with(mut sheet: FactSheet, fact: &str, value: u64) -> FactSheet {
        sheet.int(fact, value);
        sheet
    }

    #[test]
    fn only_what_grew_in_every_step_grows() {
        let old = [
            sheet(
                0,
                &[("Shop.Cache.Items", 10_000), ("Shop.Pool.Buffers", 5_000)],
            ),
            sheet(
                HOUR,
                &[("Shop.Cache.Items", 30_000), ("Shop.Pool.Buffers", 4_000)],
            ),
        ];
        let mut new = sheet(
            2 * HOUR,
            &[("Shop.Cache.Items", 70_000), ("Shop.Pool.Buffers", 90_000)],
        );
        write(&old, &mut new);
        let growing = &new.lists["growing_statics"];
        assert_eq!(growing.len(), 1);
        let row = &growing[0];
        assert_eq!(row["field"], Value::Text("Shop.Cache.Items".into()));
        assert_eq!(row["delta"], Value::Int(60_000));
        assert_eq!(row["step"], Value::Int(40_000));
        assert_eq!(row["rate"], Value::Float(30_000.0));
        // Residuals 3,333, -6,667, 3,333: sqrt(66.7e6 / 1 / 2).
        assert_eq!(row["rate_error"], Value::Float(5_774.0));
        assert_eq!(row["last_rate"], Value::Float(40_000.0));
        assert_eq!(row["steps"], Value::Int(2));
    }

    #[test]
    fn shapes_grow_by_what_they_count_and_what_they_keep() {
        let mut new = queue(HOUR, 250_000, 90_000_000);
        write(&[queue(0, 100_000, 40_000_000)], &mut new);
        let row = &new.lists["growing_shapes"][0];
        assert_eq!(row["shape"], Value::Text("queue".into()));
        assert_eq!(row["name"], Value::Text("Shop.Inbox.pending".into()));
        assert_eq!(row["delta"], Value::Int(150_000));
        assert_eq!(row["bytes_delta"], Value::Int(50_000_000));
        assert_eq!(row["rate"], Value::Float(150_000.0));
        assert!(!row.contains_key("rate_error"));
    }

    #[test]
    fn what_a_full_list_cut_off_held_no_more_than_its_last_row() {
        let many: Vec<(String, i64)> = (0..100).map(|i| (format!("F{i}"), 1_000_000)).collect();
        let many: Vec<(&str, i64)> = many.iter().map(|(f, b)| (f.as_str(), *b)).collect();
        let mut new = sheet(HOUR, &[("A.risen", 1_200_000), ("A.still", 900_000)]);
        write(&[sheet(0, &many)], &mut new);
        let growing = &new.lists["growing_statics"];
        assert_eq!(growing.len(), 1);
        assert_eq!(growing[0]["delta"], Value::Int(200_000));
    }

    #[test]
    fn a_capture_whose_heap_could_not_be_read_is_left_out() {
        let mut unread = FactSheet::default();
        unread.subject.captured_at_ms = Some(HOUR);
        let mut new = with(sheet(2 * HOUR, &[("A.b", 50_000)]), "heap.live", 9);
        let first = with(sheet(0, &[("A.b", 20_000)]), "heap.live", 4);
        write(&[first, unread.clone()], &mut new);
        assert_eq!(new.lists["growing_statics"][0]["delta"], Value::Int(30_000));
        assert_eq!(new.lists["growing_statics"][0]["steps"], Value::Int(1));
        assert_eq!(new.get_int("growth.managed"), Some(5));
        let mut alone = sheet(2 * HOUR, &[("A.b", 50_000)]);
        write(&[unread], &mut alone);
        assert!(!alone.lists.contains_key("growing_statics"));
        assert!(alone.unknown.contains_key("growth.managed"));
    }

    #[test]
    fn scalars_have_rates_and_doubts() {
        let old = [
            with(
                with(sheet(0, &[]), "memory.commit", 100),
                "threads.allocated",
                4_000,
            ),
            with(sheet(HOUR, &[]), "memory.commit", 400),
        ];
        let mut new = with(sheet(2 * HOUR, &[]), "memory.commit", 300);
        new.int("gc.gen0_collections", 5);
        new.int("threads.allocated", 9_000);
        write(&old, &mut new);
        assert_eq!(new.get_int("growth.commit"), Some(200));
        assert_eq!(new.get_int("growth.commit_step"), Some(0));
        assert_eq!(new.get_int("growth.commit_rate"), Some(100));
        assert_eq!(new.get_int("growth.commit_rate_error"), Some(115));
        assert_eq!(new.facts["growth.commit_in_every_step"], Value::Bool(false));
        assert_eq!(new.get_int("growth.span"), Some(2 * HOUR));
        assert_eq!(new.get_int("growth.last_span"), Some(HOUR));
        assert_eq!(new.get_int("growth.collections"), None);
        assert_eq!(new.get_int("growth.allocated"), Some(5_000));
        for name in new.facts.keys().filter(|name| name.starts_with("growth.")) {
            assert!(vocabulary::fact_named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn without_an_earlier_capture_growth_is_unknown_not_zero() {
        let mut new = sheet(1, &[("A.B", 1)]);
        let none: &[FactSheet] = &[];
        write(none, &mut new);
        assert!(!new.facts.contains_key("growth.commit"));
        assert!(new.unknown.contains_key("growth.commit"));
        assert!(!new.lists.contains_key("growing_statics"));
    }

    #[test]
    fn what_is_added_can_be_taken_out_again() {
        let old = sheet(0, &[("A.B", 10_000)]);
        let mut new = sheet(HOUR, &[("A.B", 100_000)]);
        let before = new.clone();
        write(&[&old], &mut new);
        assert_ne!(new, before);
        erase(&mut new);
        assert_eq!(new, before);
    }

    #[test]
    fn a_capture_from_the_future_is_not_a_baseline() {
        let mut new = sheet(10, &[("A.B", 5)]);
        write(&[sheet(20, &[("A.B", 1)])], &mut new);
        assert!(!new.lists.contains_key("growing_statics"));
    }
}

//! What waits: timers by what they call, registrations on cancellation tokens by who made them, asynchronous methods by where they
//! stand.

use super::path::Paths;
use super::rows::{int, row, text};
use super::survey::Survey;
use crate::known::{self, Reader, registration, state_machine, timer, token_source};
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Row, Value};
use std::collections::HashMap;

/// Rows kept in each list.
const KEEP: usize = 50;

#[derive(Default)]
struct Tally {
    count: u64,
    bytes: u64,
    objects: Vec<u32>,
    /// The one that keeps most alive, with how much.
    heaviest: Option<(u64, u32)>,
}

type Groups<K> = HashMap<K, Tally>;

/// What an object of a type is, here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Timer,
    Registration,
    Call,
    Source,
}

fn kind_of(raw_name: &str, is_source: bool) -> Option<Kind> {
    match raw_name {
        _ if is_source => Some(Kind::Source),
        timer::TYPE => Some(Kind::Timer),
        registration::TYPE => Some(Kind::Registration),
        name if state_machine::is_box(name) => Some(Kind::Call),
        _ => None,
    }
}

/// Writes `timers`, `registrations`, `async_calls` and `cancellation.*`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let kinds: Vec<Option<Kind>> = (0u32..)
        .take(survey.runtime.type_count())
        .map(|id| {
            let shape = known::shape_of_type(survey.runtime, TypeId(id));
            let is_source = shape.is_some_and(|shape| shape.types == token_source::TYPES);
            kind_of(&survey.runtime.type_info(TypeId(id))?.raw_name, is_source)
        })
        .collect();
    let reader = Reader::new(survey.runtime);
    let objects = &survey.objects;
    let mut timers: Groups<String> = HashMap::new();
    let mut registrations: Groups<String> = HashMap::new();
    let mut sources: HashMap<u64, u64> = HashMap::new();
    let mut calls: Groups<(TypeId, Option<u32>)> = HashMap::new();
    let (mut all_sources, mut cancelled, mut timed) = (0, 0, 0);
    for (object, id) in (0u32..).zip(objects.type_ids()) {
        let Some(kind) = kinds.get(*id as usize).copied().flatten() else {
            continue;
        };
        if !survey.is_live(object) {
            continue;
        }
        let view = reader.view_as(objects.address(object), TypeId(*id));
        let tally = match kind {
            Kind::Timer => timers.entry(named(view.timer_calls())).or_default(),
            Kind::Registration => {
                if let Some(source) = view.source() {
                    *sources.entry(source).or_default() += 1;
                }
                let by = named(view.registered_by());
                registrations.entry(by).or_default()
            }
            Kind::Source => {
                all_sources += 1;
                cancelled += u64::from(view.is_cancelled() == Some(true));
                timed += u64::from(view.has_timer() == Some(true));
                continue;
            }
            Kind::Call => calls.entry((view.id, view.waits_at())).or_default(),
        };
        let retained = survey.retained(object);
        tally.count += 1;
        tally.bytes += objects.size(object);
        tally.objects.push(object);
        tally.heaviest = tally.heaviest.max(Some((retained, object)));
    }
    let largest_source = sources.values().copied().max().unwrap_or(0);
    sheet.int("cancellation.largest_source", largest_source);
    sheet.int("cancellation.sources", all_sources);
    sheet.int("cancellation.cancelled", cancelled);
    sheet.int("cancellation.timed", timed);
    let rows = ranked(survey, timers, |calls| vec![("calls", text(calls))]);
    sheet.lists.insert("timers".to_owned(), rows);
    let rows = ranked(survey, registrations, |by| {
        vec![("registered_by", text(by))]
    });
    sheet.lists.insert("registrations".to_owned(), rows);
    let rows = ranked(survey, calls, |(id, at)| {
        let name = survey.runtime.type_info(id).map(|info| info.name.clone());
        let mut columns = vec![("method", text(named(name)))];
        if let Some(at) = at {
            columns.push(("waits_at", int(at.into())));
        }
        columns
    });
    sheet.lists.insert("async_calls".to_owned(), rows);
}

fn named(name: Option<String>) -> String {
    name.unwrap_or_else(|| "?".to_owned())
}

/// Groups as rows, the largest first.
fn ranked<K>(
    survey: &Survey<'_>,
    groups: Groups<K>,
    columns: impl Fn(K) -> Vec<(&'static str, Value)>,
) -> Vec<Row> {
    let mut groups: Vec<(K, Tally)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, tally)| {
        let heaviest = tally.heaviest.map(|(_, object)| object);
        (std::cmp::Reverse((tally.count, tally.bytes)), heaviest)
    });
    let mut paths = Paths::new(survey);
    groups
        .into_iter()
        .take(KEEP)
        .map(|(key, tally)| {
            let path = tally.heaviest.and_then(|(_, object)| paths.to(object));
            let steps = path.map(|path| path.steps).unwrap_or_default();
            let mut out = row([
                ("count", int(tally.count)),
                ("bytes", int(tally.bytes)),
                ("retained", int(survey.retained_together(tally.objects))),
                ("path", Value::Texts(steps)),
            ]);
            let named = columns(key).into_iter();
            out.extend(named.map(|(name, value)| (name.to_owned(), value)));
            out
        })
        .collect()
}

//! The finalization queue: who is registered, who waits, what the waiting ones keep alive.

use super::rows::{int, row, text};
use super::survey::{RootKind, Survey};
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Row};
use std::collections::HashMap;

/// Rows kept per list.
const KEEP: usize = 100;

/// Writes `finalizer.*`, `finalizable` and `ready`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let queue = &survey.finalization;
    let registered = by_type(survey, queue.registered.iter().map(|(_, address)| *address));
    let ready = by_type(
        survey,
        queue.ready.iter().chain(&queue.ready_critical).copied(),
    );
    sheet.int("finalizer.registered", queue.registered.len() as u64);
    sheet.int(
        "finalizer.ready",
        (queue.ready.len() + queue.ready_critical.len()) as u64,
    );
    sheet.int("finalizer.ready_bytes", ready.values().map(|t| t.1).sum());
    let retained: u64 = survey
        .roots
        .iter()
        .filter(|r| r.kind == RootKind::Ready)
        .map(|r| survey.weights.share(r.group).bytes)
        .sum();
    sheet.int("finalizer.ready_retained", retained);
    match &queue.thread {
        Some(thread) => sheet.bool("finalizer.thread_busy", thread.busy),
        None => sheet.unknown(
            "finalizer.thread_busy",
            "the finalizer thread is not in the dump",
        ),
    }
    sheet
        .lists
        .insert("finalizable".to_owned(), rows(survey, registered));
    sheet.lists.insert("ready".to_owned(), rows(survey, ready));
}

fn by_type(
    survey: &Survey<'_>,
    addresses: impl Iterator<Item = u64>,
) -> HashMap<TypeId, (u64, u64)> {
    let mut types: HashMap<TypeId, (u64, u64)> = HashMap::new();
    for address in addresses {
        if let Some(object) = survey.objects.index_of(address) {
            let tally = types.entry(survey.objects.type_id(object)).or_default();
            tally.0 += 1;
            tally.1 += survey.objects.size(object);
        }
    }
    types
}

fn rows(survey: &Survey<'_>, types: HashMap<TypeId, (u64, u64)>) -> Vec<Row> {
    let mut types: Vec<(TypeId, (u64, u64))> = types.into_iter().collect();
    types.sort_by_key(|(id, (count, bytes))| (std::cmp::Reverse((*count, *bytes)), id.0));
    types
        .into_iter()
        .take(KEEP)
        .map(|(id, (count, bytes))| {
            let info = survey.runtime.type_info(id);
            row([
                (
                    "type",
                    text(info.map_or_else(|| "?".to_owned(), |info| info.name.clone())),
                ),
                ("count", int(count)),
                ("bytes", int(bytes)),
            ])
        })
        .collect()
}

//! The finalization queue: who is registered, who waits, what the waiting ones keep alive.

use super::rows::{int, row, text};
use super::survey::{RootKind, Survey};
use super::threads::{is_of_framework, label};
use leakhound_clr::{FinalizerThread, Generation, TypeId};
use leakhound_rules::{FactSheet, Row};
use std::collections::{BTreeMap, HashMap};

/// Rows kept per list.
const KEEP: usize = 100;

/// Writes `finalizer.*`, `finalizable`, `finalizable_generations` and `ready`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let queue = &survey.finalization;
    // What was disposed stays registered until it dies, with a mark that its finalizer need not run.
    let undisposed = queue.registered.iter().map(|(_, address)| *address);
    let undisposed = undisposed.filter(|o| !survey.runtime.is_finalizer_suppressed(*o));
    let registered = by_type(survey, undisposed);
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
        .map(|root| survey.owned_by(root).bytes)
        .sum();
    sheet.int("finalizer.ready_retained", retained);
    sheet.int(
        "finalizer.ready_critical",
        queue.ready_critical.len() as u64,
    );
    match &queue.thread {
        Some(thread) => write_thread(survey, thread, sheet),
        None => sheet.unknown(
            "finalizer.thread_busy",
            "the finalizer thread is not in the dump",
        ),
    }
    let mut generations: BTreeMap<Generation, (u64, u64)> = BTreeMap::new();
    for (generation, address) in &queue.registered {
        let tally = generations.entry(*generation).or_default();
        tally.0 += 1;
        let object = survey.objects.index_of(*address);
        tally.1 += object.map_or(0, |o| survey.objects.size(o));
    }
    let generation_rows = generations.into_iter().map(|(generation, (count, bytes))| {
        row([
            ("generation", text(generation.name())),
            ("count", int(count)),
            ("bytes", int(bytes)),
        ])
    });
    sheet.lists.insert(
        "finalizable_generations".to_owned(),
        generation_rows.collect(),
    );
    sheet
        .lists
        .insert("finalizable".to_owned(), rows(survey, registered));
    sheet.lists.insert("ready".to_owned(), rows(survey, ready));
}

fn write_thread(survey: &Survey<'_>, thread: &FinalizerThread, sheet: &mut FactSheet) {
    let type_name = |object: u64| {
        let info = survey.runtime.type_info(survey.runtime.type_of(object)?)?;
        Some(info.name.clone())
    };
    sheet.bool("finalizer.thread_busy", thread.busy);
    sheet.text("finalizer.thread_state", thread.state.name());
    sheet.bool("finalizer.thread_sure", thread.sure);
    // What the application wrote comes before what the framework made of it.
    let running: Vec<String> = thread
        .running
        .iter()
        .copied()
        .filter_map(type_name)
        .collect();
    let own = running.iter().find(|name| !is_of_framework(name));
    if let Some(name) = own.or(running.first()) {
        sheet.text("finalizer.running", name.as_str());
    }
    let system_call = thread.system_call.map(|name| format!("system call {name}"));
    if let Some(place) = thread.calls.first().cloned().or(system_call) {
        sheet.text("finalizer.waits_in", place);
    }
    if let Some(lock) = &thread.lock {
        if let Some(name) = type_name(lock.object) {
            sheet.text("finalizer.lock", name);
        }
        if let Some(owner) = lock.owner {
            sheet.text("finalizer.lock_owner", label(survey.runtime, owner));
        }
    }
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
    types.sort_by_key(|(id, (count, bytes))| {
        (
            std::cmp::Reverse((*count, *bytes)),
            survey.runtime.table_of(*id),
        )
    });
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

//! `threads`: managed threads, and on demand those that the runtime does not know.

use super::table::{Cell, Column, ColumnKind, Table};
use super::{ExploreError, Query, Scene, View};
use leakhound_clr::ManagedThread;
use std::collections::HashMap;

pub(super) const VIEW: View = View {
    name: "threads",
    about: "managed threads: ids, name, state",
    argument: None,
    columns: &[
        Column::new("managed_id", ColumnKind::Number).titled("managed"),
        Column::new("os_id", ColumnKind::Number).titled("OS"),
        Column::new("name", ColumnKind::Name),
        Column::new("state", ColumnKind::Word),
        Column::new("kind", ColumnKind::Word),
        Column::new("gc_mode", ColumnKind::Word).titled("GC mode"),
        Column::new("last_exception", ColumnKind::Name).titled("last exception"),
        Column::new("address", ColumnKind::Address),
    ],
    sort: "managed_id",
    share: None,
    read,
};

fn read(scene: &mut Scene<'_>, query: &Query) -> Result<Table, ExploreError> {
    let os_threads = &scene.subject.image.threads;
    let os_names: HashMap<u32, &str> = os_threads
        .iter()
        .filter_map(|t| Some((t.os_id, t.name.as_deref()?)))
        .collect();
    let runtime = scene.runtime(false)?;
    let finalizer = runtime.finalization().thread.map(|t| t.managed_id);
    let mut rows = Vec::new();
    let mut known = Vec::new();
    for thread in runtime.threads() {
        let alive = thread.is_alive() && thread.os_id != 0;
        if alive {
            known.push(thread.os_id);
        }
        let name = runtime.thread_name(thread).filter(|n| !n.is_empty());
        let os_name = || os_names.get(&thread.os_id).filter(|_| alive);
        rows.push(vec![
            thread.managed_id.into(),
            Some(thread.os_id).filter(|id| *id != 0).into(),
            name.or_else(|| os_name().map(|n| (*n).to_owned())).into(),
            state(thread).into(),
            kind(thread, finalizer).into(),
            if thread.preemptive_disabled {
                "cooperative"
            } else {
                "preemptive"
            }
            .into(),
            runtime.last_exception(thread).map(|e| e.type_name).into(),
            Cell::Address(thread.address),
        ]);
    }
    let native = os_threads.iter().filter(|t| !known.contains(&t.os_id));
    let mut notes = Vec::new();
    if query.all {
        rows.extend(native.map(|thread| {
            vec![
                Cell::Null,
                thread.os_id.into(),
                thread.name.clone().into(),
                "alive".into(),
                "native".into(),
                Cell::Null,
                Cell::Null,
                Cell::Null,
            ]
        }));
    } else {
        let count = native.count();
        if count > 0 {
            notes.push(format!(
                "{count} more threads are not the runtime's; --all lists them."
            ));
        }
    }
    Ok(Table {
        rows,
        notes,
        ..Table::default()
    })
}

fn state(thread: &ManagedThread) -> &'static str {
    if thread.is_dead() {
        "dead"
    } else if thread.is_unstarted() {
        "unstarted"
    } else {
        "alive"
    }
}

fn kind(thread: &ManagedThread, finalizer: Option<u32>) -> &'static str {
    if finalizer == Some(thread.managed_id) {
        "finalizer"
    } else if thread.is_worker() {
        "pool worker"
    } else if thread.is_background() {
        "background"
    } else {
        "foreground"
    }
}

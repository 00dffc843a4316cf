//! `finalizer`: objects with finalizers by type: registered, and dead and waiting for the finalizer thread.

use super::table::{Column, ColumnKind, Table};
use super::{ByName, ExploreError, Query, Scene, View, type_name};
use leakhound_clr::{FinalizerThread, Runtime, TypeId};
use std::collections::HashMap;

pub(super) const VIEW: View = View {
    name: "finalizer",
    about: "objects with finalizers by type: ready (dead, waiting for the finalizer thread) and registered",
    argument: None,
    columns: &[
        Column::new("type", ColumnKind::Name),
        Column::new("ready", ColumnKind::Count).summed(),
        Column::new("registered", ColumnKind::Count).summed(),
    ],
    sort: "ready",
    share: Some("ready"),
    read,
};

fn read(scene: &mut Scene<'_>, _query: &Query) -> Result<Table, ExploreError> {
    let runtime = scene.runtime(false)?;
    let queue = runtime.finalization();
    let ready = by_type(
        runtime,
        queue.ready.iter().chain(&queue.ready_critical).copied(),
    );
    let registered = by_type(runtime, queue.registered.iter().map(|(_, object)| *object));
    let name = |id: Option<TypeId>| {
        id.map_or_else(
            || "unreadable object".to_owned(),
            |id| type_name(runtime, id),
        )
    };
    // Types of which none waits come in the order of how many are registered.
    let mut named = ByName::default();
    for (id, count) in ready {
        named.add(name(id), [count, 0]);
    }
    for (id, count) in registered {
        named.add(name(id), [0, count]);
    }
    let mut table = named.into_table();
    table
        .rows
        .sort_by_key(|row| std::cmp::Reverse(row[2].int()));
    table.notes.push(match &queue.thread {
        Some(thread) => describe(runtime, thread),
        None => "The finalizer thread was not found.".to_owned(),
    });
    Ok(table)
}

/// What the thread does, whose finalizer it runs, what it waits for.
fn describe(runtime: &Runtime, thread: &FinalizerThread) -> String {
    let mut text = format!(
        "The finalizer thread (managed {}, OS {}) is {}",
        thread.managed_id,
        thread.os_id,
        thread.state.name()
    );
    let name = |object: u64| runtime.type_of(object).map(|id| type_name(runtime, id));
    if let Some(running) = thread.running.first().and_then(|object| name(*object)) {
        text.push_str(&format!(" in the finalizer of {running}"));
    }
    if let Some(lock) = &thread.lock {
        let of = name(lock.object).unwrap_or_else(|| "an object".to_owned());
        text.push_str(&format!(", waiting for the lock of {of}"));
        if let Some(owner) = lock.owner {
            text.push_str(&format!(", which managed thread {owner} holds"));
        }
    }
    text.push('.');
    text
}

fn by_type(runtime: &Runtime, objects: impl Iterator<Item = u64>) -> HashMap<Option<TypeId>, u64> {
    let mut counts = HashMap::new();
    for object in objects {
        *counts.entry(runtime.type_of(object)).or_default() += 1;
    }
    counts
}

//! Everything that the tests compare, in one document.

use crate::heap::{self, Segment};
use crate::sos::Dac;
use anyhow::Result;
use leakhound_dump::{MemoryExt, ProcessImage};
use serde::Serialize;
use std::collections::BTreeMap;

/// What the library says.
#[derive(Debug, Serialize)]
pub struct Testimony {
    pub server: bool,
    pub heaps: u32,
    pub segments: Vec<Segment>,
    pub types: Vec<Type>,
    /// Segments that did not parse to their end.
    pub broken: Vec<u64>,
    /// Handles by kind: the runtime's numbers (0 weak short … 3 pinned, 6 dependent).
    pub handles: BTreeMap<u32, u64>,
    /// Handles by kind and method table of the target.
    pub handle_targets: Vec<HandleTarget>,
    pub threads: Threads,
}

/// Objects of one type.
#[derive(Debug, Serialize)]
pub struct Type {
    pub method_table: u64,
    pub name: String,
    pub free: bool,
    pub base_size: u32,
    pub component_size: u32,
    pub token: u32,
    pub contains_pointers: bool,
    pub count: u64,
    pub bytes: u64,
}

/// Handles of one kind to objects of one type.
#[derive(Debug, Serialize)]
pub struct HandleTarget {
    pub kind: u32,
    pub method_table: u64,
    pub count: u64,
}

/// The thread store.
#[derive(Debug, Serialize)]
pub struct Threads {
    pub all: i32,
    pub background: i32,
    pub dead: i32,
    pub unstarted: i32,
    /// Kernel ids of those that have one, in order.
    pub os_ids: Vec<u32>,
    pub finalizer_os_id: u32,
}

/// Asks everything.
pub fn take(dac: &Dac, image: &ProcessImage) -> Result<Testimony> {
    let gc = dac.gc()?;
    let mut segments = Vec::new();
    let mut gaps = BTreeMap::new();
    for (index, (details, generations)) in dac.heaps(&gc)?.iter().enumerate() {
        segments.extend(heap::segments(dac, index, details, generations)?);
        gaps.extend(heap::gaps(dac, generations)?);
    }
    let walk = heap::walk(dac, &*image.memory, &segments, &gaps);
    let mut types = Vec::new();
    for (method_table, tally) in &walk.tallies {
        let data = dac.method_table(*method_table)?;
        types.push(Type {
            method_table: *method_table,
            name: dac.type_name(*method_table)?,
            free: data.is_free != 0,
            base_size: data.base_size,
            component_size: data.component_size,
            token: data.token,
            contains_pointers: data.contains_pointers != 0,
            count: tally.count,
            bytes: tally.bytes,
        });
    }
    let mut handles: BTreeMap<u32, u64> = BTreeMap::new();
    let mut targets: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for handle in dac.handles()? {
        *handles.entry(handle.kind).or_default() += 1;
        let target = image
            .memory
            .u64(handle.handle)
            .and_then(|object| image.memory.u64(object));
        if let Some(table) = target {
            *targets.entry((handle.kind, table & !7)).or_default() += 1;
        }
    }
    Ok(Testimony {
        server: gc.server != 0,
        heaps: gc.heaps,
        segments,
        types,
        broken: walk.broken,
        handles,
        handle_targets: targets
            .into_iter()
            .map(|((kind, method_table), count)| HandleTarget {
                kind,
                method_table,
                count,
            })
            .collect(),
        threads: threads(dac)?,
    })
}

fn threads(dac: &Dac) -> Result<Threads> {
    let store = dac.thread_store()?;
    let mut os_ids = Vec::new();
    let mut address = store.first;
    for _ in 0..store.threads {
        if address == 0 {
            break;
        }
        let thread = dac.thread(address)?;
        if thread.os_id != 0 {
            os_ids.push(thread.os_id);
        }
        address = thread.next;
    }
    os_ids.sort_unstable();
    Ok(Threads {
        all: store.threads,
        background: store.background,
        dead: store.dead,
        unstarted: store.unstarted,
        os_ids,
        finalizer_os_id: dac.thread(store.finalizer)?.os_id,
    })
}

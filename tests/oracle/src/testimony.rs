//! Everything that the tests compare, in one document.

use crate::fields;
use crate::heap::{self, Part, Segment};
use crate::sos::Dac;
use anyhow::Result;
use leakhound_dump::{MemoryExt, ProcessImage};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the library says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Testimony {
    /// Server GC.
    pub server: bool,
    /// GC heaps.
    pub heaps: u32,
    /// Segments or regions of all heaps.
    pub segments: Vec<Segment>,
    /// What each segment holds by generation: one part each, but for the segment that holds the young ones.
    pub parts: Vec<Part>,
    /// Types of all objects.
    pub types: Vec<Type>,
    /// Segments that did not parse to their end.
    pub broken: Vec<u64>,
    /// Handles that lead to an object.
    pub handles: Vec<Handle>,
    /// Finalization queues of all heaps.
    pub finalization: Vec<Queue>,
    /// Static references, null ones too.
    pub statics: Vec<Static>,
    /// Thread-static references that are not null.
    pub thread_statics: Vec<ThreadStatic>,
    /// Classes whose static references the library cannot find.
    pub unanswered_statics: BTreeSet<u64>,
    /// Sync blocks in use.
    pub sync_blocks: Vec<SyncBlock>,
    /// Managed threads, dead ones included.
    pub threads: Vec<Thread>,
    /// Kernel id of the finalizer thread.
    pub finalizer_os_id: u32,
}

/// Objects of one type.
#[derive(Debug, Serialize, Deserialize)]
pub struct Type {
    /// Its method table.
    pub method_table: u64,
    /// Its name as SOS prints it.
    pub name: String,
    /// The type of free blocks.
    pub free: bool,
    /// Count and bytes by generation.
    pub tallies: BTreeMap<String, (u64, u64)>,
}

impl Type {
    /// Count and bytes in all generations.
    #[must_use]
    pub fn total(&self) -> (u64, u64) {
        self.tallies
            .values()
            .fold((0, 0), |sum, tally| (sum.0 + tally.0, sum.1 + tally.1))
    }
}

/// A handle that leads to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Handle {
    /// Its address.
    pub address: u64,
    /// The runtime's number: 0 weak short … 3 pinned, 6 dependent (gc/gcinterface.h, HandleType).
    pub kind: u32,
    /// The object.
    pub target: u64,
    /// The second object of a dependent handle.
    pub secondary: u64,
}

/// Finalization queue of one heap: its objects by part, as the fill pointers divide them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Queue {
    /// Index of the heap.
    pub heap: usize,
    /// From the oldest generation to generation 0; the last two are ready critical and ready ones. `None`: not told.
    pub parts: Vec<Option<Vec<u64>>>,
}

/// A static field that holds a reference.
#[derive(Debug, Serialize, Deserialize)]
pub struct Static {
    /// Method table of the class.
    pub owner: u64,
    /// Name of the field.
    pub field: String,
    /// Address of its slot.
    pub slot: u64,
    /// The object in it.
    pub object: u64,
    /// A struct in a box.
    pub is_struct: bool,
}

/// A thread's own static field that is not null.
#[derive(Debug, Serialize, Deserialize)]
pub struct ThreadStatic {
    /// Method table of the class.
    pub owner: u64,
    /// Name of the field.
    pub field: String,
    /// Managed id.
    pub thread: u32,
    /// Address of its slot.
    pub slot: u64,
    /// The object in it.
    pub object: u64,
}

/// A sync block in use.
#[derive(Debug, Serialize, Deserialize)]
pub struct SyncBlock {
    /// The object in it.
    pub object: u64,
    /// `MonitorHeld` as SOS prints it.
    pub held: u32,
    /// How often the holder entered.
    pub recursion: u32,
    /// The runtime's `Thread`, or 0.
    pub holder: u64,
    /// Threads that wait.
    pub waiters: u32,
}

/// A managed thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Thread {
    /// Its address.
    pub address: u64,
    /// Managed id.
    pub managed_id: u32,
    /// Kernel id, or 0.
    pub os_id: u32,
    /// `Thread::m_State`.
    pub state: u32,
    /// Runs managed code.
    pub preemptive_disabled: bool,
    /// Pointer and limit of its allocation context.
    pub alloc_context: (u64, u64),
}

/// Asks everything; `also` are classes whose statics are asked for besides those of all modules and all objects.
pub fn take(dac: &Dac, image: &ProcessImage, also: &[u64]) -> Result<Testimony> {
    let memory = &*image.memory;
    let gc = dac.gc()?;
    let (mut segments, mut parts, mut finalization) = (Vec::new(), Vec::new(), Vec::new());
    let mut gaps = BTreeMap::new();
    for (index, (details, generations)) in dac.heaps(&gc)?.iter().enumerate() {
        let (of_heap, of_segments) = heap::segments(dac, index, details, generations)?;
        segments.extend(of_heap);
        parts.extend(of_segments);
        gaps.extend(heap::gaps(dac, generations)?);
        let fill = dac.fill_pointers(details)?;
        finalization.push(heap::queue(memory, index, generations.len(), &fill)?);
    }
    let walk = heap::walk(dac, memory, &mut parts, &gaps);
    let mut classes: BTreeSet<u64> = also.iter().copied().collect();
    for module in dac.modules()? {
        classes.extend(dac.classes(module)?);
    }
    let mut types = Vec::new();
    for (method_table, tallies) in walk.tallies {
        classes.insert(method_table);
        types.push(Type {
            method_table,
            name: dac.type_name(method_table)?,
            free: dac.method_table(method_table)?.is_free != 0,
            tallies,
        });
    }
    let fields = fields::read(dac, memory, &classes)?;
    let handles = dac.handles()?.into_iter().filter_map(|handle| {
        let target = memory.u64(handle.handle).filter(|target| *target != 0)?;
        Some(Handle {
            address: handle.handle,
            kind: handle.kind,
            target,
            secondary: handle.secondary,
        })
    });
    let threads = dac.threads()?.into_iter().map(|(address, data)| Thread {
        address,
        managed_id: data.managed_id,
        os_id: data.os_id,
        state: data.state.cast_unsigned(),
        preemptive_disabled: data.preemptive_disabled != 0,
        alloc_context: (data.alloc_pointer, data.alloc_limit),
    });
    let sync_blocks = dac.sync_blocks().into_iter().map(|block| SyncBlock {
        object: block.object,
        held: block.held,
        recursion: block.recursion,
        holder: block.holder,
        waiters: block.waiters,
    });
    Ok(Testimony {
        server: gc.server != 0,
        heaps: gc.heaps,
        segments,
        parts,
        types,
        broken: walk.broken,
        handles: handles.collect(),
        finalization,
        statics: fields.statics,
        thread_statics: fields.thread_statics,
        unanswered_statics: fields.unanswered,
        sync_blocks: sync_blocks.collect(),
        threads: threads.collect(),
        finalizer_os_id: dac.thread(dac.thread_store()?.finalizer)?.os_id,
    })
}

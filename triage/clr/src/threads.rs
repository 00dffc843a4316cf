//! Managed threads.
//!
//! Source: vm/threads.h; reference/clr-reader.md §7.

use crate::completeness::{Log, Problem};
use crate::layout::{AllocContextPlace, Layout};
use crate::limits;
use crate::method_table::could_be;
use crate::runtime::Runtime;
use leakhound_dump::{Memory, MemoryExt};
use serde::Serialize;
use std::collections::HashSet;

/// A thread as the runtime knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManagedThread {
    /// Address of the runtime's `Thread`.
    pub address: u64,
    /// `Environment.CurrentManagedThreadId`.
    pub managed_id: u32,
    /// Kernel thread id; 0 when it never ran or has ended.
    pub os_id: u32,
    /// `Thread::m_State`.
    pub state: u32,
    /// Runs managed code (may not be stopped right now).
    pub preemptive_disabled: bool,
    /// Pointer and limit of the piece of generation 0 it allocates from.
    pub alloc_context: (u64, u64),
    /// Bytes that it has allocated, small and large objects; 0 when that could not be read.
    pub allocated_bytes: u64,
    /// The managed `System.Threading.Thread`; 0 when managed code never asked for it.
    pub object: u64,
}

/// `Thread::ThreadState` (vm/threads.h): bits that did not move from 3.1 to 10.
mod state {
    pub const BACKGROUND: u32 = 0x200;
    pub const UNSTARTED: u32 = 0x400;
    pub const DEAD: u32 = 0x800;
    pub const THREAD_POOL_WORKER: u32 = 0x0100_0000;
}

impl ManagedThread {
    /// Does not keep the process alive.
    #[must_use]
    pub fn is_background(&self) -> bool {
        self.state & state::BACKGROUND != 0
    }

    /// Has ended; the runtime's record of it has not been freed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state & state::DEAD != 0
    }

    /// Was created and never started.
    #[must_use]
    pub fn is_unstarted(&self) -> bool {
        self.state & state::UNSTARTED != 0
    }

    /// Runs or could run.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.is_dead() && !self.is_unstarted()
    }

    /// Belongs to the thread pool, as far as the runtime says (newer ones leave that to managed code).
    #[must_use]
    pub fn is_worker(&self) -> bool {
        self.state & state::THREAD_POOL_WORKER != 0
    }
}

/// Addresses of all threads: a singly linked list through a field of `Thread`.
pub(crate) fn addresses(memory: &dyn Memory, layout: &Layout, store: u64, log: &Log) -> Vec<u64> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut link = store
        .checked_add(layout.thread_store.first_link)
        .and_then(|at| memory.u64(at));
    while let Some(at) = link.filter(|at| *at != 0) {
        if !seen.insert(at) || found.len() >= limits::THREADS || at < layout.thread.link {
            log.count(Problem::DamagedThreadList);
            return found;
        }
        found.push(at - layout.thread.link);
        link = memory.u64(at);
    }
    if link.is_none() {
        log.count(Problem::DamagedThreadList);
        // The last link led nowhere: what it led to is no thread.
        found.pop();
    }
    found
}

/// Every thread.
pub(crate) fn read(
    memory: &dyn Memory,
    layout: &Layout,
    store: u64,
    log: &Log,
) -> Vec<ManagedThread> {
    let threads = addresses(memory, layout, store, log);
    threads
        .into_iter()
        .filter_map(|at| read_one(memory, layout, at))
        .collect()
}

fn read_one(memory: &dyn Memory, layout: &Layout, address: u64) -> Option<ManagedThread> {
    let l = &layout.thread;
    let at = |offset: u64| address.checked_add(offset);
    let context = match l.alloc_context {
        AllocContextPlace::Inline(offset) => at(offset),
        AllocContextPlace::Behind(pointer, offset) => at(pointer)
            .and_then(|a| memory.u64(a))
            .filter(|p| *p != 0)
            .and_then(|p| p.checked_add(offset)),
    };
    let allocated_bytes = context.and_then(|c| allocated(memory, c)).unwrap_or(0);
    let alloc_context = context
        .and_then(|c| Some((memory.u64(c)?, memory.u64(c.checked_add(8)?)?)))
        .unwrap_or((0, 0));
    // A calibrated layout may lack an offset; the thread itself must be there.
    memory.u64(address)?;
    let word = |offset: u64| at(offset).and_then(|a| memory.u32(a)).unwrap_or(0);
    let handle = at(l.exposed_object)
        .and_then(|a| memory.u64(a))
        .filter(|h| could_be(*h));
    Some(ManagedThread {
        object: handle
            .and_then(|h| memory.u64(h))
            .filter(|o| could_be(*o))
            .unwrap_or(0),
        address,
        managed_id: word(l.managed_id),
        os_id: word(l.os_id),
        state: word(l.state),
        preemptive_disabled: word(l.preemptive_disabled) != 0,
        alloc_context,
        allocated_bytes,
    })
}

/// What `GC.GetAllocatedBytesForCurrentThread` says: everything that was handed out, less what is left of the last piece.
///
/// `gc_alloc_context` (gc/gcinterface.h, 3.1 to 10): pointer, limit, bytes of small objects, bytes of large ones.
fn allocated(memory: &dyn Memory, context: u64) -> Option<u64> {
    /// No thread has allocated so much; what is more is no counter.
    const MOST: u64 = 1 << 56;
    let word = |i: u64| memory.u64(context.checked_add(i * 8)?);
    let (pointer, limit, small, large) = (word(0)?, word(1)?, word(2)?, word(3)?);
    let handed_out = small.checked_add(large).filter(|bytes| *bytes < MOST)?;
    handed_out.checked_sub(limit.checked_sub(pointer)?)
}

impl Runtime {
    /// Name that the program gave a thread (`Thread.Name`).
    #[must_use]
    pub fn thread_name(&self, thread: &ManagedThread) -> Option<String> {
        /// Characters of a name that a report can use.
        const MOST: usize = 256;
        let id = self.type_of(thread.object)?;
        // `m_Name` up to 3.1, `_name` since.
        let field = ["_name", "m_Name"]
            .iter()
            .find_map(|name| self.instance_field(id, name))?;
        self.string_text(self.read_reference(thread.object, &field)?, MOST)
    }
}

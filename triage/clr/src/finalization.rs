//! The finalization queue and the thread that works it off.
//!
//! Source: gc/gcpriv.h, `CFinalize`; reference/clr-reader.md §10.

use crate::completeness::Problem;
use crate::gc_vars::GcVars;
use crate::limits;
use crate::locks::MonitorLock;
use crate::method_table::could_be;
use crate::runtime::Runtime;
use crate::segments::Generation;
use crate::threads::ManagedThread;
use leakhound_dump::{Memory, MemoryExt};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Objects with finalizers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Finalization {
    /// Registered objects and the generation whose collection looks at them. Suppressed ones stay listed until they die:
    /// see [`Runtime::is_finalizer_suppressed`].
    pub registered: Vec<(Generation, u64)>,
    /// Dead objects that wait for the finalizer thread. The one that is being finalized has left the queue.
    pub ready: Vec<u64>,
    /// Dead objects with critical finalizers, which wait until the others are done.
    pub ready_critical: Vec<u64>,
    /// What the finalizer thread does.
    pub thread: Option<FinalizerThread>,
}

/// The finalizer thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FinalizerThread {
    /// Kernel thread id.
    pub os_id: u32,
    /// Managed id.
    pub managed_id: u32,
    /// It is inside of a finalizer: it runs managed code, or has called out of it. One dump cannot tell blocked from slow.
    pub busy: bool,
    /// What it does, as far as one moment tells.
    pub state: FinalizerState,
    /// The state is proved: it waits for work, runs managed code, or waits for a lock that another thread holds.
    pub sure: bool,
    /// Methods that called into the runtime or native code, the innermost first.
    pub calls: Vec<String>,
    /// The system call it is in, when the dump tells.
    pub system_call: Option<&'static str>,
    /// The object whose finalizer runs, as far as its stack tells; the outermost candidate first.
    pub running: Vec<u64>,
    /// The lock it waits for.
    pub lock: Option<MonitorLock>,
}

/// What the finalizer thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalizerState {
    /// It waits for work.
    Idle,
    /// It runs a finalizer.
    Busy,
    /// A finalizer waits for something.
    Blocked,
}

impl FinalizerState {
    /// As it is written: `idle`, `busy`, `blocked`.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["idle", "busy", "blocked"][self as usize]
    }
}

impl Runtime {
    /// Reads the queues of all heaps.
    #[must_use]
    pub fn finalization(&self) -> Finalization {
        let mut all = Finalization::default();
        let mut seen = HashSet::new();
        for heap in &self.heaps.heaps {
            if !seen.insert(heap.finalize_queue)
                || self.read_queue(heap.finalize_queue, &mut all).is_none()
            {
                self.log.count(Problem::DamagedFinalizationQueue);
            }
        }
        all.thread = self.finalizer_thread(&all);
        all
    }

    /// `GC.SuppressFinalize` was called for an object, or its finalizer has run.
    #[must_use]
    pub fn is_finalizer_suppressed(&self, object: u64) -> bool {
        /// vm/syncblk.h, `BIT_SBLK_FINALIZER_RUN`, in the word before the object.
        const FINALIZER_RUN: u32 = 0x4000_0000;
        object
            .checked_sub(4)
            .and_then(|at| self.memory.u32(at))
            .is_some_and(|header| header & FINALIZER_RUN != 0)
    }

    /// Number of objects that wait for the finalizer thread, critical ones included: a few reads.
    #[must_use]
    pub fn ready_count(&self) -> Option<u64> {
        let queues: Vec<u64> = self.heaps.heaps.iter().map(|h| h.finalize_queue).collect();
        ready_count(&*self.memory, &self.vars, &queues)
    }

    fn read_queue(&self, queue: u64, all: &mut Finalization) -> Option<()> {
        let bounds = queue_bounds(&*self.memory, &self.vars, queue)?;
        let count = usize::try_from(self.vars.generation_count).ok()?;
        for (part, ends) in bounds.windows(2).enumerate() {
            let mut buffer = vec![0u8; 1 << 16];
            let mut at = ends[0];
            while at < ends[1] {
                let want = usize::try_from(ends[1] - at)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                if self.memory.read(at, &mut buffer[..want]) != want {
                    return None;
                }
                for word in buffer[..want].chunks_exact(8) {
                    // Bit 0 marks objects that are being looked at.
                    let object = u64::from_le_bytes(word.try_into().unwrap_or_default()) & !1;
                    if !could_be(object) {
                        continue;
                    }
                    match part {
                        _ if part < count => all
                            .registered
                            .push((Generation::ALL[count - 1 - part], object)),
                        _ if part == count => all.ready_critical.push(object),
                        _ => all.ready.push(object),
                    }
                }
                at += want as u64;
            }
        }
        Some(())
    }

    fn finalizer_thread(&self, queues: &Finalization) -> Option<FinalizerThread> {
        let thread = self
            .threads
            .iter()
            .find(|t| t.address == self.finalizer_thread)?;
        let frames = self.frames(thread);
        // Idle, its chain of frames has exactly one: the handler that catches what managed code throws into native code.
        let busy = thread.preemptive_disabled || frames.len() > 1;
        let mut state = FinalizerThread {
            os_id: thread.os_id,
            managed_id: thread.managed_id,
            busy,
            state: FinalizerState::Idle,
            sure: true,
            calls: frames.into_iter().filter_map(|f| f.method).collect(),
            system_call: None,
            running: Vec::new(),
            lock: None,
        };
        if !busy {
            return Some(state);
        }
        state.state = FinalizerState::Busy;
        let held = self.stack_objects(thread);
        state.running = self.being_finalized(queues, &held);
        if thread.preemptive_disabled {
            return Some(state);
        }
        let call = self.system_call(thread);
        state.system_call = call.and_then(|c| c.name);
        let mut locks = self.locks_waited_for(thread, &held);
        state.sure = locks.len() == 1;
        state.lock = (!locks.is_empty()).then(|| locks.swap_remove(0));
        if state.lock.is_some() || call.is_some_and(|c| c.waits) {
            state.state = FinalizerState::Blocked;
        }
        Some(state)
    }

    /// Locks of other threads that a thread may wait for: it holds their object on its stack, and some waiter is not accounted for
    /// by the other threads that hold it too. What lies nearest to the stack's top comes first.
    fn locks_waited_for(&self, thread: &ManagedThread, held: &[u64]) -> Vec<MonitorLock> {
        let blocks = self.sync_blocks().unwrap_or_default();
        let mut locks: Vec<(usize, MonitorLock)> = blocks
            .locks
            .into_iter()
            .filter(|lock| lock.entering > 0 && lock.held && lock.owner != Some(thread.managed_id))
            .filter_map(|lock| Some((held.iter().position(|o| *o == lock.object)?, lock)))
            .collect();
        locks.sort_by_key(|(depth, _)| *depth);
        if locks.len() > 1 {
            // Old words on a stack look like references too.
            let mut others: HashMap<u64, u32> = HashMap::new();
            for other in self.threads.iter().filter(|t| t.is_alive()) {
                if other.address == thread.address {
                    continue;
                }
                for object in self.stack_objects(other) {
                    let owner = locks.iter().find(|(_, l)| l.object == object);
                    if owner.is_some_and(|(_, l)| l.owner != Some(other.managed_id)) {
                        *others.entry(object).or_default() += 1;
                    }
                }
            }
            let short =
                |lock: &MonitorLock| others.get(&lock.object).copied().unwrap_or(0) < lock.entering;
            if locks.iter().any(|(_, lock)| short(lock)) {
                locks.retain(|(_, lock)| short(lock));
            }
        }
        locks.into_iter().map(|(_, lock)| lock).collect()
    }

    /// Objects on the finalizer thread's stack that have a finalizer and stand in no queue: the runtime takes an object out before
    /// it calls its finalizer. What lies nearest to the stack's base was called first.
    fn being_finalized(&self, queues: &Finalization, held: &[u64]) -> Vec<u64> {
        let registered = queues.registered.iter().map(|(_, object)| object);
        let queued: HashSet<&u64> = registered
            .chain(&queues.ready)
            .chain(&queues.ready_critical)
            .collect();
        let mut running: Vec<u64> = held
            .iter()
            .filter(|object| !queued.contains(object))
            .copied()
            .filter(|object| {
                self.type_of(*object)
                    .and_then(|id| self.type_info(id))
                    .is_some_and(|info| info.finalizable)
            })
            .collect();
        running.reverse();
        running
    }
}

/// Number of objects in the two ready parts of these queues.
pub(crate) fn ready_count(memory: &dyn Memory, vars: &GcVars, queues: &[u64]) -> Option<u64> {
    let generations = usize::try_from(vars.generation_count).ok()?;
    queues.iter().try_fold(0u64, |sum, queue| {
        let bounds = queue_bounds(memory, vars, *queue)?;
        sum.checked_add((bounds[generations + 2] - bounds[generations]) / 8)
    })
}

/// Ends of the queue's parts: the array's start, then one fill pointer for each generation, critical and normal.
fn queue_bounds(memory: &dyn Memory, vars: &GcVars, queue: u64) -> Option<Vec<u64>> {
    let parts = vars.generation_count + 2;
    let word = |i: u64| memory.u64(queue.checked_add(i * 8)?);
    let (array, end) = (word(parts)?, word(parts + 1)?);
    let mut bounds = vec![array];
    for i in 0..parts {
        bounds.push(word(i)?);
    }
    let ordered = bounds
        .windows(2)
        .all(|w| w[0] <= w[1] && (w[1] - w[0]).is_multiple_of(8));
    let last = *bounds.last()?;
    let plausible = ordered
        && last <= end
        && could_be(array)
        && (last - array) / 8 <= limits::FINALIZATION_ENTRIES;
    plausible.then_some(bounds)
}

//! Peek: a running process's heap in a few hundred reads, without a pause.
//!
//! The process goes on meanwhile, so any two reads may belong to different moments. What does not fit together is read again, and
//! then called unknown; nothing is believed that a segment list or a queue of the runtime could not look like.

mod pages;

use crate::completeness::Log;
use crate::finalization::ready_count;
use crate::gc_state::{self, GcTiming};
use crate::gc_vars::GcVars;
use crate::handles::{HandleKind, HandleReader};
use crate::runtime::{NoRuntime, Options, Runtime};
use crate::segments::{Generation, Heaps, finalize_queues};
use crate::version::Version;
use leakhound_dump::{Memory, MemoryExt, ProcessImage};
use pages::Pages;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A process whose heap can be peeked at, found once.
pub struct Peeker {
    memory: Arc<dyn Memory>,
    vars: GcVars,
    server: bool,
    /// The first heap's table of collections, when it was found.
    collections: Option<u64>,
    version: Version,
}

/// What to look at; the rest costs nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// Sizes of generations and what is committed: grows with the number of segments or regions.
    pub generations: bool,
    /// Length of the finalizer's queue.
    pub finalizer: bool,
    /// Handles by kind: grows with their number.
    pub handles: bool,
    /// Numbers of collections.
    pub collections: bool,
    /// How long collections took.
    pub timing: bool,
}

impl Parts {
    /// Everything.
    pub const ALL: Self = Self {
        generations: true,
        finalizer: true,
        handles: true,
        collections: true,
        timing: true,
    };
}

/// What one peek saw; what was not asked for is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peek {
    /// Bytes from the first to the last object of each generation, holes included.
    pub generations: BTreeMap<Generation, u64>,
    /// Committed bytes of all segments.
    pub committed_bytes: u64,
    /// Objects that wait for the finalizer thread; unknown when its queue was being changed.
    pub finalizer_ready: Option<u64>,
    /// Handles by kind; unknown when the tables were being changed.
    pub handles: Option<BTreeMap<HandleKind, u64>>,
    /// Collections of generation 0, 1 and 2 so far, as `GC.CollectionCount` tells.
    pub collections: Option<[u64; 3]>,
    /// How long collections took; unknown where the place of that is not known: .NET 5, 6 and 7.
    pub timing: Option<GcTiming>,
    /// A collection is moving objects.
    pub gc_in_progress: bool,
}

impl Peek {
    /// Bytes of a generation; 0 when it has no segment.
    #[must_use]
    pub fn bytes(&self, generation: Generation) -> u64 {
        self.generations.get(&generation).copied().unwrap_or(0)
    }

    /// Bytes of all generations that are collected: without frozen segments, which are no heap of the program.
    #[must_use]
    pub fn heap_bytes(&self) -> u64 {
        let collected = self.generations.iter();
        collected
            .filter(|(generation, _)| **generation != Generation::Frozen)
            .map(|(_, bytes)| bytes)
            .sum()
    }
}

/// Times that a torn read is tried again.
const TRIES: usize = 4;

impl Peeker {
    /// Finds the runtime of a live process ([`leakhound_dump`]'s `live`).
    ///
    /// # Errors
    /// When there is none, or one that this build cannot read.
    pub fn open(image: &ProcessImage) -> Result<Self, NoRuntime> {
        let runtime = Runtime::open(
            image,
            &Options {
                heaps_only: true,
                ..Options::default()
            },
        )?;
        Ok(Self {
            memory: Arc::clone(&runtime.memory),
            vars: runtime.vars.clone(),
            server: runtime.info.server_gc,
            collections: gc_state::dynamic_data_places(&*runtime.memory, &runtime.vars)
                .first()
                .copied()
                .flatten(),
            version: runtime.info.version,
        })
    }

    /// Reads the heap as it is now; `None` when it changed under every attempt, or the process is gone.
    #[must_use]
    pub fn peek(&self) -> Option<Peek> {
        self.peek_at(Parts::ALL)
    }

    /// The same for some parts of it.
    #[must_use]
    pub fn peek_at(&self, parts: Parts) -> Option<Peek> {
        (0..TRIES).find_map(|_| self.attempt(parts))
    }

    /// A collection is moving objects at this moment: one read. `None` when the process is gone.
    #[must_use]
    pub fn gc_in_progress(&self) -> Option<bool> {
        Some(self.memory.u32(self.vars.invalid_count)? != 0)
    }

    fn attempt(&self, parts: Parts) -> Option<Peek> {
        // Outside of the pages that are kept: whether a collection runs must be asked anew.
        let invalid = || self.memory.u32(self.vars.invalid_count);
        let invalid_before = invalid()?;
        let memory = &Pages::new(&*self.memory);
        let mut peek = Peek::default();
        if parts.generations {
            let log = Log::default();
            let heaps = Heaps::read(memory, &self.vars, &log)?;
            if !log.snapshot().is_whole() {
                return None;
            }
            for segment in heaps.heaps.iter().flat_map(|h| &h.segments) {
                peek.committed_bytes += segment.committed_bytes();
                for part in &segment.parts {
                    *peek.generations.entry(part.generation).or_default() += part.end - part.start;
                }
            }
        }
        if parts.finalizer {
            peek.finalizer_ready = finalize_queues(memory, &self.vars)
                .and_then(|queues| ready_count(memory, &self.vars, &queues));
        }
        if parts.handles {
            let log = Log::default();
            let reader = HandleReader {
                memory,
                vars: &self.vars,
                server: self.server,
                log: &log,
            };
            let handles = reader.count();
            peek.handles = log.snapshot().is_whole().then_some(handles);
        }
        if parts.collections {
            peek.collections = self
                .collections
                .and_then(|table| gc_state::collections(memory, &self.vars, table));
        }
        if parts.timing {
            peek.timing = self
                .collections
                .and_then(|table| gc_state::timing(memory, &self.vars, table, self.version));
        }
        peek.gc_in_progress = invalid_before != 0 || invalid()? != 0;
        Some(peek)
    }
}

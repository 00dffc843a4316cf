//! What could not be read: every soft problem counted by kind.
//!
//! Damage is data. A reader that meets something impossible counts it here and goes on; the report says so.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $name:ident = $sentence:literal,)*) => {
        /// A kind of soft problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Problem { $($(#[doc = $doc])+ $name,)* }

        impl Problem {
            /// Every kind, in order.
            pub const ALL: &'static [Problem] = &[$(Problem::$name,)*];

            /// What it means, for a report.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Problem::$name => $sentence,)* }
            }
        }
    };
}

problems! {
    /// The walk met something that is no object.
    DamagedObject = "places where the walk met something that is no object and had to look for the next one",
    /// Heap bytes that are not in the dump.
    MissingHeapPages = "holes in the heap: pages that are not in the dump",
    /// A list of segments is cyclic, too long or unreadable.
    DamagedSegmentList = "segment lists that are cyclic, too long or unreadable",
    /// A segment whose limits make no sense.
    ImplausibleSegment = "segments with impossible limits",
    /// A reference that leads to no object.
    DanglingReference = "references that lead to no object",
    /// A type whose reference description makes no sense.
    DamagedReferenceMap = "types with an impossible description of their references",
    /// A type whose module or metadata could not be found.
    UnnamedType = "types without a name, for want of metadata",
    /// A module without metadata.
    ModuleWithoutMetadata = "modules without metadata",
    /// Metadata that belongs to another build of the module.
    WrongMetadata = "modules whose metadata is of another build",
    /// A handle table that could not be read.
    DamagedHandleTable = "handle tables that could not be read",
    /// A handle that leads to no object.
    DanglingHandle = "handles that lead to no object",
    /// A finalization queue that could not be read.
    DamagedFinalizationQueue = "finalization queues that could not be read",
    /// A table of static fields that could not be read.
    DamagedStatics = "tables of static fields that could not be read",
    /// The list of threads is cyclic, too long or unreadable.
    DamagedThreadList = "thread lists that are cyclic, too long or unreadable",
    /// A table of a module that could not be read.
    DamagedModule = "tables of modules that could not be read",
    /// The table of sync blocks ends before it should.
    DamagedSyncTable = "tables of sync blocks that could not be read to their end",
    /// A count above its limit.
    LimitReached = "counts that are larger than anything plausible and were cut",
}

/// What was counted, as it stands now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// Occurrences by kind; kinds that did not occur are absent.
    pub problems: BTreeMap<Problem, u64>,
    /// One sentence each: what the reader assumed or could not do.
    pub notes: Vec<String>,
}

impl Completeness {
    /// Nothing is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    /// Occurrences of one kind.
    #[must_use]
    pub fn count(&self, problem: Problem) -> u64 {
        self.problems.get(&problem).copied().unwrap_or(0)
    }
}

/// Where readers count problems; shared between threads.
#[derive(Default)]
pub(crate) struct Log {
    counts: [AtomicU64; Problem::ALL.len()],
    notes: Mutex<Vec<String>>,
}

const MAX_NOTES: usize = 64;

impl Log {
    pub fn count(&self, problem: Problem) {
        self.add(problem, 1);
    }

    pub fn add(&self, problem: Problem, times: u64) {
        self.counts[problem as usize].fetch_add(times, Ordering::Relaxed);
    }

    pub fn note(&self, sentence: String) {
        let mut notes = self
            .notes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if notes.len() < MAX_NOTES && !notes.contains(&sentence) {
            notes.push(sentence);
        }
    }

    pub fn snapshot(&self) -> Completeness {
        let count = |p: &Problem| (*p, self.counts[*p as usize].load(Ordering::Relaxed));
        Completeness {
            problems: Problem::ALL
                .iter()
                .map(count)
                .filter(|(_, n)| *n > 0)
                .collect(),
            notes: self
                .notes
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_counted_by_kind_and_absent_kinds_are_not_listed() {
        let log = Log::default();
        log.count(Problem::DamagedObject);
        log.add(Problem::DanglingReference, 3);
        log.note("once".into());
        log.note("once".into());
        let completeness = log.snapshot();
        assert_eq!(completeness.count(Problem::DanglingReference), 3);
        assert_eq!(completeness.problems.len(), 2);
        assert_eq!(completeness.notes, ["once"]);
        assert!(!completeness.is_whole());
    }
}

//! Live managed values through the reader of runtimes.

use super::time_in_gc::TimeInGc;
use super::{Peek, PeekProcess};
use crate::identity::Identity;
use crate::sample::Facts;
use leakhound_clr::{Generation, HandleKind, Parts, Peeker};
use std::time::Instant;

/// Reads every .NET process that `leakhound-clr` knows.
#[derive(Debug, Default)]
pub struct RuntimePeek;

impl Peek for RuntimePeek {
    fn open(
        &self,
        target: &Identity,
        facts: &[&'static str],
    ) -> Result<Box<dyn PeekProcess>, String> {
        let options = leakhound_dump::LiveOptions {
            threads: false,
            ..leakhound_dump::LiveOptions::default()
        };
        let image = leakhound_dump::live_with(target.pid, &options).map_err(|e| e.to_string())?;
        let peeker = Peeker::open(&image).map_err(|e| e.to_string())?;
        let rows: Vec<Row> = ROWS
            .iter()
            .copied()
            .filter(|(name, _)| facts.contains(name))
            .collect();
        Ok(Box::new(Open {
            parts: parts_of(&rows),
            peeker,
            rows,
            time_in_gc: TimeInGc::default(),
        }))
    }
}

/// What a fact is read from.
#[derive(Debug, Clone, Copy)]
enum From {
    Generation(Generation),
    Heap,
    Committed,
    FinalizerReady,
    Handles(&'static [HandleKind]),
    Collections(usize),
    TimeInGc,
}

/// A fact and where it comes from.
type Row = (&'static str, From);

/// Every live managed value.
const ROWS: &[Row] = &[
    ("managed.gen0", From::Generation(Generation::Gen0)),
    ("managed.gen1", From::Generation(Generation::Gen1)),
    ("managed.gen2", From::Generation(Generation::Gen2)),
    ("managed.loh", From::Generation(Generation::Loh)),
    ("managed.poh", From::Generation(Generation::Poh)),
    ("managed.heap", From::Heap),
    ("managed.committed", From::Committed),
    ("managed.finalizer_ready", From::FinalizerReady),
    ("managed.handles", From::Handles(&HandleKind::ALL)),
    (
        "managed.handles.strong",
        From::Handles(&[HandleKind::Strong]),
    ),
    (
        "managed.handles.pinned",
        From::Handles(&[HandleKind::Pinned]),
    ),
    (
        "managed.handles.async_pinned",
        From::Handles(&[HandleKind::AsyncPinned]),
    ),
    (
        "managed.handles.weak",
        From::Handles(&[HandleKind::WeakShort, HandleKind::WeakLong]),
    ),
    (
        "managed.handles.dependent",
        From::Handles(&[HandleKind::Dependent]),
    ),
    (
        "managed.handles.ref_counted",
        From::Handles(&[HandleKind::RefCounted]),
    ),
    (
        "managed.handles.sized_ref",
        From::Handles(&[HandleKind::SizedRef]),
    ),
    ("managed.gc_count.gen0", From::Collections(0)),
    ("managed.gc_count.gen1", From::Collections(1)),
    ("managed.gc_count.gen2", From::Collections(2)),
    ("managed.time_in_gc", From::TimeInGc),
];

/// The parts of the heap that must be looked at for these facts, and no others.
fn parts_of(rows: &[Row]) -> Parts {
    let mut parts = Parts::default();
    for (_, from) in rows {
        match from {
            From::Generation(_) | From::Heap | From::Committed => parts.generations = true,
            From::FinalizerReady => parts.finalizer = true,
            From::Handles(_) => parts.handles = true,
            From::Collections(_) => parts.collections = true,
            From::TimeInGc => parts.timing = true,
        }
    }
    parts
}

struct Open {
    peeker: Peeker,
    parts: Parts,
    rows: Vec<Row>,
    time_in_gc: TimeInGc,
}

impl PeekProcess for Open {
    fn read(&mut self, facts: &mut Facts) -> bool {
        // A heap that changed under every attempt gives nothing this time: unknown, not zero.
        let Some(peek) = self.peeker.peek_at(self.parts) else {
            return false;
        };
        let time_in_gc = peek.timing.and_then(|timing| {
            let now = Instant::now();
            self.time_in_gc.share(now, timing, peek.gc_in_progress)
        });
        let handles = |kinds: &[HandleKind]| {
            let counts = peek.handles.as_ref()?;
            let of = kinds.iter().filter_map(|kind| counts.get(kind));
            Some(of.sum::<u64>())
        };
        for (name, from) in &self.rows {
            let value = match from {
                From::TimeInGc => {
                    facts.set_some(name, time_in_gc);
                    continue;
                }
                From::Generation(generation) => Some(peek.bytes(*generation)),
                From::Heap => Some(peek.heap_bytes()),
                From::Committed => Some(peek.committed_bytes),
                From::FinalizerReady => peek.finalizer_ready,
                From::Handles(kinds) => handles(kinds),
                From::Collections(generation) => {
                    peek.collections.and_then(|c| c.get(*generation).copied())
                }
            };
            facts.set_some(name, value.map(|v| v as f64));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peek::PREFIX;
    use leakhound_rules::vocabulary::{FACTS, Scope};

    #[test]
    fn every_managed_fact_of_the_vocabulary_is_read_from_somewhere() {
        let live = FACTS.iter().filter(|f| f.scope == Scope::Live);
        let managed = live.map(|f| f.name).filter(|n| n.starts_with(PREFIX));
        let mut managed: Vec<&str> = managed.collect();
        let mut read: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
        managed.sort_unstable();
        read.sort_unstable();
        assert_eq!(managed, read);
    }

    #[test]
    fn only_what_is_named_is_looked_at() {
        let parts = |names: &[&str]| {
            let rows = ROWS.iter().copied().filter(|(n, _)| names.contains(n));
            parts_of(&rows.collect::<Vec<_>>())
        };
        assert_eq!(parts(&[]), Parts::default());
        assert_eq!(
            parts(&["managed.finalizer_ready"]),
            Parts {
                finalizer: true,
                ..Parts::default()
            }
        );
        assert_eq!(
            parts(&["managed.gen2", "managed.handles.weak"]),
            Parts {
                generations: true,
                handles: true,
                ..Parts::default()
            }
        );
    }
}

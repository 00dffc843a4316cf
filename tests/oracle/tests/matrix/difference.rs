//! Differences between the two readers, and the verdict over one cell.

use crate::accepted::{self, Accepted};
use crate::cell::Cell;
use std::collections::BTreeMap;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Facet {
    /// Bounds of segments or regions, by heap.
    Segments,
    /// Objects and free blocks, count and bytes, by heap and generation.
    Generations,
    /// Objects, count and bytes, by type and generation.
    Types,
    /// Names of types.
    Names,
    /// Handles: address, kind, target, secondary.
    Handles,
    /// Finalization queues: every object, by generation and ready lists.
    Finalization,
    /// Static references: slot, value, field.
    Statics,
    /// Thread-static references: thread, slot, value, field.
    ThreadStatics,
    /// Threads: address, ids, state, mode, allocation context.
    Threads,
}

impl Facet {
    pub const ALL: [Self; 9] = [
        Self::Segments,
        Self::Generations,
        Self::Types,
        Self::Names,
        Self::Handles,
        Self::Finalization,
        Self::Statics,
        Self::ThreadStatics,
        Self::Threads,
    ];

    /// Head of its column.
    pub fn title(self) -> &'static str {
        match self {
            Self::Segments => "segments",
            Self::Generations => "objects",
            Self::Types => "types",
            Self::Names => "names",
            Self::Handles => "handles",
            Self::Finalization => "finalization queue",
            Self::Statics => "statics",
            Self::ThreadStatics => "thread statics",
            Self::Threads => "threads",
        }
    }
}

/// One thing that the two readers say differently.
#[derive(Debug, Clone)]
pub struct Difference {
    pub facet: Facet,
    /// What it is about.
    pub what: String,
    /// What our reader says; empty for nothing.
    pub ours: String,
    /// What the library says; empty for nothing.
    pub theirs: String,
}

/// What came out of one cell.
pub struct Verdict {
    pub label: String,
    /// Columns of the table: program, runtime, collector, container.
    pub place: [String; 4],
    /// How many things were compared, by facet.
    pub compared: BTreeMap<Facet, u64>,
    /// Differences that nobody accepted.
    pub differences: Vec<Difference>,
    /// How often each accepted difference was met.
    pub accepted: BTreeMap<&'static str, u64>,
}

impl Verdict {
    pub fn of(cell: &Cell) -> Self {
        Self {
            label: cell.label(),
            place: [
                cell.program.clone(),
                cell.version.short().to_owned(),
                cell.collector.name().to_owned(),
                cell.container.name().to_owned(),
            ],
            compared: BTreeMap::new(),
            differences: Vec::new(),
            accepted: BTreeMap::new(),
        }
    }

    /// So many things of a kind were compared.
    pub fn count(&mut self, facet: Facet, things: usize) {
        *self.compared.entry(facet).or_default() += things as u64;
    }

    /// They differ in something; if a table entry names it, it is counted there.
    pub fn differ(
        &mut self,
        facet: Facet,
        what: impl Into<String>,
        ours: impl Into<String>,
        theirs: impl Into<String>,
    ) {
        self.differences.push(Difference {
            facet,
            what: what.into(),
            ours: ours.into(),
            theirs: theirs.into(),
        });
    }

    /// A difference that the table of accepted ones names.
    pub fn accept(&mut self, accepted: &'static Accepted) {
        *self.accepted.entry(accepted.name).or_default() += 1;
    }

    pub fn summary(&self) -> String {
        let compared: u64 = self.compared.values().sum();
        format!(
            "{compared} things compared, {} differ, {} accepted",
            self.differences.len(),
            self.accepted.values().sum::<u64>()
        )
    }

    /// The number of things compared in a facet, with a mark if any differs.
    pub fn column(&self, facet: Facet) -> String {
        let compared = self.compared.get(&facet).copied().unwrap_or(0);
        let differ = self.differences.iter().filter(|d| d.facet == facet).count();
        if differ == 0 {
            compared.to_string()
        } else {
            format!("{compared} (**{differ} differ**)")
        }
    }

    /// Reasons of the accepted differences, for the notes under the table.
    pub fn notes(&self) -> impl Iterator<Item = (&'static Accepted, u64)> {
        accepted::ALL
            .iter()
            .filter_map(|entry| Some((*entry, *self.accepted.get(entry.name)?)))
    }
}

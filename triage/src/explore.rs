//! The explorer: plain questions to a heap, each answered by a table. What SOS's `dumpheap -stat`, `eeheap -gc`,
//! `gchandles`, `finalizequeue`, `threads` and `maddress` give, from any dump, on any system.
//!
//! A view is one file and one line in [`VIEWS`]. Views read in the parser child; columns are known on both sides.

mod dominators;
mod finalizer;
mod generations;
mod handles;
mod map;
mod modules;
mod objects;
pub mod path;
mod statics;
mod strings;
pub mod table;
mod threads;
mod types;

use crate::child::Strings;
use crate::subject::Subject;
use leakhound_clr::{NoRuntime, Options, Problem, Runtime, TypeId};
use leakhound_dump::ProcessImage;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use table::{Cell, Column, Table};
use thiserror::Error;

/// Every view, in the order of the help.
pub const VIEWS: &[&View] = &[
    &types::VIEW,
    &objects::VIEW,
    &dominators::VIEW,
    &path::VIEW,
    &generations::VIEW,
    &statics::VIEW,
    &handles::VIEW,
    &finalizer::VIEW,
    &threads::VIEW,
    &strings::VIEW,
    &modules::VIEW,
    &map::VIEW,
];

/// Rows that ever cross from the child to its parent; a service has some 10,000 types and 50,000 static fields.
pub const ROWS_MAX: usize = 250_000;
/// Sentences that go with a table.
const NOTES_MAX: usize = 50;

/// One kind of question.
pub struct View {
    /// As it is typed.
    pub name: &'static str,
    /// What it answers.
    pub about: &'static str,
    /// The word that must follow its name, if one must.
    pub argument: Option<&'static str>,
    /// What its rows hold, in the order of the JSON keys.
    pub columns: &'static [Column],
    /// The column it is sorted by.
    pub sort: &'static str,
    /// The column whose share of the whole tells the story.
    pub share: Option<&'static str>,
    read: fn(&mut Scene<'_>, &Query) -> Result<Table, ExploreError>,
}

impl View {
    /// The view that is called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        VIEWS.iter().copied().find(|view| view.name == name)
    }
}

/// A question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Name of the view.
    pub view: String,
    /// What follows the name of the view: the type for `objects`, the address for `path`.
    pub argument: Option<String>,
    /// Column to sort by; none: the view's own.
    pub sort: Option<String>,
    /// The other way round.
    pub reverse: bool,
    /// Rows wanted; none: all, up to [`ROWS_MAX`].
    pub limit: Option<usize>,
    /// `gen`: only what the GC's own tables say, without a walk.
    pub quick: bool,
    /// `types`: free blocks as a type.
    pub free: bool,
    /// `dominators`: how far below the roots; none: 1.
    pub depth: Option<u32>,
    /// `dominators`: types instead of objects.
    pub types: bool,
    /// `statics`: fields that are null too; `threads`: threads that the runtime does not know too.
    pub all: bool,
}

/// Why there is no table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExploreError {
    /// The view needs a managed heap.
    #[error(transparent)]
    NoRuntime(#[from] NoRuntime),
    /// The same, of a dump that is known to lack something.
    #[error("{error}. {}", .warnings.join(" "))]
    Damaged {
        /// Why there is no heap.
        error: NoRuntime,
        /// What the dump lacks.
        warnings: Vec<String>,
    },
    /// The heap has more objects or references than ids.
    #[error(transparent)]
    TooLarge(#[from] leakhound_graph::GraphError),
    /// What should be an address is none.
    #[error("`{0}` is no address; write it as debuggers do, such as 0x7f0012345678")]
    BadAddress(String),
    /// There is no such view; a newer parent asked.
    #[error("there is no view called `{0}`")]
    NoView(String),
}

/// What a view reads.
struct Scene<'a> {
    subject: &'a Subject,
    /// Whether contents of strings may be shown.
    strings: Strings,
    runtime: Option<Runtime>,
    at: &'a mut dyn FnMut(f64, &str),
}

impl Scene<'_> {
    /// The runtime, or why there is none. Opened once.
    fn runtime(&mut self, quick: bool) -> Result<&Runtime, NoRuntime> {
        if self.runtime.is_none() {
            let options = Options {
                heaps_only: quick,
                ..Options::default()
            };
            self.runtime = Some(self.open(&options)?);
        }
        // Just put there.
        self.runtime.as_ref().ok_or(NoRuntime::NotDotNet {
            modules: self.subject.image.modules.len(),
        })
    }

    /// A process that runs may change its tables while they are read: then once more, as they are read in a moment.
    fn open(&self, options: &Options) -> Result<Runtime, NoRuntime> {
        const TRIES: usize = 5;
        let tries = if self.subject.live { TRIES } else { 1 };
        let mut last = Runtime::open(&self.subject.image, options);
        for _ in 1..tries {
            if last.as_ref().is_ok_and(|r| r.completeness().is_whole()) {
                break;
            }
            last = Runtime::open(&self.subject.image, options);
        }
        last
    }

    /// The runtime with its process, and whom to tell how far one is.
    #[expect(
        clippy::type_complexity,
        reason = "parts of one scene that are borrowed side by side"
    )]
    fn walked(
        &mut self,
    ) -> Result<((&Runtime, &ProcessImage), &mut dyn FnMut(f64, &str)), NoRuntime> {
        self.runtime(false)?;
        let image = &self.subject.image;
        // Just put there.
        let runtime = self.runtime.as_ref().ok_or(NoRuntime::NotDotNet {
            modules: image.modules.len(),
        })?;
        Ok(((runtime, image), &mut *self.at))
    }

    fn say(&mut self, share: f64, stage: &str) {
        (self.at)(share, stage);
    }
}

/// Answers a question about a process.
///
/// # Errors
/// The view needs a managed heap and there is none that can be read.
pub fn explore(
    subject: &Subject,
    query: &Query,
    strings: Strings,
    at: &mut dyn FnMut(f64, &str),
) -> Result<Table, ExploreError> {
    let view = View::named(&query.view).ok_or_else(|| ExploreError::NoView(query.view.clone()))?;
    let mut scene = Scene {
        subject,
        strings,
        runtime: None,
        at,
    };
    scene.say(0.1, "finding the runtime");
    let read = (view.read)(&mut scene, query);
    let mut table = read.map_err(|error| match error {
        ExploreError::NoRuntime(error) if !subject.image.warnings.is_empty() => {
            let warnings = subject.image.warnings.iter().take(NOTES_MAX).cloned();
            ExploreError::Damaged {
                error,
                warnings: warnings.collect(),
            }
        }
        other => other,
    })?;
    scene.say(0.95, "sorting");
    let sort = query.sort.as_deref().unwrap_or(view.sort);
    let limit = query.limit.unwrap_or(ROWS_MAX).min(ROWS_MAX);
    table.finish(view.columns, sort, query.reverse, limit);
    if table.row_count > ROWS_MAX as u64 && query.limit.is_none_or(|wanted| wanted > ROWS_MAX) {
        table.notes.push(format!(
            "Only the first {ROWS_MAX} of {} rows are given; sort by another column to see others.",
            table.row_count
        ));
    }
    if subject.live {
        table.notes.push(
            "The process went on while it was read: what changed meanwhile is approximate."
                .to_owned(),
        );
    }
    table.notes.extend(subject.image.warnings.iter().cloned());
    if let Some(runtime) = &scene.runtime {
        describe_gaps(runtime, &mut table.notes);
    }
    table.notes.extend(subject.image.memory.problems());
    table.notes.truncate(NOTES_MAX);
    Ok(table)
}

fn describe_gaps(runtime: &Runtime, notes: &mut Vec<String>) {
    let seen = runtime.completeness();
    for problem in Problem::ALL {
        let count = seen.count(*problem);
        if count > 0 {
            notes.push(format!("{count} {}.", problem.sentence()));
        }
    }
    notes.extend(seen.notes);
}

/// Name of a type, as every view spells it.
fn type_name(runtime: &Runtime, id: TypeId) -> String {
    runtime
        .type_info(id)
        .map_or_else(|| "?".to_owned(), |info| info.name.clone())
}

/// Type and bytes of the object at an address; `None` when nothing there looks like an object.
fn object_at(runtime: &Runtime, address: u64) -> Option<(TypeId, u64)> {
    let id = runtime.type_of(address)?;
    Some((id, runtime.object_bytes(address)?))
}

/// Rows that add up under one name: several types may be called the same (in other load contexts, or by the compiler).
#[derive(Default)]
struct ByName<const N: usize> {
    sums: HashMap<String, [u64; N]>,
}

impl<const N: usize> ByName<N> {
    fn add(&mut self, name: String, amounts: [u64; N]) {
        let sums = self.sums.entry(name).or_insert([0; N]);
        for (sum, amount) in sums.iter_mut().zip(amounts) {
            *sum = sum.saturating_add(amount);
        }
    }

    fn into_table(self) -> Table {
        let mut named: Vec<(String, [u64; N])> = self.sums.into_iter().collect();
        // Equal amounts keep the order of names, so that two runs give the same answer.
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let row = |(name, amounts): (String, [u64; N])| {
            let mut row = vec![Cell::Text(name)];
            row.extend(amounts.map(Cell::Int));
            row
        };
        Table {
            rows: named.into_iter().map(row).collect(),
            ..Table::default()
        }
    }
}

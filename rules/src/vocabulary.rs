//! Every fact that a trigger or a rule may name: its type, unit and sentence. [`FACTS`] and [`LISTS`] are the tables.
//!
//! `leakhound rules facts` and the catalogue page are printed from them.

pub mod counter;
mod facts;
mod lists;

pub use counter::{Counter, counter_named};
pub use facts::FACTS;
pub use lists::LISTS;

use std::sync::LazyLock;

/// What kind of value a fact or a column has. The unit is part of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes, a whole number.
    Bytes,
    /// A number of things.
    Count,
    /// A share, 0 to 1; written `30%`.
    Ratio,
    /// A time span, in milliseconds.
    Duration,
    /// Bytes per hour.
    BytesPerHour,
    /// Things per hour.
    CountPerHour,
    /// A plain number: what a counter of the program says. An expression over it has no kind.
    Number,
    /// Yes or no.
    Bool,
    /// A name.
    Text,
    /// Several names in order, such as a path.
    Texts,
}

impl Kind {
    /// Its unit, as it stands in evidence.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::Ratio => "ratio",
            Self::Duration => "ms",
            Self::BytesPerHour => "bytes/h",
            Self::CountPerHour => "count/h",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Text => "text",
            Self::Texts => "texts",
        }
    }

    /// What it is, for a sentence: "`loh.free` is *a number of bytes*".
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Bytes => "a number of bytes",
            Self::Count => "a count",
            Self::Ratio => "a share",
            Self::Duration => "a time span",
            Self::BytesPerHour => "bytes per hour",
            Self::CountPerHour => "a count per hour",
            Self::Number => "a plain number",
            Self::Bool => "yes or no",
            Self::Text => "a text",
            Self::Texts => "a list of texts",
        }
    }

    /// A literal of this kind.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::Bytes => "100 MB",
            Self::Count => "10_000",
            Self::Ratio => "30%",
            Self::Duration => "10 min",
            Self::BytesPerHour => "100 MB/h",
            Self::CountPerHour => "60/h",
            Self::Number => "100",
            Self::Bool => "true",
            Self::Text | Self::Texts => "\"System.String\"",
        }
    }
}

impl Kind {
    /// The kind of an expression that is a value of this kind: a plain number has none.
    pub(crate) fn of_expression(self) -> Option<Self> {
        (self != Self::Number).then_some(self)
    }
}

/// Where a fact can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// From the running process by the collector, and in the sheet (taken at capture time).
    Live,
    /// From the dump only.
    Sheet,
    /// From two or more sheets of the same service.
    Growth,
}

impl Scope {
    /// One word for a listing.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sheet => "sheet",
            Self::Growth => "growth",
        }
    }
}

/// A scalar fact.
#[derive(Debug, Clone, Copy)]
pub struct Fact {
    /// Dotted name.
    pub name: &'static str,
    /// Type and unit.
    pub kind: Kind,
    /// Where it can be read.
    pub scope: Scope,
    /// What it means, one sentence.
    pub sentence: &'static str,
}

/// A list fact with its columns.
#[derive(Debug, Clone, Copy)]
pub struct List {
    /// Dotted name.
    pub name: &'static str,
    /// Where it can be read.
    pub scope: Scope,
    /// What an element is, one sentence.
    pub sentence: &'static str,
    /// Columns: name, kind, sentence.
    pub columns: &'static [(&'static str, Kind, &'static str)],
}

/// The scalar fact called `name`.
#[must_use]
pub fn fact_named(name: &str) -> Option<&'static Fact> {
    FACTS.iter().find(|f| f.name == name)
}

/// The list fact called `name`.
#[must_use]
pub fn list_named(name: &str) -> Option<&'static List> {
    LISTS.iter().find(|l| l.name == name)
}

static FINGERPRINT: LazyLock<String> = LazyLock::new(|| {
    let columns = LISTS.iter().flat_map(|list| {
        let columns = list.columns.iter().map(|(name, ..)| *name);
        std::iter::once(list.name).chain(columns)
    });
    let mut names: Vec<&str> = FACTS.iter().map(|fact| fact.name).chain(columns).collect();
    names.sort_unstable();
    // FNV-1a: two vocabularies shall differ, nobody shall be kept from forging one.
    let hash = names
        .join("\n")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
});

/// The names of all facts and columns in one word, the same for the same names in any order.
#[must_use]
pub fn fingerprint() -> &'static str {
    &FINGERPRINT
}

#[cfg(test)]
mod tests;

//! Where expressions read facts: a sheet, or the history of a running process.

use crate::history::{History, Statistic, covers};
use crate::sheet::{FactSheet, Row};
use crate::value::Val;
use crate::vocabulary::{Fact, Kind, List};

/// Most rows of a list that are looked at. Writers bound their lists below this; a sheet that does not
/// keep to it could otherwise make a rule that compares a list with itself run for minutes.
pub const MAX_ROWS: usize = 1_000;

/// Where facts come from: a sheet, or the history of a running process.
pub trait Facts {
    /// A scalar fact.
    fn fact(&self, fact: &'static Fact) -> Val<'_>;

    /// The rows of a list; `None` when the list could not be read.
    fn rows(&self, list: &'static List) -> Option<&[Row]>;

    /// A statistic over time; `None` when there is none or it covers too little.
    fn measure(&self, _fact: &'static Fact, _statistic: Statistic, _window_ms: u64) -> Option<f64> {
        None
    }

    /// The median of a fact over the siblings of the process; `None` when it has none.
    fn siblings(&self, _fact: &'static Fact) -> Option<f64> {
        None
    }

    /// Why a fact is unknown, where that is known.
    fn why_unknown(&self, _name: &str) -> Option<&str> {
        None
    }
}

impl Facts for FactSheet {
    fn fact(&self, fact: &'static Fact) -> Val<'_> {
        if let Some(value) = self.facts.get(fact.name) {
            return Val::read(value, fact.kind);
        }
        let text = |t: &'_ String| !t.is_empty();
        let ratio = |r: Option<f64>| r.map_or(Val::Unknown, Val::number);
        match fact.name {
            "runtime.name" if text(&self.runtime.name) => Val::Text(&self.runtime.name),
            "runtime.version" if text(&self.runtime.version) => Val::Text(&self.runtime.version),
            "runtime.os" if text(&self.runtime.os) => Val::Text(&self.runtime.os),
            "completeness.heap" => ratio(self.completeness.heap),
            "completeness.names" => ratio(self.completeness.names),
            "completeness.references" => ratio(self.completeness.references),
            "completeness.during_gc" => self.completeness.during_gc.map_or(Val::Unknown, Val::Bool),
            _ => Val::Unknown,
        }
    }

    fn rows(&self, list: &'static List) -> Option<&[Row]> {
        let rows = self.lists.get(list.name)?;
        Some(&rows[..rows.len().min(MAX_ROWS)])
    }

    fn why_unknown(&self, name: &str) -> Option<&str> {
        self.unknown.get(name).map(String::as_str)
    }
}

/// A history as a source of facts.
pub struct Live<'a>(pub &'a dyn History);

impl Facts for Live<'_> {
    fn fact(&self, fact: &'static Fact) -> Val<'_> {
        match (self.0.now(fact.name), fact.kind) {
            (None, _) | (_, Kind::Text | Kind::Texts) => Val::Unknown,
            (Some(v), Kind::Bool) => Val::Bool(v != 0.0),
            (Some(v), _) => Val::number(v),
        }
    }

    fn rows(&self, _list: &'static List) -> Option<&[Row]> {
        None
    }

    fn measure(&self, fact: &'static Fact, statistic: Statistic, window_ms: u64) -> Option<f64> {
        let measured = self.0.measure(fact.name, statistic, window_ms)?;
        covers(&measured, window_ms).then_some(measured.value)
    }

    fn siblings(&self, fact: &'static Fact) -> Option<f64> {
        self.0.siblings(fact.name)
    }

    fn why_unknown(&self, name: &str) -> Option<&str> {
        self.0.why_unknown(name)
    }
}

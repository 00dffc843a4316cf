//! The fact sheet: everything a rule may ask about one capture, in one small, versioned document.

mod cells;
mod part;

use std::collections::BTreeMap;

pub use cells::{Cells, Name};
pub use part::read_part;
use serde::{Deserialize, Serialize};

/// Version of the meaning of [`FactSheet`]; moves when a fact changes its meaning.
///
/// 2: what a static field owns is called `owned`, no longer `retained`; `retained` is what would go with it.
pub const SHEET_SCHEMA: u32 = 2;

/// One element of a list fact: column name to value.
pub type Row = Cells;

/// A value without its unit; the unit is the vocabulary's.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// Bytes, counts, milliseconds: exact.
    Int(i64),
    /// Ratios and rates.
    Float(f64),
    /// Names.
    Text(String),
    /// Lists of names, such as a retention path.
    Texts(Vec<String>),
}

/// What is known about one capture.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FactSheet {
    /// [`SHEET_SCHEMA`] of the writer.
    pub schema: u32,
    /// Program and version that wrote it.
    pub tool: String,
    /// Fingerprint of the vocabulary of the writer: which facts it looked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vocabulary: String,
    /// Who and when.
    pub subject: Subject,
    /// Which runtime.
    pub runtime: RuntimeFacts,
    /// How much could be read.
    pub completeness: Completeness,
    /// Scalar facts by vocabulary name. A fact that is missing here is unknown, never zero.
    pub facts: Cells,
    /// List facts by vocabulary name; rows are ordered, the largest first, and bounded.
    pub lists: BTreeMap<String, Vec<Row>>,
    /// Why a fact is unknown, where that is known.
    pub unknown: BTreeMap<String, String>,
}

/// Whose sheet it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// Service as configured, or the process name.
    pub service: String,
    /// Host name.
    pub node: String,
    /// Process id.
    pub pid: u32,
    /// Version of the service, where it is known: that of its entry assembly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Start of the process, RFC 3339.
    pub process_started: Option<String>,
    /// Moment of the capture, RFC 3339.
    pub captured_at: Option<String>,
    /// Milliseconds since 1970 of the capture; growth is computed from these.
    pub captured_at_ms: Option<i64>,
    /// Of the second capture of a pair: when the first was taken. Growth is measured from there, not from before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_at_ms: Option<i64>,
    /// Where the dump was read from.
    pub source: String,
}

/// The runtime as the reader found it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeFacts {
    /// `.NET` or `none`.
    pub name: String,
    /// `8.0.32`.
    pub version: String,
    /// `linux` or `windows`.
    pub os: String,
    /// `x64` or `arm64`.
    pub arch: String,
    /// `workstation` or `server`.
    pub gc: String,
    /// `segments` or `regions`.
    pub heap_layout: String,
    /// Single-file host.
    pub single_file: bool,
}

/// How much of what should be readable was readable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Completeness {
    /// Share of heap bytes that parsed as objects, 0 to 1.
    pub heap: Option<f64>,
    /// Share of types with a full name, 0 to 1.
    pub names: Option<f64>,
    /// Share of references that lead to an object, 0 to 1.
    pub references: Option<f64>,
    /// The capture was taken while a garbage collection moved objects.
    pub during_gc: Option<bool>,
    /// What could not be read, one sentence each, bounded.
    pub problems: Vec<String>,
}

impl FactSheet {
    /// Brings a sheet of an older [`SHEET_SCHEMA`] to the words of this one.
    pub fn upgrade(&mut self) {
        if self.schema == 1 {
            for row in self.lists.get_mut("statics").into_iter().flatten() {
                if let Some(owned) = row.remove("retained") {
                    row.insert("owned".to_owned(), owned);
                }
            }
            self.schema = 2;
        }
    }

    /// Records a number of bytes, things or milliseconds. Values past `i64::MAX` saturate.
    pub fn int(&mut self, name: &str, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.facts.insert(name.to_owned(), Value::Int(value));
    }

    /// Records a ratio or a rate; a value that is not finite is left out.
    pub fn float(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.facts.insert(name.to_owned(), Value::Float(value));
        }
    }

    /// Records a yes or no.
    pub fn bool(&mut self, name: &str, value: bool) {
        self.facts.insert(name.to_owned(), Value::Bool(value));
    }

    /// Records a name.
    pub fn text(&mut self, name: &str, value: impl Into<String>) {
        self.facts
            .insert(name.to_owned(), Value::Text(value.into()));
    }

    /// Says why a fact is unknown.
    pub fn unknown(&mut self, name: &str, why: impl Into<String>) {
        self.unknown.insert(name.to_owned(), why.into());
    }

    /// A scalar fact as a whole number.
    #[must_use]
    pub fn get_int(&self, name: &str) -> Option<i64> {
        match self.facts.get(name)? {
            Value::Int(v) => Some(*v),
            Value::Float(v) => Some(*v as i64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_an_old_sheet_called_retained_is_owned() {
        let row = Row::from([("retained".to_owned(), Value::Int(870))]);
        let mut sheet = FactSheet {
            schema: 1,
            ..FactSheet::default()
        };
        for list in ["statics", "queues"] {
            sheet.lists.insert(list.to_owned(), vec![row.clone()]);
        }
        sheet.upgrade();
        assert_eq!(sheet.schema, SHEET_SCHEMA);
        let owned = Row::from([("owned".to_owned(), Value::Int(870))]);
        assert_eq!(sheet.lists["statics"], [owned]);
        assert_eq!(sheet.lists["queues"], [row]);
        let once = sheet.clone();
        sheet.upgrade();
        assert_eq!(sheet, once);
    }

    #[test]
    fn every_value_reads_back_as_it_was_written() {
        let mut sheet = FactSheet::default();
        sheet.int("a", u64::MAX);
        sheet.float("b", 0.25);
        sheet.float("left out", f64::NAN);
        sheet.bool("c", true);
        sheet.text("d", "é \"quoted\"");
        let path = Value::Texts(vec!["static A.b".to_owned(), "List<Order>".to_owned()]);
        sheet.lists.insert(
            "l".to_owned(),
            vec![Row::from([
                ("path".to_owned(), path),
                ("n".to_owned(), Value::Int(-5)),
            ])],
        );
        let json = serde_json::to_string(&sheet).unwrap();
        let back: FactSheet = serde_json::from_str(&json).unwrap();
        assert_eq!(back, sheet);
        assert_eq!(back.facts.len(), 4);
        assert_eq!(back.get_int("a"), Some(i64::MAX));
        for wrong in ["null", "{}", "[1]", "[[]]"] {
            assert!(serde_json::from_str::<Value>(wrong).is_err(), "{wrong}");
        }
        let big: Value = serde_json::from_str("18446744073709551615").unwrap();
        assert_eq!(big, Value::Int(i64::MAX));
    }
}

//! The rule language, the vocabulary of facts, the fact sheet, findings and their ranking.
//!
//! Invariant: no I/O, no clock, no async runtime. Text and values come in, findings go out.

pub mod sheet;
pub mod vocabulary;

pub use sheet::{FactSheet, Row, Value};

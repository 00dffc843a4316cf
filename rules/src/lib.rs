//! The rule language, the vocabulary of facts, the fact sheet, findings and their ranking.
//!
//! Invariant: no I/O, no clock, no async runtime. Text and values come in, findings go out.

pub mod category;
pub mod diagnosis;
pub mod diagnostic;
pub mod finding;
pub mod history;
pub mod sheet;
pub mod vocabulary;

pub use category::Category;
pub use diagnosis::{Diagnosis, FactValue, MemoryAccount, NotJudged, Verdict};
pub use diagnostic::{Diagnostic, Origin};
pub use finding::{Absorbed, Evidence, Finding, Role, Severity};
pub use history::{History, Measured, Statistic};
pub use sheet::{FactSheet, Row, Value};

//! The rule language, the vocabulary of facts, the fact sheet, findings and their ranking.
//!
//! Invariant: no I/O, no clock, no async runtime. Text and values come in, findings go out.

mod algebra;
pub mod catalog;
pub mod category;
pub mod check;
pub mod diagnosis;
pub mod diagnostic;
pub mod document;
pub mod eval;
pub mod expr;
pub mod facts;
pub mod finding;
pub mod fingerprint;
pub mod history;
mod judge;
pub mod lexer;
pub mod pack;
pub mod parser;
mod rank;
pub mod rule;
pub mod rule_test;
pub mod sheet;
pub mod syntax;
pub mod template;
pub mod trigger;
pub mod units;
pub mod value;
mod verdict;
pub mod vocabulary;

pub use category::Category;
pub use diagnosis::{Diagnosis, FactValue, MemoryAccount, NotJudged, Verdict};
pub use diagnostic::{Diagnostic, Origin};
pub use eval::Clocks;
pub use finding::{Absorbed, Evidence, Finding, Role, Severity};
pub use history::{History, Measured, Statistic};
pub use judge::{Known, judge, judge_knowing};
pub use pack::RuleSet;
pub use rule::{Overrides, Rule};
pub use sheet::{FactSheet, Row, Value};
pub use trigger::{Decision, Trigger, WindowNeed};
pub use units::{Bytes, Millis, Quantity, Ratio};
pub use value::{Truth, Val};

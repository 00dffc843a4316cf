//! Facts, diagnosis, report, delivery, worker, sandboxed child.
//!
//! Invariant: dumps are parsed only in the child process; network traffic leaves only through `notify`.

pub mod agent;
pub mod analyze;
pub mod announce;
pub mod backtest;
pub mod case;
pub mod child;
pub mod diagnose;
pub mod explore;
pub mod facts;
pub mod incidents;
pub mod known;
pub mod notify;
pub mod report;
pub mod rerun;
pub mod sandbox;
pub mod service_rules;
pub mod subject;
pub mod worker;

//! Facts, diagnosis, report, delivery, worker, sandboxed child.
//!
//! Invariant: dumps are parsed only in the child process; network traffic leaves only through `notify`.

pub mod analyze;
pub mod case;
pub mod child;
pub mod facts;
pub mod notify;
pub mod report;
pub mod sandbox;

//! Facts, diagnosis, report, delivery, worker, sandboxed child.
//!
//! Invariant: dumps are parsed only in the child process; network traffic leaves only through `notify`.

pub mod notify;
pub mod report;

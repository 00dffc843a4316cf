//! How to open a running process; the same on every system.

use crate::limits::Limits;

/// How to open a live process.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// Caps.
    pub limits: Limits,
    /// List the threads. A peek does not need them, and a process may have thousands.
    pub threads: bool,
    /// Open the process's memory once and read only through that: for a reader that gives up its rights afterwards.
    pub hold: bool,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            threads: true,
            hold: false,
        }
    }
}

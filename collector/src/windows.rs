//! What the collector does differently on Windows.
//!
//! The files of this folder stand in for the Linux ones of the same purpose, each named by a `path` where its module is declared:
//! `identity`, `single_file` and `socket` for discovery, `process_sampler` and `machine` for samples, `maps`, `node`,
//! `priority` and `disk` for captures, `writers` for dumps of others, `doctor`. The capture methods are `snapshot` (a clone of the address space, which the system
//! makes) and `suspend` (the process stands still); both write what `dump` says through the same seal, or have it walked (`walk`).
//! What wine lacks is in `wine`, and nowhere else.
//! What knows only the format (`minidump`, `pages`) is tested on every system.

#[cfg(windows)]
pub(crate) mod commit;
#[cfg(windows)]
pub(crate) mod dbghelp;
#[cfg(windows)]
pub(crate) mod dump;
#[cfg(windows)]
pub(crate) mod import;
#[cfg(windows)]
mod let_go;
pub(crate) mod minidump;
pub(crate) mod pages;
#[cfg(windows)]
pub(crate) mod pss;
#[cfg(windows)]
pub(crate) mod snapshot;
#[cfg(windows)]
pub(crate) mod suspend;
#[cfg(windows)]
mod thread;
#[cfg(windows)]
pub(crate) mod times;
#[cfg(windows)]
pub(crate) mod walk;
#[cfg(windows)]
pub(crate) mod wine;

#[cfg(windows)]
pub use let_go::{ARGUMENT as LET_GO_ARGUMENT, serve as let_go};

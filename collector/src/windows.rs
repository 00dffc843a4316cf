//! What the collector does differently on Windows.
//!
//! The files of this folder stand in for the Linux ones of the same purpose, each named by a `path` where its module is declared:
//! `identity`, `single_file` and `socket` for discovery, `process_sampler` and `machine` for samples, `maps`, `slot`,
//! `priority` and `disk` for captures. The capture methods are `snapshot` (a clone of the address space, which the system
//! makes) and `suspend` (the process stands still); both write what `dump` says through the same seal.
//! What wine lacks is in `wine`, and nowhere else.

pub(crate) mod commit;
pub(crate) mod dbghelp;
pub(crate) mod dump;
pub(crate) mod import;
mod let_go;
pub(crate) mod minidump;
pub(crate) mod pages;
pub(crate) mod pss;
pub(crate) mod snapshot;
pub(crate) mod suspend;
pub(crate) mod times;
pub(crate) mod wine;

pub use let_go::{ARGUMENT as LET_GO_ARGUMENT, serve as let_go};

//! The archive: bundles of captures, sealed in seekable zstd, and what a node remembers about them.
//!
//! ```text
//! ARCHIVE/
//!   .lock                              held for moments: keeps a sweep and a beginning bundle apart
//!   state.db                           queue, budgets, outbox; losing it loses no capture
//!   .modules/                          files of modules, one copy of each build
//!   fabric=3A=2FShop=2FCart/           one folder per service, its name escaped
//!     .partial-…/                      a bundle that is being written, locked by its writer
//!     20261122T185155Z-node7-4711/     a sealed bundle
//!       capture.json                   who, when, why, how, sizes, hashes
//!       memory.core.zst                the dump; may be pruned while the rest lives on
//!       modules/                       files of modules, when the dump lacks their metadata
//!       facts.json.zst                 the fact sheet
//!       diagnosis.json  report.html
//!       keep                           protects it from retention
//!       label.json                     what a person found out about it
//! ```
//!
//! A capture goes in through [`Archive::begin`], [`BundleWriter::dump`] and [`BundleWriter::seal`]; it is found with [`Archive::list`] and
//! read with [`Bundle::open_dump`] or, for any file, [`open_readable`]. [`Queue`] hands bundles to workers; [`retention`] says what to delete.
//!
//! Invariants:
//! - Nothing here knows what a dump contains. This crate moves bytes and remembers them.
//! - The folder is the truth. No index must agree with it; a bundle copied elsewhere is still a bundle.
//! - At any instant, after any crash, a bundle is whole or hidden, and what is hidden and without a living writer is swept.
//! - A size or count that a file claims is compared with [`limits`] before memory is spent on it.

pub mod archive;
pub mod bundle;
mod document;
pub mod error;
pub mod files;
mod frame_cache;
pub mod frames;
pub mod label;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod mapped;
mod modules;
pub mod open;
pub mod plain;
pub mod queue;
pub mod read_at;
pub mod retention;
pub mod sealed;
pub mod seek_table;
pub mod state;
pub mod verify;

pub use archive::{Archive, Filter, Listing, ServiceUsage, Swept};
pub use bundle::{Bundle, BundleWriter};
pub use document::read_bytes as read_document;
pub use error::ArchiveError;
pub use frames::{SealOptions, SealWriter, Sealed};
pub use label::Label;
pub use layout::BundleId;
pub use manifest::Manifest;
pub use open::{OpenOptions, open_readable, open_readable_with};
pub use queue::Queue;
pub use read_at::{Chunk, ReadAt};
pub use sealed::SealedFile;
pub use state::State;
pub use verify::Verified;

//! Bundles, seekable zstd, stores, catalogue, queue, retention.
//!
//! Invariant: nothing here knows what a dump contains. This crate moves bytes and remembers them.

pub mod archive;
pub mod bundle;
mod document;
pub mod error;
pub mod files;
mod frame_cache;
pub mod frames;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod mapped;
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
pub use error::ArchiveError;
pub use frames::{SealOptions, SealWriter, Sealed};
pub use layout::BundleId;
pub use manifest::Manifest;
pub use open::{OpenOptions, open_readable, open_readable_with};
pub use queue::Queue;
pub use read_at::{Chunk, ReadAt};
pub use sealed::SealedFile;
pub use state::State;
pub use verify::Verified;

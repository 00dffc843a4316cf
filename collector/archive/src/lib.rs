//! Bundles, seekable zstd, stores, catalogue, queue, retention.
//!
//! Invariant: nothing here knows what a dump contains. This crate moves bytes and remembers them.

mod frame_cache;
pub mod frames;
pub mod limits;
pub mod manifest;
pub mod mapped;
pub mod open;
pub mod plain;
pub mod read_at;
pub mod sealed;
pub mod seek_table;

pub use frames::{SealOptions, SealWriter, Sealed};
pub use manifest::Manifest;
pub use open::{OpenOptions, open_readable, open_readable_with};
pub use read_at::{Chunk, ReadAt};
pub use sealed::SealedFile;

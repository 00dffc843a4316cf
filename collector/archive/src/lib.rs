//! Bundles, seekable zstd, stores, catalogue, queue, retention.
//!
//! Invariant: nothing here knows what a dump contains. This crate moves bytes and remembers them.

pub mod manifest;
pub mod read_at;

pub use manifest::Manifest;
pub use read_at::ReadAt;

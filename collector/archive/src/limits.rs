//! Every cap on a size or count that a file claims, with its reason.
//!
//! Nothing is allocated on the word of a file before the number passed its limit here.

/// Raw bytes per frame that the writer uses: smaller frames pack worse, larger ones make a random 4 KiB read slower in
/// proportion. Sizes are in [`crate::SealOptions::default`].
pub const FRAME_RAW_BYTES: usize = 512 << 10;

/// Largest raw frame that a reader accepts. Other writers of the format use 2 MiB (zeekstd) up to 16 MiB; a frame is
/// decoded whole, so this bounds the memory of one read.
pub const MAX_FRAME_RAW_BYTES: u32 = 64 << 20;

/// Most frames in one seek table; the format's own limit is `0x0800_0000`. 32 Mi frames of 512 KiB are 16 TiB.
pub const MAX_FRAMES: u32 = 32 << 20;

/// Largest raw content that a seek table may claim: 16 TiB, above any process we can capture.
pub const MAX_RAW_BYTES: u64 = 16 << 40;

/// Decoded frames kept in memory by one sealed file unless told otherwise.
pub const CACHE_BYTES: usize = 64 << 20;

/// Compressed bytes that a plain zstd file (no seek table) may occupy in memory after it was recut into frames.
pub const MAX_RECUT_STORED_BYTES: u64 = 4 << 30;

/// Raw bytes that a plain zstd file may unpack to while it is recut: at about 1 GiB/s this ends within two minutes.
pub const MAX_RECUT_RAW_BYTES: u64 = 128 << 30;

/// Largest window a plain zstd file may ask for, as a power of two: 128 MiB, what `zstd -d` accepts without `--long`.
pub const MAX_WINDOW_LOG: u32 = 27;

/// Largest JSON document (unpacked) that the archive loads: manifests carry memory maps of up to 65,530 mappings.
pub const MAX_JSON_BYTES: u64 = 64 << 20;

/// Most entries of one folder that a listing looks at.
pub const MAX_FOLDER_ENTRIES: usize = 1_000_000;

//! Small documents of a bundle (manifest, sheet, diagnosis): read under limits, packed when their name says so.

use crate::error::{ArchiveError, Result};
use crate::limits::MAX_JSON_BYTES;
use crate::open::is_zstd_name;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use zstd::bulk::Decompressor;

/// Largest window of a packed document, as a power of two: 8 MiB, what levels up to 19 use.
const WINDOW_LOG: u32 = 23;
/// Sheets are written once and read for years.
const LEVEL: i32 = 9;

/// First bytes of a zstd frame (RFC 8878); no JSON begins with them.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

thread_local! {
    /// A new one asks the processor what it can do, which a virtual machine takes as long to answer as a sheet takes to unpack.
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The bytes of the document at `path`, unpacked if they are packed, whatever its name is.
///
/// # Errors
/// The file is missing, over the limit, or damaged.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let too_large = || ArchiveError::TooLarge {
        path: path.to_owned(),
        limit_bytes: MAX_JSON_BYTES,
    };
    let file = File::open(path).map_err(|e| ArchiveError::io("open", path, e))?;
    // A hint; the file may grow or shrink meanwhile.
    let expected = file.metadata().map_or(0, |meta| meta.len());
    let mut stored = Vec::with_capacity(expected.min(MAX_JSON_BYTES) as usize + 1);
    file.take(MAX_JSON_BYTES + 1)
        .read_to_end(&mut stored)
        .map_err(|e| ArchiveError::io("read", path, e))?;
    if stored.len() as u64 > MAX_JSON_BYTES {
        return Err(too_large());
    }
    if !stored.starts_with(&ZSTD_MAGIC) {
        return Ok(stored);
    }
    let bytes = unpacked(&stored).map_err(|e| ArchiveError::io("read", path, e))?;
    if bytes.len() as u64 > MAX_JSON_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

/// At most one byte more than the limit.
fn unpacked(stored: &[u8]) -> std::io::Result<Vec<u8>> {
    use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};
    // What Leakhound writes is one frame that tells its size: no window and no stream are needed.
    let is_one_frame = find_frame_compressed_size(stored).is_ok_and(|n| n == stored.len());
    if let (true, Ok(Some(size))) = (is_one_frame, get_frame_content_size(stored))
        && size <= MAX_JSON_BYTES
    {
        // Within the limit, so within an address.
        return UNPACKER.with_borrow_mut(|unpacker| {
            let unpacker = match unpacker {
                Some(unpacker) => unpacker,
                none => none.insert(Decompressor::new()?),
            };
            unpacker.decompress(stored, size as usize)
        });
    }
    let mut bytes = Vec::new();
    let mut decoder = zstd::Decoder::new(stored)?;
    decoder.window_log_max(WINDOW_LOG)?;
    decoder.take(MAX_JSON_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The JSON document at `path`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_bytes(path)?;
    serde_json::from_slice(&bytes).map_err(|e| ArchiveError::BadDocument {
        path: path.to_owned(),
        reason: format!("not the expected document: {e}"),
    })
}

/// `bytes` as they are stored under `name`.
pub(crate) fn packed<'a>(name: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    if !is_zstd_name(Path::new(name)) {
        return Ok(Cow::Borrowed(bytes));
    }
    let packed = (|| {
        let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
        zstd.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
        zstd.compress(bytes)
    })();
    packed
        .map(Cow::Owned)
        .map_err(|e| ArchiveError::io("compress", Path::new(name), e))
}

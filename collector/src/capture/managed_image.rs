//! Which parts of a managed module (a PE file) a reader of the heap needs: headers and metadata.
//!
//! The rest of a module is code, native and intermediate, which lies unchanged in the file on disk; with
//! precompiled frameworks it is three quarters of the bytes. Offsets: ECMA-335 II.25.2 and II.25.3.3.

use leakhound_archive::ReadAt;
use std::ops::Range;

const PAGE: u64 = 4096;
/// Sections looked at; the format allows 96.
const MAX_SECTIONS: u64 = 96;
/// Metadata larger than this is not believed.
const MAX_METADATA: u64 = 256 << 20;
/// Data directory of the CLI header.
const CLI_HEADER: u64 = 14;

/// Ranges of the file, widened to whole pages. `None`: it is no managed PE file, or not in a form known here,
/// and all of it should be kept.
pub(crate) fn needed(file: &dyn ReadAt) -> Option<Vec<Range<u64>>> {
    if read::<2>(file, 0)? != *b"MZ" {
        return None;
    }
    let pe = u64::from(word(file, 0x3c)?);
    if read::<4>(file, pe)? != *b"PE\0\0" {
        return None;
    }
    let n_sections = u64::from(half(file, pe + 6)?).min(MAX_SECTIONS);
    let optional = pe + 24;
    let optional_bytes = u64::from(half(file, pe + 20)?);
    let directories = match half(file, optional)? {
        0x10b => optional + 96,
        0x20b => optional + 112,
        _ => return None,
    };
    let headers_bytes = u64::from(word(file, optional + 60)?);
    let sections = optional + optional_bytes;
    // An address in the image to an offset in the file.
    let place = |address: u32| {
        (0..n_sections).find_map(|n| {
            let section = sections + n * 40;
            let (virtual_start, raw_bytes) = (word(file, section + 12)?, word(file, section + 16)?);
            let within = address
                .checked_sub(virtual_start)
                .filter(|w| *w < raw_bytes)?;
            Some(u64::from(word(file, section + 20)?) + u64::from(within))
        })
    };
    let cli = place(word(file, directories + CLI_HEADER * 8)?)?;
    let metadata = place(word(file, cli + 8)?)?;
    let metadata_bytes = u64::from(word(file, cli + 12)?);
    if headers_bytes > MAX_METADATA || metadata_bytes > MAX_METADATA {
        return None;
    }
    // Strong name and native header are named by the CLI header and lie near it; a page covers them.
    Some(vec![
        pages(0, headers_bytes),
        pages(cli, 72),
        pages(metadata, metadata_bytes),
    ])
}

fn pages(start: u64, bytes: u64) -> Range<u64> {
    start / PAGE * PAGE..(start + bytes).next_multiple_of(PAGE)
}

fn read<const N: usize>(file: &dyn ReadAt, at: u64) -> Option<[u8; N]> {
    let mut buf = [0; N];
    (file.read_at(at, &mut buf).ok()? == N).then_some(buf)
}

fn half(file: &dyn ReadAt, at: u64) -> Option<u16> {
    read(file, at).map(u16::from_le_bytes)
}

fn word(file: &dyn ReadAt, at: u64) -> Option<u32> {
    read(file, at).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_archive::read_at::PlainFile;

    fn image() -> Vec<u8> {
        let mut b = vec![0; 0x6000];
        let mut put = |at: usize, bytes: &[u8]| b[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &0x80_u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x86, &1_u16.to_le_bytes());
        put(0x94, &240_u16.to_le_bytes());
        put(0x98, &0x20b_u16.to_le_bytes());
        put(0x98 + 60, &0x200_u32.to_le_bytes());
        put(0x98 + 112 + 14 * 8, &0x2008_u32.to_le_bytes());
        // One section: address 0x2000, file offset 0x200.
        put(0x98 + 240 + 12, &0x2000_u32.to_le_bytes());
        put(0x98 + 240 + 16, &0x5000_u32.to_le_bytes());
        put(0x98 + 240 + 20, &0x200_u32.to_le_bytes());
        put(0x208 + 8, &0x5000_u32.to_le_bytes());
        put(0x208 + 12, &0x1100_u32.to_le_bytes());
        b
    }

    fn needed_of(bytes: &[u8]) -> Option<Vec<Range<u64>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.dll");
        std::fs::write(&path, bytes).unwrap();
        needed(&PlainFile::open(&path).unwrap())
    }

    #[test]
    fn headers_and_metadata_are_needed_and_code_is_not() {
        let ranges = needed_of(&image()).unwrap();
        // Metadata at 0x5000 - 0x2000 + 0x200 = 0x3200, 0x1100 bytes.
        assert_eq!(ranges, [0..0x1000, 0..0x1000, 0x3000..0x5000]);
    }

    #[test]
    fn what_is_not_understood_is_kept_whole() {
        let mut lying = image();
        lying[0x208 + 12..0x208 + 16].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut no_cli = image();
        no_cli[0x98 + 112 + 14 * 8..][..4].fill(0);
        for bytes in [
            &b""[..],
            b"MZ",
            b"\x7fELF",
            &image()[..0x100],
            &lying,
            &no_cli,
        ] {
            assert_eq!(needed_of(bytes), None);
        }
    }
}

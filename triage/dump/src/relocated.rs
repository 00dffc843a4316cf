//! A PE file as the loader would have left it in memory at another base: absolute addresses moved.
//!
//! What a dump lacks of an image is read from its file; where the image was not loaded at the base that it prefers, the words that
//! its relocation table names are off by the distance.

use std::io;
use std::path::Path;
use std::sync::Arc;

use leakhound_archive::ReadAt;

use crate::fields::{u16_at, u32_at};
use crate::pe::PeHeaders;

/// Bytes of relocations that are read; the largest runtime has less than 200 KB.
const MAX_TABLE_BYTES: u32 = 64 << 20;
/// `IMAGE_REL_BASED_DIR64`: the only kind that 64-bit images use, beside padding.
const DIR64: u16 = 10;
const WORD_BYTES: u64 = 8;

/// A file whose absolute addresses are moved by a distance.
pub(crate) struct RelocatedFile {
    file: Arc<dyn ReadAt>,
    distance: u64,
    /// Offsets of the words to move, sorted.
    words: Vec<u64>,
}

impl RelocatedFile {
    /// `file` as loaded at `base`: itself when that is where it wants to be.
    pub(crate) fn at(file: Arc<dyn ReadAt>, headers: &PeHeaders, base: u64) -> Arc<dyn ReadAt> {
        let distance = base.wrapping_sub(headers.image_base);
        let words = words(&*file, headers);
        if distance == 0 || words.is_empty() {
            return file;
        }
        Arc::new(Self {
            file,
            distance,
            words,
        })
    }
}

/// Blocks of {page `u32`, bytes of the block `u32`, entries `u16`: kind in the upper 4 bits, place in the page below}.
fn words(file: &dyn ReadAt, headers: &PeHeaders) -> Vec<u64> {
    let (rva, bytes) = headers.relocations;
    let Some(offset) = headers.file_offset(rva) else {
        return Vec::new();
    };
    let mut table = vec![0; bytes.min(MAX_TABLE_BYTES) as usize];
    let there = file.read_at(offset, &mut table).unwrap_or(0);
    let mut rest = &table[..there];
    let mut words = Vec::new();
    while let (Some(page), Some(block)) = (u32_at(rest, 0), u32_at(rest, 4)) {
        let Some(entries) = rest.get(8..block as usize) else {
            break;
        };
        words.extend(
            entries
                .chunks_exact(2)
                .filter_map(|entry| u16_at(entry, 0))
                .filter(|entry| entry >> 12 == DIR64)
                .filter_map(|entry| {
                    headers.file_offset(page.checked_add(u32::from(entry & 0xfff))?)
                }),
        );
        rest = &rest[block as usize..];
    }
    words.sort_unstable();
    words
}

impl ReadAt for RelocatedFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(offset, buf)?;
        let end = offset.saturating_add(n as u64);
        let first = self
            .words
            .partition_point(|word| word + WORD_BYTES <= offset);
        for word in self.words[first..].iter().take_while(|word| **word < end) {
            let mut bytes = [0; WORD_BYTES as usize];
            if self.file.read_at(*word, &mut bytes)? < bytes.len() {
                continue;
            }
            let moved = u64::from_le_bytes(bytes)
                .wrapping_add(self.distance)
                .to_le_bytes();
            for (at, byte) in (*word..).zip(moved) {
                if (offset..end).contains(&at) {
                    buf[(at - offset) as usize] = byte;
                }
            }
        }
        Ok(n)
    }

    fn origin(&self) -> &Path {
        self.file.origin()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pe::PeSection;
    use crate::source::Bytes;

    /// One section at 0x1000 in memory and 0x200 in the file; two words to move, in a table at its end.
    fn image(table: &[u8]) -> (Arc<dyn ReadAt>, PeHeaders) {
        let mut file = vec![0; 0x400];
        file[0x210..0x218].copy_from_slice(&0x1_8000_1234u64.to_le_bytes());
        file[0x220..0x228].copy_from_slice(&7u64.to_le_bytes());
        file[0x300..0x300 + table.len()].copy_from_slice(table);
        let headers = PeHeaders {
            time_stamp: 1,
            size_of_image: 0x2000,
            check_sum: 0,
            image_base: 0x1_8000_0000,
            relocations: (0x1100, table.len() as u32),
            sections: vec![PeSection {
                address: 0x1000,
                memory_bytes: 0x200,
                offset: 0x200,
                file_bytes: 0x200,
                write: false,
            }],
        };
        (Arc::new(Bytes::new(file)), headers)
    }

    fn block(entries: &[u16]) -> Vec<u8> {
        let mut bytes = 0x1000u32.to_le_bytes().to_vec();
        bytes.extend((8 + 2 * entries.len() as u32).to_le_bytes());
        bytes.extend(entries.iter().flat_map(|e| e.to_le_bytes()));
        bytes
    }

    #[test]
    fn words_of_the_table_move_and_others_stay() {
        let (file, headers) = image(&block(&[0xa010, 0x0000]));
        let moved = RelocatedFile::at(file, &headers, 0x7_0000_0000);
        let mut word = [0; 8];
        moved.read_at(0x210, &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), 0x7_0000_1234);
        moved.read_at(0x220, &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), 7);
        // A read that begins in the middle of the word sees its moved half.
        let mut half = [0; 4];
        moved.read_at(0x214, &mut half).unwrap();
        assert_eq!(half, [7, 0, 0, 0]);
    }

    #[test]
    fn a_table_that_lies_about_its_blocks_ends_the_search() {
        for table in [
            [0u8; 16].to_vec(),
            [0xff; 16].to_vec(),
            block(&[0xafff, 0xa010])[..9].to_vec(),
        ] {
            let (file, headers) = image(&table);
            let same = RelocatedFile::at(file, &headers, 0x7_0000_0000);
            let mut word = [0; 8];
            same.read_at(0x210, &mut word).unwrap();
            assert_eq!(u64::from_le_bytes(word), 0x1_8000_1234);
        }
    }
}

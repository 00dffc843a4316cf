//! Any bytes as a sealed file: the seek table and the reader must refuse or read, never panic, hang or eat memory.
#![no_main]

use leakhound_archive::mapped::InMemory;
use leakhound_archive::seek_table::TableBuilder;
use leakhound_archive::{ReadAt, SealedFile};
use libfuzzer_sys::fuzz_target;

/// Most raw bytes that one run decodes.
const BUDGET_BYTES: u64 = 8 << 20;

fuzz_target!(|input: &[u8]| {
    // The first byte chooses: the bytes as they are, or as frames under a table whose sizes the input chooses. Without the
    // second way nearly all inputs would end at the footer's magic number.
    let Some((&way, rest)) = input.split_first() else {
        return;
    };
    if way & 1 == 0 {
        read(rest.to_vec());
        return;
    }
    let n_frames = usize::from(way >> 4);
    let Some((sizes, frames)) = rest.split_at_checked(n_frames * 4) else {
        return;
    };
    let mut table = TableBuilder::default();
    let mut left = frames.len();
    for (i, size) in sizes.chunks_exact(4).enumerate() {
        let wish = usize::from(u16::from_le_bytes([size[0], size[1]]));
        let stored = if i + 1 == n_frames {
            left
        } else {
            wish.min(left)
        };
        left -= stored;
        let raw = u32::from(u16::from_le_bytes([size[2], size[3]])) * 16;
        if table.push(stored as u32, raw).is_err() {
            return;
        }
    }
    let mut file = frames.to_vec();
    file.extend(table.encode());
    read(file);
});

fn read(bytes: Vec<u8>) {
    let storage = Box::new(InMemory::new(bytes, "fuzz"));
    let Ok(file) = SealedFile::over(storage, 1 << 20) else {
        return;
    };
    let table = file.table();
    let mut decoded = 0;
    for index in 0..table.n_frames().min(64) {
        let Some(frame) = table.frame(index) else {
            continue;
        };
        assert!(frame.raw_offset + u64::from(frame.raw_bytes) <= file.len());
        decoded += u64::from(frame.raw_bytes);
        if decoded > BUDGET_BYTES {
            return;
        }
        let mut buf = vec![0; frame.raw_bytes as usize + 1];
        if let Ok(n) = file.read_at(frame.raw_offset, &mut buf) {
            assert!(n >= frame.raw_bytes as usize);
        }
    }
}

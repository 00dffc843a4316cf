//! Doors to inner parsers for fuzz targets; only built with `--cfg fuzzing`, as `cargo fuzz` does.

use crate::descriptor::Descriptor;
use crate::image_ranges::ImageRanges;
use crate::{layout, pe};
use leakhound_dump::{Arch, Os, SyntheticMemory};

const BASE: u64 = 0x7F00_0000_0000;

/// Bytes as a PE image, mapped and flat.
pub fn pe(bytes: &[u8]) {
    let mut memory = SyntheticMemory::new();
    memory.put(BASE, bytes);
    for flat in [false, true] {
        if let Ok(metadata) = pe::metadata(&memory, BASE, flat, 1 << 20) {
            let _ = (metadata.module_name(), metadata.assembly(), metadata.mvid());
        }
    }
}

/// Bytes as the text of a contract descriptor behind an honest header.
pub fn descriptor(text: &[u8]) {
    const POINTERS: u64 = 24;
    let (pointers_at, text_at) = (BASE + 64, BASE + 64 + POINTERS * 8);
    let Ok(text_bytes) = u32::try_from(text.len()) else {
        return;
    };
    let mut memory = SyntheticMemory::new();
    memory.map(BASE, 64 + POINTERS as usize * 8 + text.len());
    memory.put(BASE, b"DNCCDAC\0\x01\0\0\0");
    memory.put(BASE + 12, &text_bytes.to_le_bytes());
    memory.put_u64(BASE + 16, text_at);
    memory.put_u64(BASE + 24, POINTERS);
    memory.put_u64(BASE + 32, pointers_at);
    for i in 0..POINTERS {
        memory.put_u64(pointers_at + i * 8, BASE + i * 8);
    }
    memory.put(text_at, text);
    let all = BASE..text_at + u64::from(text_bytes);
    let image = ImageRanges {
        all: all.clone(),
        data: vec![all],
    };
    if let Some(descriptor) = Descriptor::find(&memory, &image) {
        for mut layout in layout::candidates(None, Os::Linux, Arch::X64) {
            let _ = descriptor.apply(&mut layout);
        }
    }
}

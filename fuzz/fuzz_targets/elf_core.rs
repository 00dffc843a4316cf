//! Any bytes behind the magic of a core: an image whose reads stay inside, or an error.
#![no_main]

use std::sync::Arc;

use leakhound_dump::source::Bytes;
use leakhound_dump::{Limits, Options, open_with};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    // Spare the fuzzer the search for the identification and the type.
    let head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0";
    let n = head.len().min(bytes.len());
    bytes[..n].copy_from_slice(&head[..n]);
    let options = Options {
        limits: Limits {
            program_headers: 10_000,
            ..Limits::default()
        },
        files: None,
    };
    let Ok(image) = open_with(Arc::new(Bytes::new(bytes)), &options) else {
        return;
    };
    let regions = image.memory.regions();
    assert!(regions.iter().all(|r| r.start < r.end));
    assert!(regions.windows(2).all(|w| w[0].end <= w[1].start));
    let mut buf = [0; 64];
    for region in regions.iter().take(64) {
        assert!(image.memory.read(region.start, &mut buf) > 0);
        assert!(image.memory.read(region.end - 1, &mut buf) > 0);
        if let Some(slice) = image.memory.slice(region.start, 16) {
            let n = image.memory.read(region.start, &mut buf[..16]);
            assert_eq!(&buf[..n], slice);
        }
    }
    for module in &image.modules {
        let _ = image.memory.read(module.base, &mut buf);
        let _ = module.file_name();
    }
});

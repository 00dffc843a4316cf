//! Any bytes behind the signature of a minidump: an image whose reads stay inside, or an error.
#![no_main]

use std::sync::Arc;

use leakhound_dump::source::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    let n = bytes.len().min(4);
    bytes[..n].copy_from_slice(&b"MDMP"[..n]);
    let Ok(image) = leakhound_dump::open(Arc::new(Bytes::new(bytes))) else {
        return;
    };
    let regions = image.memory.regions();
    assert!(regions.iter().all(|r| r.start < r.end));
    assert!(regions.windows(2).all(|w| w[0].end <= w[1].start));
    let mut buf = [0; 64];
    for region in regions.iter().take(64) {
        assert!(image.memory.read(region.start, &mut buf) > 0);
        assert!(image.memory.read(region.end - 1, &mut buf) > 0);
    }
});

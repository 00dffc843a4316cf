//! Any bytes as the manifest of a bundle: refused, or read; what is read is written and reads the same.
#![no_main]

use leakhound_archive::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(data) else {
        return;
    };
    let Ok(text) = serde_json::to_vec(&manifest) else {
        panic!("a manifest that was read cannot be written");
    };
    assert!(serde_json::from_slice::<Manifest>(&text).is_ok());
});

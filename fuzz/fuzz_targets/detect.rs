//! Any bytes: a format or a sentence.
#![no_main]

use leakhound_dump::source::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = leakhound_dump::detect(&Bytes::new(data.to_vec())) {
        assert!(error.to_string().len() > 20);
    }
});

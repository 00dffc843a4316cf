//! Any bytes as a PE image in memory, mapped and as a file: metadata, or a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| leakhound_clr::fuzzing::pe(data));

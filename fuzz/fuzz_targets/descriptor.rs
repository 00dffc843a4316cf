//! Any bytes as the text of a runtime's contract descriptor: offsets that correct a layout, or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| leakhound_clr::fuzzing::descriptor(data));

//! Any bytes: metadata whose every row can be asked for, or a sentence.
#![no_main]

use leakhound_clr::metadata::Metadata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(metadata) = Metadata::parse(data.to_vec()) else {
        return;
    };
    for rid in (0..64).chain([metadata.type_def_count(), u32::MAX]) {
        let _ = (
            metadata.type_def(rid),
            metadata.enclosing(rid),
            metadata.generic_parameters(rid),
        );
        for field in metadata.fields_of(rid).take(64) {
            let _ = (
                metadata.field_name(field),
                metadata.field_flags(field),
                metadata.field_signature(field),
            );
        }
        for method in metadata.methods_of(rid).take(64) {
            let _ = metadata.method_name(method);
        }
    }
    let _ = (metadata.assembly(), metadata.module_name(), metadata.mvid());
});

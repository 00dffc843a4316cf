//! Any bytes as the memory of a process that has a runtime: the walk, names, roots and references end, or there is a sentence.
//! `cargo +nightly fuzz run heap_walk` in `triage/clr`.
//!
//! The input is a row of pages at one address; words below 1 MiB are taken as offsets into it, so that the fuzzer builds pointers.
#![no_main]

use leakhound_clr::{Options, Runtime, TypeId};
use leakhound_dump::{Arch, Module, Os, ProcessImage, SyntheticMemory};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::Arc;

const BASE: u64 = 0x7F00_0000_0000;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    bytes.truncate(1 << 18);
    for word in bytes.chunks_exact_mut(8) {
        let value = u64::from_le_bytes(word.try_into().unwrap_or_default());
        // An odd top byte marks a pointer: the rest is its offset.
        if value >> 56 == 0xA5 {
            word.copy_from_slice(&(BASE + (value & 0xF_FFFF)).to_le_bytes());
        }
    }
    let mut memory = SyntheticMemory::new();
    memory.put(BASE, &bytes);
    let image = ProcessImage {
        os: Os::Linux,
        arch: Arch::X64,
        pid: None,
        memory: Arc::new(memory),
        modules: vec![Module {
            base: BASE,
            size: bytes.len() as u64,
            path: "/dotnet/shared/Microsoft.NETCore.App/8.0.0/libcoreclr.so".into(),
            build_id: Vec::new(),
            version: None,
        }],
        mapped_files: Vec::new(),
        threads: Vec::new(),
        auxv: BTreeMap::new(),
        warnings: Vec::new(),
        module_files: None,
    };
    match Runtime::open(&image, &Options::default()) {
        Err(error) => assert!(error.to_string().len() > 30),
        Ok(runtime) => {
            let snapshot = runtime.snapshot();
            let edges = runtime.edges(&snapshot);
            assert!(edges.targets.iter().all(|t| (*t as usize) < snapshot.len()));
            for id in 0..runtime.type_count() as u32 {
                let _ = (runtime.type_info(TypeId(id)), runtime.instance_fields(TypeId(id)));
            }
            let _ = (runtime.handles(), runtime.finalization(), runtime.statics(), runtime.thread_statics());
        }
    }
});

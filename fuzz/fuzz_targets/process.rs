//! A process made by hand with some words replaced: opening, walking, names, roots and references end, and every byte of the
//! heap is accounted for. Reaches the collector's self-description, the table of variables, layouts and their calibration,
//! segments, threads, modules, handles, queues, statics.
//!
//! Input: records of ten bytes: number of a word (16 bits), new value (64 bits). A value whose top byte is 0xA5 is an offset
//! into the process, so that the fuzzer builds pointers.
#![no_main]

#[path = "../../triage/clr/tests/support/tiny_process.rs"]
mod tiny_process;

use leakhound_clr::{Options, Runtime, TypeId};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tiny_process::{BASE, Tiny};

static PRISTINE: LazyLock<Tiny> = LazyLock::new(Tiny::default);

fuzz_target!(|data: &[u8]| {
    let mut tiny = PRISTINE.clone();
    let words = tiny.words();
    for record in data.chunks_exact(10).take(64) {
        let nth = usize::from(u16::from_le_bytes([record[0], record[1]])) % words;
        let value = u64::from_le_bytes(record[2..].try_into().unwrap_or_default());
        let pointer = value >> 56 == 0xA5;
        tiny.put_nth(
            nth,
            if pointer {
                BASE + (value & 0x3F_FFFF)
            } else {
                value
            },
        );
    }
    match Runtime::open(&tiny.image(), &Options::default()) {
        Err(error) => assert!(error.to_string().len() > 30),
        Ok(runtime) => {
            for (range, stats) in runtime.walk(|| (), |(), _| ()).ranges {
                let seen = stats.object_bytes
                    + stats.free_bytes
                    + stats.allocation_context_bytes
                    + stats.skipped_bytes;
                assert_eq!(seen, range.end - range.start);
            }
            let snapshot = runtime.snapshot();
            let edges = runtime.edges(&snapshot);
            assert!(edges.targets.iter().all(|t| (*t as usize) < snapshot.len()));
            for id in 0..runtime.type_count() as u32 {
                let _ = (
                    runtime.type_info(TypeId(id)),
                    runtime.instance_fields(TypeId(id)),
                );
            }
            let _ = (
                runtime.handles(),
                runtime.finalization(),
                runtime.statics(),
                runtime.thread_statics(),
            );
            let _ = (
                runtime.stack_roots(&snapshot),
                runtime.modules(),
                runtime.completeness(),
            );
        }
    }
});

//! Damage: a real dump with flipped words, missing pages and lying pointers is read to the end, in bounded time, without a panic.
#![allow(clippy::unwrap_used)]

#[path = "checks/everything.rs"]
mod everything;

use everything::ask_everything;
use leakhound_clr::{Options, Runtime};
use leakhound_dump::{Memory, ProcessImage, Region};
use leakhound_testbed::{Version, dumps, runtimes, targets};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
enum Damage {
    /// One bit of some words.
    Flip,
    /// Some words are replaced by words from elsewhere: pointers that lead to the wrong things.
    Swap,
    /// Some words are huge.
    Huge,
    /// Some pages are missing.
    Holes,
}

/// A dump whose words are damaged by a rule that depends on their address alone.
struct Damaged {
    inner: Arc<dyn Memory>,
    damage: Damage,
    one_in: u64,
    seed: u64,
}

fn mix(value: u64) -> u64 {
    // SplitMix64: spreads neighboring addresses.
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

impl Damaged {
    fn word(&self, address: u64, value: u64) -> u64 {
        let dice = mix(address ^ mix(self.seed));
        if !dice.is_multiple_of(self.one_in) {
            return value;
        }
        match self.damage {
            Damage::Flip => value ^ 1 << (dice >> 32 & 63),
            Damage::Huge => value | 0xFFFF_FFFF_0000_0000 >> (dice >> 40 & 31),
            Damage::Swap => {
                let mut other = [0; 8];
                let from = (address & !0xF_FFF8).wrapping_add(dice >> 16 & 0xF_FFF8);
                if self.inner.read(from, &mut other) == 8 {
                    u64::from_le_bytes(other)
                } else {
                    value
                }
            }
            Damage::Holes => value,
        }
    }

    fn is_missing(&self, page: u64) -> bool {
        matches!(self.damage, Damage::Holes)
            && mix(page ^ mix(self.seed)).is_multiple_of(self.one_in)
    }
}

impl Memory for Damaged {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        let mut got = self.inner.read(address, buf);
        if got == 0 {
            return 0;
        }
        let mut page = address & !0xFFF;
        while page < address.saturating_add(got as u64) {
            if self.is_missing(page) {
                got = usize::try_from(page.saturating_sub(address)).unwrap();
                break;
            }
            page += 0x1000;
        }
        let skip = (address.wrapping_neg() & 7) as usize;
        let end = got;
        let mut at = skip;
        while at + 8 <= end {
            let value = u64::from_le_bytes(buf[at..at + 8].try_into().unwrap());
            let damaged = self.word(address + at as u64, value);
            buf[at..at + 8].copy_from_slice(&damaged.to_le_bytes());
            at += 8;
        }
        got
    }

    fn regions(&self) -> &[Region] {
        self.inner.regions()
    }
}

#[test]
fn damaged_dumps_are_read_to_the_end_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let (mut opened, mut refused) = (0, 0);
    for version in [Version::Net31, Version::Net8, Version::Net10] {
        let root = runtimes::get(version).unwrap();
        let service = targets::app("inventory")
            .unwrap()
            .on(&root)
            .start()
            .unwrap();
        let file = folder.path().join("heap.core");
        dumps::createdump(&root, service.pid(), dumps::Kind::Heap, &file).unwrap();
        drop(service);
        let image = leakhound_dump::open(leakhound_archive::open_readable(&file).unwrap()).unwrap();
        for damage in [Damage::Flip, Damage::Swap, Damage::Huge, Damage::Holes] {
            for one_in in [7, 60, 500, 4000] {
                for seed in 0..3 {
                    let memory = Arc::new(Damaged {
                        inner: Arc::clone(&image.memory),
                        damage,
                        one_in,
                        seed,
                    });
                    let damaged = ProcessImage {
                        address_map: Vec::new(),
                        open_handles: None,
                        memory,
                        modules: image.modules.clone(),
                        mapped_files: image.mapped_files.clone(),
                        threads: image.threads.clone(),
                        peb: image.peb,
                        auxv: image.auxv.clone(),
                        warnings: Vec::new(),
                        module_files: None,
                        os: image.os,
                        arch: image.arch,
                        pid: image.pid,
                    };
                    let started = Instant::now();
                    match Runtime::open(&damaged, &Options::default()) {
                        Ok(runtime) => {
                            ask_everything(&runtime);
                            opened += 1;
                        }
                        Err(error) => {
                            assert!(error.to_string().len() > 30, "{error}");
                            refused += 1;
                        }
                    }
                    let took = started.elapsed();
                    assert!(
                        took < Duration::from_secs(60),
                        "{version} {damage:?} 1 in {one_in}: {took:?}"
                    );
                }
            }
        }
    }
    // Both ends are reached: damage that is survived, and damage that is refused.
    assert!(
        opened > 20 && refused > 20,
        "{opened} opened, {refused} refused"
    );
}

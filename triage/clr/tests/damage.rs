//! Damage to real dumps, in the file itself: truncation, flipped bits, zeroed pages, garbage, lying counts, pointers that lead
//! elsewhere or back. Whatever is done to a dump, reading it ends in bounded time without a panic, no number exceeds what is
//! there, and what was lost is told.
//!
//! `LEAKHOUND_DAMAGE_ROUNDS=300` does so many rounds on each dump instead of a few.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "checks/everything.rs"]
mod everything;

use everything::ask_everything;
use leakhound_archive::ReadAt;
use leakhound_clr::{Options, Runtime};
use leakhound_dump::{Memory, ProcessImage, Region};
use leakhound_testbed::{Version, dumps, runtimes, targets};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Rounds on each dump without the environment variable: each kind of damage some times.
const ROUNDS: u64 = 48;
/// A whole read takes a second at most; other tests compete for the processors.
const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: usize = 4096;

/// A dump in memory, damaged in place and mended again.
struct Dump {
    bytes: Vec<u8>,
    /// Bytes that the file pretends to have.
    len: usize,
}

impl ReadAt for Dump {
    fn len(&self) -> u64 {
        self.len as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len);
        let n = buf.len().min(self.len - at);
        buf[..n].copy_from_slice(&self.bytes[at..at + n]);
        Ok(n)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(&self.bytes[..self.len])
    }

    fn origin(&self) -> &Path {
        Path::new("a damaged dump")
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let value = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ value >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// What is done to a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    /// The file ends early.
    Truncated,
    /// Bits of the ELF header, program headers and notes are flipped.
    Headers,
    /// Bits of words that the reader looks at outside of the heap are flipped.
    RuntimeBits,
    /// Such words become large numbers.
    Lies,
    /// Such words that are pointers lead to where others lead, or to themselves.
    Cycles,
    /// Bits of heap words are flipped.
    HeapBits,
    /// Stretches of the heap become noise.
    Garbage,
    /// Pages anywhere become zero.
    ZeroPages,
}

impl Damage {
    const ALL: [Self; 8] = [
        Self::Truncated,
        Self::Headers,
        Self::RuntimeBits,
        Self::Lies,
        Self::Cycles,
        Self::HeapBits,
        Self::Garbage,
        Self::ZeroPages,
    ];
}

/// What a whole dump says, to compare with, and where damage hurts.
struct Pristine {
    objects: u64,
    warnings: usize,
    /// File offsets of words outside of the heap that the reader looks at.
    hot: Vec<usize>,
    /// Those of them that are pointers to memory of the dump.
    pointers: Vec<usize>,
    /// Ranges of the file that hold heap.
    heap: Vec<(usize, usize)>,
    headers_end: usize,
}

/// Remembers what was read in small pieces.
struct Recorder {
    inner: Arc<dyn Memory>,
    read: Mutex<BTreeSet<u64>>,
}

impl Memory for Recorder {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        if buf.len() <= 128 {
            let words = (address & !7..address.saturating_add(buf.len() as u64)).step_by(8);
            self.read.lock().unwrap().extend(words);
        }
        self.inner.read(address, buf)
    }

    fn regions(&self) -> &[Region] {
        self.inner.regions()
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// File offset of every address: (address, bytes, offset) of the core's memory.
fn loads(core: &[u8]) -> Vec<(u64, u64, u64)> {
    let (table, count) = (
        u64_at(core, 32) as usize,
        core[56] as usize | (core[57] as usize) << 8,
    );
    let headers = (0..count).map(|i| table + i * 56);
    let loads = headers.filter(|at| core[*at] == 1);
    let mut loads: Vec<_> = loads
        .map(|at| {
            (
                u64_at(core, at + 16),
                u64_at(core, at + 32),
                u64_at(core, at + 8),
            )
        })
        .collect();
    loads.sort_unstable();
    loads
}

fn offset_of(loads: &[(u64, u64, u64)], address: u64) -> Option<usize> {
    let index = loads
        .partition_point(|load| load.0 <= address)
        .checked_sub(1)?;
    let (start, bytes, offset) = loads[index];
    (bytes >= 8 && address - start <= bytes - 8).then(|| (offset + address - start) as usize)
}

impl Pristine {
    fn of(dump: &Arc<Dump>) -> Self {
        let mut image = leakhound_dump::open(Arc::clone(dump) as Arc<dyn ReadAt>).unwrap();
        let recorder = Arc::new(Recorder {
            inner: Arc::clone(&image.memory),
            read: Mutex::default(),
        });
        image.memory = Arc::clone(&recorder) as Arc<dyn Memory>;
        let runtime = Runtime::open(&image, &Options::default()).unwrap();
        let objects = ask_everything(&runtime).object_count;
        assert!(!runtime.info().gc_in_progress);
        let loads = loads(&dump.bytes);
        let in_heap = |address: u64| {
            let mut ranges = runtime.ranges().iter();
            ranges.any(|range| range.start <= address && address < range.end)
        };
        let read = recorder.read.lock().unwrap();
        let hot: Vec<usize> = read
            .iter()
            .filter(|address| !in_heap(**address))
            .filter_map(|address| offset_of(&loads, *address))
            .collect();
        let leads_somewhere = |at: &usize| offset_of(&loads, u64_at(&dump.bytes, *at)).is_some();
        let pointers: Vec<usize> = hot.iter().copied().filter(leads_somewhere).collect();
        assert!(
            hot.len() > 500 && pointers.len() > 100,
            "{} hot words",
            hot.len()
        );
        let heap = runtime.ranges().iter().filter_map(|range| {
            let start = offset_of(&loads, range.start)?;
            let end = (start + (range.end - range.start) as usize).min(dump.bytes.len());
            (end > start + 64).then_some((start, end))
        });
        Self {
            objects,
            warnings: image.warnings.len(),
            heap: heap.collect(),
            hot,
            pointers,
            headers_end: loads.iter().map(|load| load.2 as usize).min().unwrap(),
        }
    }

    /// Damages a dump; returns what it takes to mend it.
    fn damage(&self, dump: &mut Dump, damage: Damage, dice: &mut Dice) -> Vec<(usize, Vec<u8>)> {
        let mut undo: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut put = |bytes: &mut Vec<u8>, at: usize, new: &[u8]| {
            let end = (at + new.len()).min(bytes.len());
            undo.push((at, bytes[at..end].to_vec()));
            bytes[at..end].copy_from_slice(&new[..end - at]);
        };
        // From one word to many.
        let times = 1 << dice.below(8);
        let bytes = &mut dump.bytes;
        match damage {
            Damage::Truncated => dump.len = dice.below(bytes.len()),
            Damage::Headers => {
                for _ in 0..times {
                    let at = dice.below(self.headers_end);
                    let new = bytes[at] ^ 1 << dice.below(8);
                    put(bytes, at, &[new]);
                }
            }
            Damage::RuntimeBits => {
                for _ in 0..times {
                    let at = dice.of(&self.hot);
                    let new = u64_at(bytes, at) ^ 1 << dice.below(64);
                    put(bytes, at, &new.to_le_bytes());
                }
            }
            Damage::Lies => {
                for _ in 0..times {
                    let at = dice.of(&self.hot);
                    let shift = dice.below(48);
                    let new = u64_at(bytes, at) | 0xFFFF << shift;
                    put(bytes, at, &new.to_le_bytes());
                }
            }
            Damage::Cycles => {
                for _ in 0..times {
                    let at = dice.of(&self.pointers);
                    // Its neighbor in a table, a list or a structure, or anything else.
                    let other = if dice.below(2) == 0 {
                        let near = self.pointers.partition_point(|p| *p < at) + dice.below(9);
                        self.pointers[near.saturating_sub(4).min(self.pointers.len() - 1)]
                    } else {
                        dice.of(&self.pointers)
                    };
                    let new = u64_at(bytes, other);
                    put(bytes, at, &new.to_le_bytes());
                }
            }
            Damage::HeapBits => {
                for _ in 0..times * 4 {
                    let (start, end) = dice.of(&self.heap);
                    let at = start + dice.below((end - start) / 8) * 8;
                    let new = u64_at(bytes, at) ^ 1 << dice.below(64);
                    put(bytes, at, &new.to_le_bytes());
                }
            }
            Damage::Garbage => {
                for _ in 0..(times / 16).max(1) {
                    let (start, end) = dice.of(&self.heap);
                    let at = start + dice.below((end - start) / 8) * 8;
                    let words = dice.below((end - at) / 8).min(1 << 16);
                    let noise: Vec<u8> =
                        (0..words).flat_map(|_| dice.next().to_le_bytes()).collect();
                    put(bytes, at, &noise);
                }
            }
            Damage::ZeroPages => {
                for _ in 0..times {
                    let page = dice.below(bytes.len() / PAGE);
                    put(bytes, page * PAGE, &[0; PAGE]);
                }
            }
        }
        undo
    }
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Nothing that the walk counts was hit.
    Unharmed,
    /// Objects are missing, and the reader says so.
    Told,
    /// Objects are missing, and nothing says so: a plausible lie.
    Untold,
    /// There is no runtime to be read, said in a sentence.
    NoRuntime,
    /// It is no dump, said in a sentence.
    NoDump,
}

fn read(dump: &Arc<Dump>, pristine: &Pristine) -> Outcome {
    let image: ProcessImage = match leakhound_dump::open(Arc::clone(dump) as Arc<dyn ReadAt>) {
        Ok(image) => image,
        Err(error) => {
            assert!(error.to_string().len() > 30, "{error}");
            return Outcome::NoDump;
        }
    };
    let runtime = match Runtime::open(&image, &Options::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            assert!(error.to_string().len() > 30, "{error}");
            return Outcome::NoRuntime;
        }
    };
    let sum = ask_everything(&runtime);
    let completeness = runtime.completeness();
    if sum.skipped_bytes > 0 {
        assert!(
            !completeness.is_whole(),
            "{} bytes were skipped in silence",
            sum.skipped_bytes
        );
    }
    // Not one more than could lie in the memory that is there.
    let there: u64 = image.memory.regions().iter().map(|r| r.end - r.start).sum();
    assert!(
        sum.object_count <= there / 24,
        "{} objects",
        sum.object_count
    );
    let told = !completeness.is_whole()
        || image.warnings.len() > pristine.warnings
        || runtime.info().gc_in_progress;
    if sum.object_count >= pristine.objects {
        Outcome::Unharmed
    } else if told {
        Outcome::Told
    } else {
        Outcome::Untold
    }
}

fn rounds() -> u64 {
    let named = std::env::var("LEAKHOUND_DAMAGE_ROUNDS").ok();
    named.and_then(|value| value.parse().ok()).unwrap_or(ROUNDS)
}

/// Damages one dump again and again.
fn torture(label: &str, bytes: Vec<u8>) {
    let len = bytes.len();
    let mut dump = Arc::new(Dump { bytes, len });
    let pristine = Pristine::of(&dump);
    let mut outcomes: BTreeMap<Damage, BTreeMap<Outcome, u64>> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    for seed in 0..rounds() {
        let damage = Damage::ALL[(seed % Damage::ALL.len() as u64) as usize];
        let mut dice = Dice(seed);
        let undo = pristine.damage(Arc::get_mut(&mut dump).unwrap(), damage, &mut dice);
        let started = Instant::now();
        let outcome = read(&dump, &pristine);
        let took = started.elapsed();
        assert!(
            took < PATIENCE,
            "{label}, {damage:?}, seed {seed}: {took:?}"
        );
        slowest = slowest.max(took);
        if outcome == Outcome::Untold {
            println!("{label}, {damage:?}, seed {seed}: objects were lost in silence");
            assert_ne!(damage, Damage::Truncated, "{label}, seed {seed}");
        }
        *outcomes
            .entry(damage)
            .or_default()
            .entry(outcome)
            .or_default() += 1;
        let mended = Arc::get_mut(&mut dump).unwrap();
        mended.len = len;
        for (at, old) in undo.into_iter().rev() {
            mended.bytes[at..at + old.len()].copy_from_slice(&old);
        }
    }
    println!(
        "{label}: {} objects, {} hot words, slowest {slowest:?}",
        pristine.objects,
        pristine.hot.len()
    );
    for (damage, outcomes) in &outcomes {
        println!("  {damage:?}: {outcomes:?}");
    }
    let of = |outcome: Outcome| {
        outcomes
            .values()
            .filter_map(|o| o.get(&outcome))
            .sum::<u64>()
    };
    // A flipped bit in the address where a region ends is as plausible as the true one: few may pass, not many.
    assert!(
        of(Outcome::Untold) * 20 <= rounds(),
        "{label}: {outcomes:?}"
    );
    assert!(of(Outcome::Told) > 0, "{label}: {outcomes:?}");
    assert_eq!(
        read(&dump, &pristine),
        Outcome::Unharmed,
        "{label}: it was mended"
    );
}

fn fresh(version: Version, server: bool) -> Vec<u8> {
    let root = runtimes::get(version).unwrap();
    let launch = targets::app("inventory").unwrap().on(&root);
    let launch = if server { launch.server_gc(2) } else { launch };
    let service = launch.start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heap.core");
    dumps::createdump(&root, service.pid(), dumps::Kind::Heap, &file).unwrap();
    std::fs::read(&file).unwrap()
}

#[test]
fn the_dump_of_the_demo() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/shop-pricing.core.zst");
    let source = leakhound_archive::open_readable(&file).unwrap();
    let mut bytes = vec![0; usize::try_from(source.len()).unwrap()];
    let mut done = 0;
    while done < bytes.len() {
        let n = source.read_at(done as u64, &mut bytes[done..]).unwrap();
        assert!(n > 0);
        done += n;
    }
    torture("demo", bytes);
}

#[test]
fn a_dump_of_net31_with_server_gc() {
    torture(".NET 3.1, server", fresh(Version::Net31, true));
}

#[test]
fn a_dump_of_net8() {
    torture(".NET 8", fresh(Version::Net8, false));
}

#[test]
fn a_dump_of_net9_with_server_gc() {
    torture(".NET 9, server", fresh(Version::Net9, true));
}

#[test]
fn a_dump_of_net10() {
    torture(".NET 10", fresh(Version::Net10, false));
}

#![allow(clippy::unwrap_used)]
use super::*;
use crate::mapped::InMemory;
use crate::{ReadAt, SealedFile};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// Bytes that look a little like a heap: pointers, small numbers, text, zeros.
pub(crate) fn heap_like(n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(n + 64);
    while out.len() < n {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let pointer = 0x7F00_0000_0000u64 | (state >> 40 << 3);
        out.extend_from_slice(&pointer.to_le_bytes());
        out.extend_from_slice(&(state >> 56).to_le_bytes());
        out.extend_from_slice(if state & 3 == 0 {
            &[0u8; 48]
        } else {
            b"Order 4711 "
        });
    }
    out.truncate(n);
    out
}

fn seal(raw: &[u8], options: &SealOptions) -> (Sealed, Vec<u8>) {
    let mut writer = SealWriter::new(Vec::new(), options).unwrap();
    writer.write_all(raw).unwrap();
    writer.finish_into().unwrap()
}

fn small_frames() -> SealOptions {
    SealOptions {
        frame_bytes: 4096,
        threads: 2,
        ..SealOptions::default()
    }
}

fn open(stored: Vec<u8>) -> SealedFile {
    SealedFile::over(Box::new(InMemory::new(stored, "test")), 1 << 20).unwrap()
}

fn read_all(file: &dyn ReadAt) -> Vec<u8> {
    let mut out = vec![0u8; file.len() as usize];
    assert_eq!(file.read_at(0, &mut out).unwrap(), out.len());
    out
}

#[test]
fn the_real_zstd_program_restores_it() {
    let raw = heap_like(3_000_000, 1);
    let (sealed, stored) = seal(&raw, &SealOptions::default());
    assert_eq!(sealed.raw_bytes, raw.len() as u64);
    assert_eq!(sealed.stored_bytes, stored.len() as u64);
    assert_eq!(sealed.blake3, blake3::hash(&stored).to_hex().to_string());
    assert_eq!(sealed.n_frames, 6);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.core.zst");
    std::fs::write(&path, &stored).unwrap();
    let restored = match std::process::Command::new("zstd")
        .arg("-dc")
        .arg(&path)
        .output()
    {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        }
        // No zstd program here: the library's plain streaming decoder knows nothing of seek tables either.
        Err(_) => zstd::decode_all(&stored[..]).unwrap(),
    };
    assert!(restored == raw);
}

#[test]
fn another_implementation_of_the_format_reads_it() {
    let raw = heap_like(1_000_000, 2);
    let (_, stored) = seal(&raw, &SealOptions::default());
    let table = zeekstd::SeekTable::from_seekable(&mut std::io::Cursor::new(&stored)).unwrap();
    assert_eq!((table.num_frames(), table.size_decomp()), (2, 1_000_000));
    let mut decoder = zeekstd::DecodeOptions::new(std::io::Cursor::new(&stored))
        .into_decoder()
        .unwrap();
    let mut restored = Vec::new();
    std::io::copy(&mut decoder, &mut restored).unwrap();
    assert!(restored == raw);
}

#[test]
fn we_read_what_another_implementation_writes() {
    let raw = heap_like(5_000_000, 3);
    let mut stored = Vec::new();
    let policy = zeekstd::FrameSizePolicy::Uncompressed(1 << 20);
    let options = zeekstd::EncodeOptions::new().frame_size_policy(policy);
    let mut encoder = options.into_encoder(&mut stored).unwrap();
    encoder.write_all(&raw).unwrap();
    encoder.finish().unwrap();
    let sealed = open(stored);
    assert!(read_all(&sealed) == raw);
}

#[test]
fn nothing_is_still_a_file() {
    let (sealed, stored) = seal(&[], &SealOptions::default());
    assert_eq!((sealed.raw_bytes, sealed.n_frames), (0, 1));
    assert_eq!(zstd::decode_all(&stored[..]).unwrap(), Vec::<u8>::new());
    let file = open(stored);
    assert!(file.is_empty());
    assert_eq!(file.read_at(0, &mut [0; 8]).unwrap(), 0);
}

#[test]
fn gaps_of_zeros_cost_next_to_nothing() {
    let mut writer = SealWriter::new(Vec::new(), &SealOptions::default()).unwrap();
    writer.write_all(b"head").unwrap();
    writer.write_zeros(1 << 30).unwrap();
    writer.write_all(b"tail").unwrap();
    let (sealed, stored) = writer.finish_into().unwrap();
    assert_eq!(sealed.raw_bytes, (1 << 30) + 8);
    assert!(stored.len() < 300_000, "{} bytes", stored.len());
    let file = open(stored);
    let mut tail = [1u8; 12];
    assert_eq!(file.read_at((1 << 30) - 4, &mut tail).unwrap(), 12);
    assert_eq!(&tail, b"\0\0\0\0\0\0\0\0tail");
}

#[test]
fn frames_do_not_depend_on_threads() {
    let raw = heap_like(700_000, 4);
    let mut outputs = [1, 2, 7].map(|threads| {
        let (_, stored) = seal(
            &raw,
            &SealOptions {
                threads,
                ..small_frames()
            },
        );
        stored
    });
    outputs.sort();
    assert!(outputs[0] == outputs[2], "same input, same file");
}

/// A sink with room for `room` bytes, as a full disk.
struct FullDisk {
    room: usize,
}

impl Write for FullDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_surfaces_soon_and_nothing_hangs() {
    let noise = heap_like(64 << 10, 5);
    let mut writer = SealWriter::new(FullDisk { room: 100_000 }, &small_frames()).unwrap();
    let mut n_written = 0usize;
    let error = loop {
        match writer.write_all(&noise) {
            Ok(()) => n_written += noise.len(),
            Err(e) => break e,
        }
        assert!(
            n_written < 64 << 20,
            "the error must come before 64 MiB went in"
        );
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(
        writer.flush().unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(
        writer.finish().unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
}

#[test]
fn a_disk_that_fills_at_the_very_end_is_an_error_too() {
    let raw = heap_like(100_000, 6);
    let (sealed, _) = seal(&raw, &small_frames());
    let room = sealed.stored_bytes as usize - 1;
    let mut writer = SealWriter::new(FullDisk { room }, &small_frames()).unwrap();
    writer.write_all(&raw).unwrap();
    assert_eq!(
        writer.finish().unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
}

/// A sink that waits for a word before each write and counts them.
struct Gate {
    words: mpsc::Receiver<()>,
    n_writes: Arc<AtomicUsize>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.words.recv().map_err(io::Error::other)?;
        self.n_writes.fetch_add(1, Ordering::SeqCst);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_sink_holds_the_caller_back() {
    let (open_gate, words) = mpsc::channel();
    let n_writes = Arc::new(AtomicUsize::new(0));
    let gate = Gate {
        words,
        n_writes: Arc::clone(&n_writes),
    };
    let mut writer = SealWriter::new(gate, &small_frames()).unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    let caller = std::thread::spawn(move || {
        let chunk = heap_like(4096, 7);
        let result = (0..1000).try_for_each(|_| {
            writer.write_all(&chunk)?;
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        result.and_then(|()| writer.finish())
    });
    std::thread::sleep(Duration::from_millis(300));
    // 2 workers: at most 2 × 2 + 2 chunks on their way.
    assert!(
        accepted.load(Ordering::SeqCst) <= 7,
        "{accepted:?} chunks were accepted while nothing was written"
    );
    assert_eq!(n_writes.load(Ordering::SeqCst), 0);
    for _ in 0..1001 {
        open_gate.send(()).unwrap();
    }
    assert_eq!(caller.join().unwrap().unwrap().n_frames, 1000);
}

#[test]
fn dropping_an_unfinished_writer_ends_its_threads() {
    let sink = Arc::new(());
    struct Holds(#[allow(dead_code, reason = "held for its reference count")] Arc<()>);
    impl Write for Holds {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer = SealWriter::new(Holds(Arc::clone(&sink)), &small_frames()).unwrap();
    writer.write_all(&heap_like(50_000, 8)).unwrap();
    drop(writer);
    assert_eq!(
        Arc::strong_count(&sink),
        1,
        "the writer thread ended and dropped the sink"
    );
}

#[test]
fn a_panicking_sink_is_an_error() {
    struct Panics;
    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("a bug in the sink")
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer = SealWriter::new(Panics, &small_frames()).unwrap();
    let chunk = heap_like(4096, 9);
    let error = loop {
        if let Err(e) = writer.write_all(&chunk) {
            break e;
        }
    };
    assert!(error.to_string().contains("panicked"), "{error}");
    assert!(writer.finish().is_err());
}

#[test]
fn the_speed_limit_holds() {
    let mut noise = vec![0u8; 400_000];
    let mut state = 88_172_645_463_325_252u64;
    for byte in &mut noise {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
    let started = Instant::now();
    let options = SealOptions {
        bytes_per_second: Some(500_000),
        ..small_frames()
    };
    let (sealed, _) = seal(&noise, &options);
    let elapsed = started.elapsed().as_secs_f64();
    let least = sealed.stored_bytes as f64 / 500_000.0 - 0.3;
    assert!(
        elapsed > least && elapsed < least + 2.0,
        "{elapsed} s for {} bytes",
        sealed.stored_bytes
    );
}

#[test]
fn giving_up_does_not_wait_for_the_speed_limit() {
    let options = SealOptions {
        bytes_per_second: Some(1),
        ..small_frames()
    };
    let mut writer = SealWriter::new(Vec::new(), &options).unwrap();
    writer.write_all(&heap_like(10_000, 10)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let started = Instant::now();
    drop(writer);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn impossible_options_are_refused() {
    for options in [
        SealOptions {
            frame_bytes: 0,
            ..SealOptions::default()
        },
        SealOptions {
            frame_bytes: 1 << 30,
            ..SealOptions::default()
        },
        SealOptions {
            level: 99,
            ..SealOptions::default()
        },
    ] {
        let error = SealWriter::new(Vec::new(), &options).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("expected"), "{error}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Bytes(Vec<u8>),
    Zeros(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..10_000).prop_map(Step::Bytes),
        (0usize..20_000, any::<u64>()).prop_map(|(n, seed)| Step::Bytes(heap_like(n, seed))),
        (0u64..20_000).prop_map(Step::Zeros),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_chunking_survives(
        steps in proptest::collection::vec(any_step(), 0..12),
        threads in 1usize..4,
        frame_bytes in prop_oneof![Just(4096usize), Just(5000), Just(65_536)],
        reads in proptest::collection::vec((0u64..150_000, 0usize..40_000), 0..10),
    ) {
        let mut raw = Vec::new();
        let options = SealOptions { threads, frame_bytes, ..SealOptions::default() };
        let mut writer = SealWriter::new(Vec::new(), &options).unwrap();
        for step in &steps {
            match step {
                Step::Bytes(bytes) => {
                    writer.write_all(bytes).unwrap();
                    raw.extend_from_slice(bytes);
                }
                Step::Zeros(n) => {
                    writer.write_zeros(*n).unwrap();
                    raw.resize(raw.len() + *n as usize, 0);
                }
            }
        }
        let (sealed, stored) = writer.finish_into().unwrap();
        prop_assert_eq!(sealed.raw_bytes, raw.len() as u64);
        prop_assert!(zstd::decode_all(&stored[..]).unwrap() == raw);
        let file = open(stored);
        prop_assert!(read_all(&file) == raw);
        for (offset, n) in reads {
            let mut buf = vec![0xAA; n];
            let got = file.read_at(offset, &mut buf).unwrap();
            let at = (offset as usize).min(raw.len());
            let expected = &raw[at..(at + n).min(raw.len())];
            prop_assert!(&buf[..got] == expected);
            let chunk = file.chunk_at(offset).unwrap();
            prop_assert!(raw[at..].starts_with(&chunk));
            prop_assert_eq!(chunk.is_empty(), at == raw.len());
        }
    }
}

#![allow(clippy::unwrap_used)]
use super::*;
use crate::mapped::InMemory;
use crate::seek_table::TableBuilder;
use crate::{SealOptions, SealWriter};
use proptest::prelude::*;
use std::io::Write;

const FRAME: usize = 4096;

fn raw(n: usize) -> Vec<u8> {
    (0..n).map(|i| ((i / 7) ^ (i >> 9)) as u8).collect()
}

fn sealed_bytes(n: usize) -> Vec<u8> {
    let options = SealOptions {
        frame_bytes: FRAME,
        threads: 1,
        ..SealOptions::default()
    };
    let mut writer = SealWriter::new(Vec::new(), &options).unwrap();
    writer.write_all(&raw(n)).unwrap();
    writer.finish_into().unwrap().1
}

fn open(stored: Vec<u8>) -> Result<SealedFile, TableError> {
    SealedFile::over(Box::new(InMemory::new(stored, "dump.zst")), 1 << 20)
}

/// Frames and a table that says what it is told to.
fn lying(entries: &[(u32, u32)]) -> Vec<u8> {
    let mut out = vec![
        0u8;
        entries
            .iter()
            .map(|e| e.0 as usize)
            .sum::<usize>()
            .min(1 << 20)
    ];
    let mut table = TableBuilder::default();
    for &(stored, raw) in entries {
        table.push(stored, raw).unwrap();
    }
    out.extend(table.encode());
    out
}

fn refusal(stored: Vec<u8>) -> String {
    match open(stored) {
        Err(TableError::Lying(what)) => what,
        other => panic!("expected a lying table, got {other:?}"),
    }
}

#[test]
fn impossible_tables_are_refused_before_memory_is_spent() {
    assert!(refusal(lying(&[(100, 65 << 20)])).contains("frame 0 claims"));
    assert!(refusal(lying(&[(100, 10), (0, 10)])).contains("frame 1"));
    assert!(refusal(lying(&[(3 << 20, 10)])).contains("3145728 bytes for 10 raw bytes"));
    assert!(refusal(lying(&[(200, 10), (u32::MAX, u32::MAX - 1)])).contains("frame 1"));
    let mut short = lying(&[(100, 10)]);
    short.insert(0, 0);
    assert!(refusal(short).contains("end at offset 100, the table begins at 101"));
    let mut good = sealed_bytes(3 * FRAME);
    let n = good.len();
    for (count, what) in [
        (u32::MAX, "the limit is"),
        (1_000_000, "larger than the file"),
        (2, "no table begins there"),
    ] {
        good[n - 9..n - 5].copy_from_slice(&count.to_le_bytes());
        assert!(refusal(good.clone()).contains(what), "{}", refusal(good));
    }
    let mut reserved = sealed_bytes(FRAME);
    let n = reserved.len();
    reserved[n - 5] = 0x40;
    assert!(refusal(reserved).contains("reserved bits"));
}

#[test]
fn a_frame_that_unpacks_to_more_than_it_claims_is_refused() {
    // 64 MiB of zeros in some 2 KB, announced as 100 bytes: the decoder gets room for 100 bytes and no more.
    let bomb = zstd::bulk::compress(&vec![0u8; 64 << 20], 1).unwrap();
    let mut table = TableBuilder::default();
    table.push(bomb.len() as u32, 100).unwrap();
    let mut stored = bomb;
    stored.extend(table.encode());
    let file = open(stored).unwrap();
    let error = file.read_at(0, &mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(
        error
            .to_string()
            .contains("dump.zst: frame 0 at file offset 0 (raw bytes 0 to 100) is damaged"),
        "{error}"
    );
}

#[test]
fn a_frame_that_unpacks_to_less_is_refused() {
    let frame = zstd::bulk::compress(&[7u8; 50], 1).unwrap();
    let mut table = TableBuilder::default();
    table.push(frame.len() as u32, 100).unwrap();
    let mut stored = frame;
    stored.extend(table.encode());
    let error = open(stored).unwrap().read_at(0, &mut [0; 100]).unwrap_err();
    assert!(
        error.to_string().contains("holds 50 bytes instead of 100"),
        "{error}"
    );
}

#[test]
fn one_flipped_bit_spoils_one_frame_and_is_named() {
    let mut stored = sealed_bytes(10 * FRAME);
    let frame = open(stored.clone()).unwrap().table().frame(4).unwrap();
    stored[frame.stored_offset as usize + frame.stored_bytes as usize / 2] ^= 0x10;
    let file = open(stored).unwrap();
    let expected = raw(10 * FRAME);
    for index in 0..10u64 {
        let mut buf = [0u8; FRAME];
        let result = file.read_at(index * FRAME as u64, &mut buf);
        if index == 4 {
            let error = result.unwrap_err().to_string();
            assert!(
                error.contains(&format!("frame 4 at file offset {}", frame.stored_offset)),
                "{error}"
            );
        } else {
            assert_eq!(result.unwrap(), FRAME);
            assert!(buf[..] == expected[index as usize * FRAME..][..FRAME]);
        }
    }
    assert!(
        file.read_at(0, &mut vec![0; 10 * FRAME]).is_err(),
        "a read across the damage fails as a whole"
    );
}

#[test]
fn without_its_end_a_file_has_no_table() {
    let stored = sealed_bytes(5 * FRAME);
    for keep in [0, 3, 16, 17, 100, stored.len() - 1] {
        assert!(
            matches!(open(stored[..keep].to_vec()), Err(TableError::Absent)),
            "{keep} bytes"
        );
    }
}

/// Counts the bytes that are read from it.
struct Counting {
    inner: InMemory,
    read_bytes: Arc<AtomicU64>,
}

impl ReadAt for Counting {
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read_bytes
            .fetch_add(buf.len() as u64, Ordering::SeqCst);
        self.inner.read_at(offset, buf)
    }
    fn origin(&self) -> &Path {
        self.inner.origin()
    }
}

#[test]
fn a_frame_is_decoded_once_for_many_threads() {
    let stored = sealed_bytes(64 * FRAME);
    let read_bytes = Arc::new(AtomicU64::new(0));
    let storage = Counting {
        inner: InMemory::new(stored, "x"),
        read_bytes: Arc::clone(&read_bytes),
    };
    let file = SealedFile::over(Box::new(storage), 1 << 20).unwrap();
    let expected = raw(64 * FRAME);
    let table_bytes = read_bytes.swap(0, Ordering::SeqCst);
    assert!(table_bytes < 1000, "opening reads the table only");
    std::thread::scope(|scope| {
        for t in 0..8usize {
            let (file, expected) = (&file, &expected);
            scope.spawn(move || {
                for i in 0..5000usize {
                    let at = (i * 7919 + t * 104_729) % (64 * FRAME - 100);
                    let mut buf = [0u8; 100];
                    assert_eq!(file.read_at(at as u64, &mut buf).unwrap(), 100);
                    assert!(buf[..] == expected[at..at + 100]);
                }
            });
        }
    });
    let stored_bytes = file.table().stored_bytes();
    assert_eq!(
        read_bytes.load(Ordering::SeqCst),
        stored_bytes,
        "every frame was read exactly once"
    );
}

#[test]
fn a_small_cache_is_slow_but_right() {
    let stored = sealed_bytes(100 * FRAME + 17);
    let file = SealedFile::over(Box::new(InMemory::new(stored, "x")), 1).unwrap();
    let expected = raw(100 * FRAME + 17);
    let mut at = 0u64;
    let mut seen = Vec::new();
    loop {
        let chunk = file.chunk_at(at).unwrap();
        if chunk.is_empty() {
            break;
        }
        at += chunk.len() as u64;
        seen.extend_from_slice(&chunk);
    }
    assert!(seen == expected);
}

#[test]
fn what_a_thread_read_last_is_never_taken_for_another_file_or_frame() {
    let (a, b) = (open(sealed_bytes(3 * FRAME)).unwrap(), {
        let options = SealOptions {
            frame_bytes: FRAME,
            ..SealOptions::default()
        };
        let mut writer = SealWriter::new(Vec::new(), &options).unwrap();
        writer.write_zeros(3 * FRAME as u64).unwrap();
        open(writer.finish_into().unwrap().1).unwrap()
    });
    let expected = raw(3 * FRAME);
    let mut buf = [0u8; 64];
    for at in [
        10,
        20,
        FRAME - 64,
        FRAME - 63,
        FRAME - 1,
        FRAME,
        2 * FRAME + 5,
        0,
    ] {
        assert_eq!(a.read_at(at as u64, &mut buf).unwrap(), 64);
        assert!(buf[..] == expected[at..at + 64], "at {at}");
        assert_eq!(b.read_at(at as u64, &mut buf).unwrap(), 64);
        assert_eq!(buf, [0; 64], "at {at}");
    }
}

#[test]
fn offsets_past_the_end_read_nothing() {
    let file = open(sealed_bytes(FRAME + 1)).unwrap();
    let mut buf = [0u8; 16];
    assert_eq!(file.read_at(FRAME as u64, &mut buf).unwrap(), 1);
    assert_eq!(file.read_at(FRAME as u64 + 1, &mut buf).unwrap(), 0);
    assert_eq!(file.read_at(u64::MAX, &mut buf).unwrap(), 0);
    assert!(file.chunk_at(u64::MAX).unwrap().is_empty());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), at in any::<u64>()) {
        if let Ok(file) = open(bytes) {
            let _ = file.read_at(at % file.len().max(1), &mut [0; 300]);
        }
    }

    /// A whole file with some bytes changed either reads as written or says that it is damaged.
    #[test]
    fn damage_is_never_taken_for_content(changes in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..6)) {
        let mut stored = sealed_bytes(6 * FRAME);
        for (at, value) in changes {
            let n = stored.len();
            stored[at as usize % n] = value;
        }
        let expected = raw(6 * FRAME);
        if let Ok(file) = open(stored) {
            for frame in 0..file.table().n_frames() {
                let Some(frame) = file.table().frame(frame) else { continue };
                let mut buf = vec![0; frame.raw_bytes as usize];
                let whole = file.read_at(frame.raw_offset, &mut buf).is_ok();
                // Only entries that were moved against each other can show right bytes at a wrong place.
                if whole && file.len() == expected.len() as u64 && frame.raw_offset % FRAME as u64 == 0 && frame.raw_bytes as usize == FRAME {
                    prop_assert!(buf[..] == expected[frame.raw_offset as usize..][..FRAME]);
                }
            }
        }
    }
}

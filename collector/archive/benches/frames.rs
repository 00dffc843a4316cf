//! Sealing and reading sealed files, in ratios against the `zstd` program and the raw file in the same run.
//!
//! `LEAKHOUND_BENCH_DUMP=FILE cargo bench -p leakhound-archive` takes a real dump in place of the synthetic heap.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use leakhound_archive::{ReadAt, SealOptions, SealWriter, Sealed, open_readable};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A real dump, or 128 MiB that compress like one.
fn content() -> Vec<u8> {
    match std::env::var_os("LEAKHOUND_BENCH_DUMP") {
        Some(path) => std::fs::read(path).unwrap(),
        None => heap_like(128 << 20),
    }
}

/// Objects of a few types with pointers between them, short strings and runs of zeros.
fn heap_like(n_bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut out = Vec::with_capacity(n_bytes + 4096);
    while out.len() < n_bytes {
        let kind = next();
        let method_table = 0x7F3A_1000_0000u64 + (kind % 97) * 0x168;
        out.extend_from_slice(&method_table.to_le_bytes());
        for _ in 0..(kind >> 8) & 3 {
            let near =
                0x7F00_0000_0000 + out.len() as u64 - (next() & 0xFFFF8).min(out.len() as u64);
            out.extend_from_slice(&near.to_le_bytes());
        }
        if kind & 0x70 == 0 {
            for letter in
                format!("Order {} of customer {}", next() % 100_000, next() % 5000).encode_utf16()
            {
                out.extend_from_slice(&letter.to_le_bytes());
            }
        }
        if kind & 0xF000 == 0 {
            out.resize(out.len() + (next() % 4096) as usize, 0);
        }
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out.truncate(n_bytes);
    out
}

fn seal(raw: &[u8], path: &Path, options: &SealOptions) -> Sealed {
    let mut writer = SealWriter::new(File::create(path).unwrap(), options).unwrap();
    writer.write_all(raw).unwrap();
    writer.finish().unwrap()
}

struct Files {
    _folder: tempfile::TempDir,
    raw: Vec<u8>,
    raw_path: PathBuf,
    sealed_path: PathBuf,
}

fn files() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let raw = content();
    let raw_path = folder.path().join("memory.core");
    std::fs::write(&raw_path, &raw).unwrap();
    let sealed_path = folder.path().join("memory.core.zst");
    Files {
        raw,
        raw_path,
        sealed_path,
        _folder: folder,
    }
}

fn write(c: &mut Criterion) {
    let files = files();
    let n = files.raw.len();
    let mut group = c.benchmark_group("seal");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    group.throughput(Throughput::Bytes(n as u64));
    for (level, threads, frame_kib) in [
        (1, 1, 256),
        (1, 2, 256),
        (2, 2, 256),
        (3, 1, 256),
        (3, 2, 256),
        (1, 2, 64),
        (1, 2, 1024),
    ] {
        let options = SealOptions {
            level,
            threads,
            frame_bytes: frame_kib << 10,
            ..SealOptions::default()
        };
        let sealed = seal(&files.raw, &files.sealed_path, &options);
        let name = format!("level {level}, {threads} threads, {frame_kib} KiB");
        println!(
            "{name}: {n} to {} bytes, ratio {:.3}",
            sealed.stored_bytes,
            n as f64 / sealed.stored_bytes as f64
        );
        group.bench_function(name, |b| {
            b.iter(|| seal(&files.raw, &files.sealed_path, &options))
        });
    }
    let zeros = vec![0u8; n];
    group.bench_function("zeros", |b| {
        b.iter(|| seal(&zeros, &files.sealed_path, &SealOptions::default()))
    });
    let out = files.raw_path.with_extension("reference.zst");
    for level in ["-1", "-3"] {
        let zstd = || {
            Command::new("zstd")
                .args(["-q", "-f", "-T2", level])
                .arg(&files.raw_path)
                .arg("-o")
                .arg(&out)
                .status()
        };
        match zstd() {
            Ok(status) if status.success() => {
                let stored = std::fs::metadata(&out).unwrap().len();
                println!(
                    "zstd {level} -T2: {n} to {stored} bytes, ratio {:.3}",
                    n as f64 / stored as f64
                );
                group.bench_function(format!("zstd {level} -T2 (program)"), |b| {
                    b.iter(|| zstd().unwrap())
                });
            }
            _ => println!("There is no zstd program here to compare with"),
        }
    }
}

fn read(c: &mut Criterion) {
    let files = files();
    let n = files.raw.len() as u64;
    seal(&files.raw, &files.sealed_path, &SealOptions::default());
    let inputs: [(&str, Arc<dyn ReadAt>); 2] = [
        ("raw", open_readable(&files.raw_path).unwrap()),
        ("sealed", open_readable(&files.sealed_path).unwrap()),
    ];
    let mut group = c.benchmark_group("read");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    for (name, file) in &inputs {
        group.throughput(Throughput::Bytes(n));
        group.bench_function(BenchmarkId::new("all by chunks, one thread", name), |b| {
            b.iter(|| sum_chunks(&**file, 0, n))
        });
        group.bench_function(BenchmarkId::new("all by chunks, two threads", name), |b| {
            b.iter(|| {
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| sum_chunks(&**file, n / 2, n));
                    sum_chunks(&**file, 0, n / 2).wrapping_add(other.join().unwrap())
                })
            });
        });
        let mut megabyte = vec![0u8; 1 << 20];
        group.bench_function(BenchmarkId::new("all by reads of 1 MiB", name), |b| {
            b.iter(|| {
                (0..n)
                    .step_by(1 << 20)
                    .map(|at| file.read_at(at, &mut megabyte).unwrap())
                    .sum::<usize>()
            });
        });
        let mut page = [0u8; 4096];
        group.bench_function(BenchmarkId::new("all by reads of 4 KiB", name), |b| {
            b.iter(|| {
                (0..n)
                    .step_by(4096)
                    .map(|at| file.read_at(at, &mut page).unwrap())
                    .sum::<usize>()
            });
        });
        group.throughput(Throughput::Elements(1));
        let mut at = 0u64;
        group.bench_function(BenchmarkId::new("random 4 KiB", name), |b| {
            b.iter(|| {
                at = at
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                file.read_at((at >> 20) % (n - 4096), &mut page).unwrap()
            });
        });
        let mut word = [0u8; 8];
        group.bench_function(BenchmarkId::new("8 bytes of a cached frame", name), |b| {
            b.iter(|| {
                at = at
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                file.read_at((at >> 20) % (1 << 20), &mut word).unwrap()
            });
        });
    }
}

/// Touches every byte, as a walk does.
fn sum_chunks(file: &dyn ReadAt, from: u64, to: u64) -> u64 {
    let (mut at, mut sum) = (from, 0u64);
    while at < to {
        let chunk = file.chunk_at(at).unwrap();
        let n = chunk.len().min((to - at) as usize).min(1 << 20);
        sum = chunk[..n].chunks_exact(8).fold(sum, |s, b| {
            s.wrapping_add(u64::from_le_bytes(b.try_into().unwrap()))
        });
        at += n as u64;
    }
    sum
}

criterion_group!(benches, write, read);
criterion_main!(benches);

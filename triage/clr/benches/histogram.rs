//! Type histogram of a heap of 57 million entries (46 million objects, 11 million free blocks) in 2.3 GB, from the raw dump and from the
//! sealed one.
//!
//! `cargo bench -p leakhound-clr --bench histogram -- [3.1|8|9|10]…` makes the dump once (a .NET process, createdump, 5 GB of disk in
//! `target/leakhound-bench` or `LEAKHOUND_BENCH_DIR`), then reads it in a new process for each run: the page cache is warm, nothing else.
//! `LEAKHOUND_BENCH_ORDERS` makes smaller heaps, `LEAKHOUND_BENCH_RUNS` more runs (5).
//! `… -- FILE…` reads dumps that are there already.
//!
//! `LEAKHOUND_BENCH_PEER` is the command of another reader: it gets the path of the raw dump, and prints the number of entries and the
//! seconds that it took, separated by a space, as its last line. Without it, the ratio is taken to the best that ClrMD 4 reached on such
//! a heap on two cores of an EPYC 7003: 56.8 million entries in 9.5 s.
#![allow(missing_docs, clippy::unwrap_used)]

mod dumps;

use dumps::setting;
use leakhound_archive::{SealOptions, SealWriter};
use leakhound_clr::{Options, Runtime};
use leakhound_testbed::Version;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Entries per second of ClrMD 4, see above.
const PEER_ENTRIES_PER_SECOND: f64 = 56.8e6 / 9.5;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["--read", file] => read(Path::new(file)),
        // What `cargo test --benches` says: it shall compile, not run for minutes.
        ["--test", ..] => {}
        [] => compare(&[dump_of(Version::Net8)]),
        names => {
            let file = |name: &&str| match Version::ALL.iter().find(|v| v.short() == *name) {
                Some(version) => dump_of(*version),
                None => PathBuf::from(name),
            };
            compare(&names.iter().map(file).collect::<Vec<_>>());
        }
    }
}

/// The raw dump of the heap on a runtime.
fn dump_of(version: Version) -> PathBuf {
    let orders = setting("LEAKHOUND_BENCH_ORDERS", 11_400_000).to_string();
    dumps::dump_of("ledger", version, &[&orders])
}

/// The dump as Leakhound would keep it.
fn sealed(dump: &Path) -> PathBuf {
    let file = PathBuf::from(format!("{}.zst", dump.display()));
    if !file.is_file() {
        let partial = file.with_extension("partial");
        let sink = std::fs::File::create(&partial).unwrap();
        let mut writer = SealWriter::new(sink, &SealOptions::default()).unwrap();
        std::io::copy(&mut std::fs::File::open(dump).unwrap(), &mut writer).unwrap();
        writer.finish().unwrap();
        std::fs::rename(partial, &file).unwrap();
    }
    file
}

/// Reads one dump and prints what it cost, for the process that started this one.
fn read(file: &Path) {
    let started = Instant::now();
    let source = leakhound_archive::open_readable(file).unwrap();
    let image = leakhound_dump::open(source).unwrap();
    let runtime = Runtime::open(
        &image,
        &Options {
            heaps_only: true,
            ..Options::default()
        },
    )
    .unwrap();
    let bytes: u64 = runtime.ranges().iter().map(|r| r.end - r.start).sum();
    let first_answer = started.elapsed();
    let walking = Instant::now();
    let histogram = runtime.histogram();
    let walked = walking.elapsed();
    let total = histogram.total();
    let completeness = runtime.completeness();
    assert!(completeness.is_whole(), "{completeness:?}");
    println!(
        "{} {} {} {} {bytes} {}",
        total.object_count,
        total.free_count,
        walked.as_secs_f64(),
        first_answer.as_secs_f64(),
        processor_seconds()
    );
}

/// Seconds that this process has had of all cores.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|f| f.parse::<f64>().ok())
            .unwrap_or(f64::NAN)
    };
    // User and system time in hundredths of a second: fields 14 and 15, counted from 1 with the name.
    (ticks(11) + ticks(12)) / 100.0
}

/// What one run cost.
#[derive(Debug, Clone, Copy)]
struct Run {
    objects: u64,
    free: u64,
    walk_seconds: f64,
    first_answer_seconds: f64,
    heap_bytes: u64,
    processor_seconds: f64,
    peak_private_bytes: u64,
}

impl Run {
    fn entries_per_second(&self) -> f64 {
        (self.objects + self.free) as f64 / self.walk_seconds
    }

    fn of(file: &Path) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .arg("--read")
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut peak_private_bytes = 0;
        while child.try_wait().unwrap().is_none() {
            peak_private_bytes = peak_private_bytes.max(private_bytes(child.id()));
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            file.display(),
            output.status
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let number: Vec<f64> = text
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        Self {
            objects: number[0] as u64,
            free: number[1] as u64,
            walk_seconds: number[2],
            first_answer_seconds: number[3],
            heap_bytes: number[4] as u64,
            processor_seconds: number[5],
            peak_private_bytes,
        }
    }
}

/// Resident memory of a process that is not the page cache's.
fn private_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Measures each dump, raw and sealed, and prints a table.
fn compare(dumps: &[PathBuf]) {
    let runs = setting("LEAKHOUND_BENCH_RUNS", 5).max(1) as usize;
    for dump in dumps {
        let peer = peer(dump);
        let mut best_raw = None;
        let is_sealed = dump.extension().is_some_and(|e| e == "zst");
        let sealed = if is_sealed { None } else { Some(sealed(dump)) };
        for file in std::iter::once(dump).chain(sealed.as_ref()) {
            // The first brings the file into the page cache.
            let mut all: Vec<Run> = (0..=runs).map(|_| Run::of(file)).skip(1).collect();
            all.sort_by(|a, b| a.walk_seconds.total_cmp(&b.walk_seconds));
            let (best, median) = (all[0], all[runs / 2]);
            let least = all
                .iter()
                .map(|r| r.processor_seconds)
                .fold(f64::MAX, f64::min);
            let open = all
                .iter()
                .map(|r| r.first_answer_seconds)
                .fold(f64::MAX, f64::min);
            let private = all.iter().map(|r| r.peak_private_bytes).max().unwrap_or(0);
            println!(
                "{}: {} objects, {} free blocks, {:.2} GB",
                file.display(),
                best.objects,
                best.free,
                best.heap_bytes as f64 / 1e9
            );
            println!(
                "  {:.1} M entries/s best ({:.3} s), {:.1} median of {runs}; {:.1} x {}; {:.2} processor seconds; load {}",
                best.entries_per_second() / 1e6,
                best.walk_seconds,
                median.entries_per_second() / 1e6,
                best.entries_per_second() / peer.1,
                peer.0,
                least,
                std::fs::read_to_string("/proc/loadavg")
                    .unwrap_or_default()
                    .split(' ')
                    .next()
                    .unwrap_or_default(),
            );
            println!(
                "  generation totals after {:.1} ms; {:.1} MB private at most",
                open * 1e3,
                private as f64 / 1e6
            );
            let raw = *best_raw.get_or_insert(best.entries_per_second());
            if raw != best.entries_per_second() {
                println!(
                    "  {:.2} of the speed from the raw dump",
                    best.entries_per_second() / raw
                );
            }
        }
    }
}

/// Name and entries per second of the reader to compare with.
fn peer(dump: &Path) -> (&'static str, f64) {
    let Ok(command) = std::env::var("LEAKHOUND_BENCH_PEER") else {
        return ("ClrMD 4 as measured elsewhere", PEER_ENTRIES_PER_SECOND);
    };
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .arg(dump)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let numbers: Vec<f64> = last
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    let [entries, seconds] = numbers[..] else {
        panic!(
            "expected ENTRIES SECONDS from {command}, found {last:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    println!(
        "{command}: {entries} entries in {seconds:.2} s, {:.1} M entries/s",
        entries / seconds / 1e6
    );
    ("the peer in this run", entries / seconds)
}

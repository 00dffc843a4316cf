//! The whole fact sheet of large heaps: time by stage, and peak memory beside the mapped file.
//!
//! `cargo bench -p leakhound-triage --bench sheet -- [8|10|list|dictionary|cycles|cliques|star|vine|FILE]…` makes a dump once (45.6
//! million objects of a .NET 8 process when nothing is named; the shapes have ten million objects on .NET 8, cliques one million
//! with a hundred references each), then reads it in a new process for each run. Dumps lie in `target/leakhound-bench` or `LEAKHOUND_BENCH_DIR`, 1 to 3 GB each. `LEAKHOUND_BENCH_ORDERS` makes smaller
//! heaps, `LEAKHOUND_BENCH_RUNS` more runs (3).
//!
//! The budget is twice the time in which ClrMD 4 merely enumerates every reference of the heap, and 48 bytes for each object plus
//! 64 MB. `LEAKHOUND_BENCH_PEER` is the command of a program that does that: it gets the path of the raw dump, and prints numbers
//! separated by spaces as its last line, the seconds last. Without it, the time is that of the first heap on two cores of an EPYC 7003
//! (14.2 s), for other heaps in proportion to their objects.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../clr/benches/dumps/mod.rs"]
mod dumps;

use dumps::setting;
use leakhound_testbed::Version;
use leakhound_triage::analyze::analyze;
use leakhound_triage::child::{Modules, Request, Strings};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What ClrMD takes.
const PEER_SECONDS_PER_OBJECT: f64 = 14.2 / 45.6e6;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--read", file] => read(Path::new(file)),
        // What `cargo test --benches` says: it shall compile, not run for minutes.
        ["--test", ..] => {}
        [] => measure(&dump_of("8")),
        names => names.iter().for_each(|name| measure(&dump_of(name))),
    }
}

fn dump_of(name: &str) -> PathBuf {
    let orders = setting("LEAKHOUND_BENCH_ORDERS", 11_400_000).to_string();
    match name {
        "cliques" => dumps::dump_of("shapes", Version::Net8, &[name, "1000000"]),
        "list" | "dictionary" | "cycles" | "star" | "vine" => {
            dumps::dump_of("shapes", Version::Net8, &[name, "10000000"])
        }
        _ => match Version::ALL.iter().find(|v| v.short() == name) {
            Some(version) => dumps::dump_of("ledger", *version, &[&orders]),
            None => PathBuf::from(name),
        },
    }
}

/// Makes the sheet of one dump, for the process that started this one: a line for each stage, then what came out.
fn read(file: &Path) {
    leakhound_triage::child::give_back_large_blocks();
    let request = Request {
        dump: file.to_owned(),
        manifest: None,
        service: None,
        modules: Modules::Mapped,
        strings: Strings::Hashed,
        memory_limit_bytes: u64::MAX,
        time_limit_ms: u64::MAX,
    };
    let started = Instant::now();
    let mut stage = (String::new(), started);
    let sheet = analyze(&request, &mut |step| {
        let now = Instant::now();
        if !stage.0.is_empty() {
            println!("{:.2} {}", (now - stage.1).as_secs_f64(), stage.0);
        }
        stage = (step.stage, now);
    })
    .unwrap();
    let number = |name: &str| sheet.get_int(name).unwrap();
    println!(
        "sheet {} {} {} {} {}",
        started.elapsed().as_secs_f64(),
        processor_seconds(),
        number("heap.objects"),
        number("heap.used"),
        serde_json::to_vec(&sheet).unwrap().len()
    );
}

/// Several runs of [`read`]; prints the fastest.
fn measure(file: &Path) {
    let runs = setting("LEAKHOUND_BENCH_RUNS", 3).max(1);
    // The first brings the file into the page cache.
    let all: Vec<Run> = (0..=runs).map(|_| Run::of(file)).skip(1).collect();
    let best = all
        .iter()
        .min_by(|a, b| a.seconds.total_cmp(&b.seconds))
        .unwrap();
    let peak = all.iter().map(|run| run.peak_bytes).max().unwrap_or(0);
    let budget = best.objects * 48 + (64 << 20);
    let (peer, peer_seconds) = peer(file).map_or_else(
        || ("elsewhere", best.objects as f64 * PEER_SECONDS_PER_OBJECT),
        |seconds| ("in this run", seconds),
    );
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{}: {} objects in {:.2} GB; a sheet of {} kB; load {}",
        file.display(),
        best.objects,
        best.used_bytes as f64 / 1e9,
        best.sheet_bytes / 1_000,
        load.split(' ').next().unwrap_or_default()
    );
    for stage in &best.stages {
        println!("    {stage}");
    }
    println!(
        "  {:.2} s best of {runs}, {:.2} s of processor; ClrMD {peer} {peer_seconds:.2} s to enumerate references, ratio {:.2}, budget 2\n  \
         peak {:.0} MB beside the file, {:.1} bytes an object; budget {:.0} MB, {:.0}% of it",
        best.seconds,
        best.processor_seconds,
        best.seconds / peer_seconds,
        peak as f64 / 1e6,
        peak as f64 / best.objects as f64,
        budget as f64 / 1e6,
        peak as f64 / budget as f64 * 100.0
    );
}

/// Seconds in which the peer enumerates the references of a heap.
fn peer(file: &Path) -> Option<f64> {
    let command = std::env::var("LEAKHOUND_BENCH_PEER").ok()?;
    let mut words = command.split_whitespace();
    let output = Command::new(words.next()?).args(words).arg(file).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let seconds = last.split_whitespace().last().and_then(|n| n.parse().ok());
    let errors = String::from_utf8_lossy(&output.stderr);
    Some(seconds.unwrap_or_else(|| {
        panic!("expected SECONDS last from {command}, found {last:?}: {errors}")
    }))
}

/// What one run cost.
struct Run {
    seconds: f64,
    /// Of all threads: what is left of the time on a machine that has other work.
    processor_seconds: f64,
    objects: u64,
    used_bytes: u64,
    sheet_bytes: u64,
    peak_bytes: u64,
    stages: Vec<String>,
}

impl Run {
    fn of(file: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--read")
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut peak_bytes = 0;
        while child.try_wait().unwrap().is_none() {
            peak_bytes = peak_bytes.max(private_bytes(child.id()));
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
        let (stages, result) = text.trim_end().rsplit_once('\n').unwrap();
        let numbers: Vec<f64> = result
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        Self {
            seconds: numbers[0],
            processor_seconds: numbers[1],
            objects: numbers[2] as u64,
            used_bytes: numbers[3] as u64,
            sheet_bytes: numbers[4] as u64,
            peak_bytes,
            stages: stages.lines().map(str::to_owned).collect(),
        }
    }
}

/// Time that this process has spent on processors.
fn processor_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in parentheses: user and system time are the 12th and 13th.
    let ticks = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: f64 = ticks
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<f64>().ok())
        .sum();
    ticks / TICKS_PER_SECOND
}

/// Resident memory of a process that is not the page cache's.
fn private_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

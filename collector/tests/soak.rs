//! Snapshots of a .NET service under load, one after the other: no request is lost, nothing leaks.
//!
//! `LEAKHOUND_SOAK=2000` takes that many; the default takes a few dozen, in seconds.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

use leakhound_collector::capture::snapshot::Snapshot;
use leakhound_collector::capture::{Cancel, CaptureMethod, Content, Job, Sink};
use leakhound_collector::config::CaptureConfig;
use leakhound_collector::discover;
use leakhound_testbed::{Version, runtimes, targets};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Nowhere {
    fn zeros(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Lines of progress.
const PROGRESS: usize = 20;
const PHASES: [&str; 3] = ["before", "during", "after"];
const BUCKETS_MS: [f64; 10] = [
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    20.0,
    50.0,
    100.0,
    200.0,
    f64::INFINITY,
];

/// Requests on one connection; `HttpListener` closes it after 100.
const REQUESTS: u32 = 90;

/// One client: a connection that is kept for a while, a request after the other.
struct Client {
    stream: BufReader<TcpStream>,
    port: u16,
    left: u32,
}

impl Client {
    fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream: BufReader::new(stream),
            port,
            left: REQUESTS,
        })
    }

    /// Asks for `/number` and checks that the answer is about it.
    fn ask(&mut self, number: u64) -> io::Result<()> {
        if self.left == 0 {
            *self = Self::connect(self.port)?;
        }
        self.left -= 1;
        let request = format!(
            "GET /{number} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n",
            self.port
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let expected = format!("{number} 8\n");
        if body == expected.as_bytes() {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "{:?}",
                String::from_utf8_lossy(&body)
            )))
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct State {
    files: usize,
    threads: usize,
    rss_mb: u64,
    children: usize,
}

fn state(pid: u32) -> State {
    let count = |folder: &str| {
        std::fs::read_dir(format!("/proc/{pid}/{folder}"))
            .unwrap()
            .count()
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap();
    let rss_kb: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = tasks
        .filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("children")).ok())
        .map(|l| l.split_ascii_whitespace().count())
        .sum();
    State {
        files: count("fd"),
        threads: count("task"),
        rss_mb: rss_kb / 1024,
        children,
    }
}

#[test]
fn a_busy_service_loses_no_request_and_leaks_nothing() {
    let snapshots: usize = std::env::var("LEAKHOUND_SOAK")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(25);
    let root = runtimes::get(Version::Net8).unwrap();
    let mut service = targets::app("steady").unwrap().on(&root).start().unwrap();
    let port = u16::try_from(service.number("/port").unwrap()).unwrap();
    let target = discover::one(service.pid()).unwrap();
    let (phase, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let latencies: [Mutex<Vec<f64>>; 3] = std::array::from_fn(|_| Mutex::default());
    let failures = Mutex::new(Vec::new());
    let mut pauses = Vec::new();
    // As long a look before and after as the snapshots deserve.
    let quiet = Duration::from_millis(if snapshots > 100 { 15_000 } else { 1_500 });
    let gap_ms = |service: &mut leakhound_testbed::Service| {
        service.refresh().unwrap();
        let gap_us = service.number("/longest_gap_us").unwrap();
        service.send("forget").unwrap();
        gap_us as f64 / 1e3
    };
    let mut gaps_ms = [0.0; 3];
    service.send("forget").unwrap();
    let (before, after) = std::thread::scope(|scope| {
        for n in 0..2_u64 {
            let (phase, ended) = (&phase, &ended);
            let (latencies, failures) = (&latencies, &failures);
            scope.spawn(move || {
                let mut client = Client::connect(port).unwrap();
                let mut number = n * 100_000_000;
                while !ended.load(Ordering::Relaxed) {
                    number += 1;
                    let in_phase = phase.load(Ordering::Relaxed);
                    let asked = Instant::now();
                    if let Err(error) = client.ask(number) {
                        failures
                            .lock()
                            .unwrap()
                            .push(format!("request {number}: {error}"));
                        client = Client::connect(port).unwrap();
                    }
                    let took_ms = asked.elapsed().as_secs_f64() * 1e3;
                    latencies[in_phase].lock().unwrap().push(took_ms);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        std::thread::sleep(quiet);
        let before = state(service.pid());
        gaps_ms[0] = gap_ms(&mut service);
        phase.store(1, Ordering::Relaxed);
        let begun = Instant::now();
        for taken in 0..snapshots {
            if taken > 0 && taken % snapshots.div_ceil(PROGRESS) == 0 {
                let seconds = begun.elapsed().as_secs_f64();
                let now = state(service.pid());
                println!("{taken} of {snapshots} snapshots in {seconds:.0} s: {now:?}");
            }
            let job = Job {
                target: &target,
                content: Content::Heap,
                config: &CaptureConfig::default(),
                cancel: &Cancel::default(),
            };
            let captured = Snapshot::NEW.capture(&job, &mut Nowhere, &mut |_| {});
            match captured {
                Ok(captured) => pauses.push(captured.pause.unwrap().as_secs_f64() * 1e3),
                Err(error) => failures.lock().unwrap().push(format!("snapshot: {error}")),
            }
        }
        gaps_ms[1] = gap_ms(&mut service);
        phase.store(2, Ordering::Relaxed);
        let after = state(service.pid());
        std::thread::sleep(quiet);
        gaps_ms[2] = gap_ms(&mut service);
        ended.store(true, Ordering::Relaxed);
        (before, after)
    });
    service.refresh().unwrap();
    let answered = service.number("/answered").unwrap();
    pauses.sort_by(f64::total_cmp);
    println!("{before:?} -> {after:?}");
    println!(
        "{} snapshots, pause in ms: median {:.1}, 99% {:.1}, longest {:.1}",
        pauses.len(),
        pauses[pauses.len() / 2],
        pauses[(pauses.len() - 1) * 99 / 100],
        pauses[pauses.len() - 1],
    );
    let mut sent = 0;
    let mut counts = Vec::new();
    for ((name, latencies), gap_ms) in PHASES.iter().zip(latencies).zip(gaps_ms) {
        let mut all = latencies.into_inner().unwrap();
        sent += all.len() as u64;
        all.sort_by(f64::total_cmp);
        let share = |p: f64| all[((all.len() - 1) as f64 * p) as usize];
        println!(
            "{name:7} {:7} requests, ms: median {:.2}, 99% {:.2}, 99.9% {:.2}, longest {:.2}; longest gap seen by a thread of \
             the service {gap_ms:.1}",
            all.len(),
            share(0.5),
            share(0.99),
            share(0.999),
            share(1.0),
        );
        let below = BUCKETS_MS.map(|limit| all.partition_point(|ms| *ms < limit));
        counts.push((all.len().max(1), below));
    }
    println!(
        "{:>10} {:>16} {:>16} {:>16}",
        "below, ms", PHASES[0], PHASES[1], PHASES[2]
    );
    for (bucket, limit) in BUCKETS_MS.iter().enumerate() {
        let mut line = format!("{limit:>10}");
        for (all, below) in &counts {
            let earlier = bucket.checked_sub(1).map_or(0, |b| below[b]);
            let inside = below[bucket] - earlier;
            let percent = inside as f64 / *all as f64 * 100.0;
            line.push_str(&format!(" {inside:>7} {percent:>7.3}%"));
        }
        println!("{line}");
    }
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!((answered, service.number("/failed").unwrap()), (sent, 0));
    assert_eq!(after.children, 0);
    // A connection that a client left may still be open on the other side.
    assert!(after.files <= before.files + 12, "{before:?} -> {after:?}");
    // The pool of threads breathes; a snapshot that left one behind would have left dozens.
    assert!(
        after.threads <= before.threads + 10,
        "{before:?} -> {after:?}"
    );
    assert!(
        after.rss_mb <= before.rss_mb + 150,
        "{before:?} -> {after:?}"
    );
}

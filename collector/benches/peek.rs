//! What live managed values cost the agent: .NET services under watch, without and with triggers that name them.
//!
//! `cargo bench -p leakhound-collector --bench peek [SERVICES]`. By default ten services are sampled five times a second,
//! which are as many samples as fifty services give at the pace of one second; the budget for those is 0.2 % of a core
//! and 20 MB. Processor time is this process's own, the whole collector with it; reads are its calls of `read` and `pread`, also
//! those that look for new processes, and do not depend on what else the machine does. Peeks are other calls.

use leakhound_archive::Archive;
use leakhound_archive::state::State;
use leakhound_collector::{Collector, Config, Event, config};
use leakhound_testbed::{Service, Version, runtimes, targets};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SAMPLES_PER_SECOND: usize = 50;
/// Discovery looks at new processes a few times at first.
const SETTLE: Duration = Duration::from_secs(35);
const MEASURE: Duration = Duration::from_secs(20);

/// What is named by the triggers of each run.
const RUNS: &[(&str, &str)] = &[
    ("no managed value", "private_bytes > 1000 GB"),
    ("finalizer_ready", "managed.finalizer_ready > 1_000_000_000"),
    (
        "generations",
        "managed.gen2 > 1000 GB or managed.loh > 1000 GB",
    ),
    ("collections", "managed.gc_count.gen2 > 1_000_000_000"),
    ("time in collections", "managed.time_in_gc > 100%"),
    ("handles", "managed.handles.pinned > 1_000_000_000"),
    (
        "all of them",
        "managed.heap > 1000 GB or managed.finalizer_ready > 1_000_000_000 or managed.handles > 1_000_000_000 or managed.gc_count.gen0 > 1_000_000_000_000",
    ),
];

fn main() -> Result<()> {
    // Cargo passes `--bench`.
    let count: usize = std::env::args()
        .filter_map(|a| a.parse().ok())
        .next()
        .unwrap_or(10);
    let root = runtimes::get(Version::Net8)?;
    let app = targets::app("pinned-handles")?;
    let mut services: Vec<Service> = Vec::new();
    for _ in 0..count {
        services.push(app.on(&root).env("SHOP_PERCENT", "20").start()?);
    }
    let every = 1_000 * count / SAMPLES_PER_SECOND;
    println!("{count} .NET 8 services, each sampled every {every} ms");
    println!(
        "{:20} {:>10} {:>14} {:>17} {:>12}",
        "named by triggers", "of a core", "us per sample", "reads per sample", "resident MB"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    for (name, when) in RUNS {
        let mut text = String::new();
        for service in &services {
            text.push_str(&format!(
                "[[service]]\nname = \"s{0}\"\npid = {0}\nevery = \"{every} ms\"\n[[service.trigger]]\nname = \"t\"\nwhen = \"{when}\"\n",
                service.pid()
            ));
        }
        let config: Config = config::parse(&text, Path::new("bench.toml"))?;
        let (used, span) = runtime.block_on(measure(config, count))?;
        let samples = span.as_secs_f64() * SAMPLES_PER_SECOND as f64;
        println!(
            "{name:20} {:>8.2} % {:>14.0} {:>17.1} {:>12.1}",
            used.seconds / span.as_secs_f64() * 100.0,
            used.seconds / samples * 1e6,
            used.reads / samples,
            resident_bytes()? as f64 / 1e6
        );
    }
    Ok(())
}

/// What was used so far, or in a span.
struct Used {
    seconds: f64,
    reads: f64,
}

impl Used {
    fn now() -> Result<Self> {
        let io = std::fs::read_to_string("/proc/self/io")?;
        let reads = io.lines().find_map(|l| l.strip_prefix("syscr: "));
        Ok(Self {
            seconds: processor_seconds(),
            reads: reads.ok_or("no syscr in /proc/self/io")?.parse()?,
        })
    }
}

/// What a span of quiet watching needs.
async fn measure(config: Config, count: usize) -> Result<(Used, Duration)> {
    let folder = tempfile::tempdir()?;
    let archive = Arc::new(Archive::open_or_create(folder.path())?);
    let collector = Collector::new(config.clone(), archive, State::open(folder.path())?)?;
    let mut events = collector.events();
    let (_reload, updates) = tokio::sync::watch::channel(config);
    let stop = CancellationToken::new();
    let task = tokio::spawn(collector.run(stop.clone(), updates));
    let mut watched = 0;
    while watched < count {
        watched += usize::from(matches!(events.recv().await?, Event::Watching { .. }));
    }
    tokio::time::sleep(SETTLE).await;
    let (begun, before) = (Instant::now(), Used::now()?);
    tokio::time::sleep(MEASURE).await;
    let now = Used::now()?;
    let used = Used {
        seconds: now.seconds - before.seconds,
        reads: now.reads - before.reads,
    };
    let used = (used, begun.elapsed());
    stop.cancel();
    task.await??;
    Ok(used)
}

/// User and system time of this process.
fn processor_seconds() -> f64 {
    // SAFETY: a plain struct of numbers, for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the struct that it is given.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn resident_bytes() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("statm")?.parse()?;
    Ok(pages * 4096)
}

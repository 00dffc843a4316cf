//! Snapshot and stop-and-stream against createdump and gcore, each with `zstd -3 -T2`, on one .NET service in the same run.
//!
//! `cargo bench -p leakhound-collector --bench capture [MEGABYTES [RUNS]]`; 700 MB, three runs. The pause is told by three
//! witnesses: the method itself, the state of the main thread as seen from outside, and a thread inside the service that looks at
//! the clock each millisecond and keeps the longest gap (which a busy machine makes longer). Time runs from the wish to the sealed
//! bundle; for the others to the end of zstd. Every figure is the median of the runs. Below each kind stands what it is in
//! parts of createdump, and of gcore.

use leakhound_archive::Archive;
use leakhound_collector::capture::Cancel;
use leakhound_collector::config::{CaptureConfig, Kind, MethodChoice, Reserve};
use leakhound_collector::{discover, seal};
use leakhound_testbed::{DotnetRoot, Service, Version, runtimes, targets};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Captures by one method.
#[derive(Debug, Clone)]
struct Row {
    name: String,
    told_ms: Option<f64>,
    outside_ms: f64,
    inside_ms: f64,
    total_ms: f64,
    raw_mb: f64,
    stored_mb: f64,
}

fn main() -> Result<()> {
    // Cargo passes `--bench`.
    let mut numbers = std::env::args().filter_map(|a| a.parse::<u64>().ok());
    let megabytes = numbers.next().unwrap_or(700);
    let runs = numbers.next().unwrap_or(3).max(1);
    let version = Version::Net8;
    let root = runtimes::get(version)?;
    let mut service = targets::app("steady")?.on(&root).start()?;
    service.send(&format!("grow {megabytes}"))?;
    let target = discover::one(service.pid())?;
    let facts = leakhound_collector::sample::once(&target)?;
    let resident = facts.get("rss").unwrap_or(0.0);
    println!(
        ".NET {} with {:.0} MB resident; median of {runs}; budget of the pause {:.1} ms",
        version.exact(),
        resident / 1e6,
        15.0 + 12.0 * resident / 1e9
    );
    println!(
        "{:22} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "pause ms", "outside", "inside", "total ms", "raw MB", "stored MB"
    );
    for kind in [Kind::Heap, Kind::Full] {
        let mut ours = Vec::new();
        for method in [MethodChoice::Snapshot, MethodChoice::StopAndStream] {
            let row = median(runs, || sealed(&mut service, kind, method))?;
            print(&row);
            ours.push(row);
        }
        let mut theirs = vec![median(runs, || createdump(&mut service, &root, kind))?];
        // It has no option for the heap alone.
        if kind == Kind::Full {
            match median(runs, || gcore(&mut service)) {
                Ok(row) => theirs.push(row),
                Err(error) => println!("gcore full: {error} (apt-get install gdb)"),
            }
        }
        theirs.iter().for_each(print);
        for (our, their) in ours.iter().flat_map(|o| theirs.iter().map(move |t| (o, t))) {
            println!(
                "  {} against {}: stopped 1/{:.0} as long (inside), 1/{:.0} (outside); sealed {:.1} x as fast; {:.2} x the size",
                our.name,
                their.name,
                their.inside_ms / our.inside_ms,
                their.outside_ms / our.told_ms.unwrap_or(our.outside_ms),
                their.total_ms / our.total_ms,
                our.stored_mb / their.stored_mb,
            );
        }
    }
    service.quit()?;
    Ok(())
}

/// The middle one of several runs, figure by figure.
fn median(runs: u64, mut run: impl FnMut() -> Result<Row>) -> Result<Row> {
    let rows = (0..runs).map(|_| run()).collect::<Result<Vec<Row>>>()?;
    let middle = |figure: &dyn Fn(&Row) -> f64| {
        let mut all: Vec<f64> = rows.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let first = rows.first().ok_or("no run")?;
    Ok(Row {
        name: first.name.clone(),
        told_ms: first.told_ms.map(|_| middle(&|r| r.told_ms.unwrap_or(0.0))),
        outside_ms: middle(&|r| r.outside_ms),
        inside_ms: middle(&|r| r.inside_ms),
        total_ms: middle(&|r| r.total_ms),
        raw_mb: middle(&|r| r.raw_mb),
        stored_mb: middle(&|r| r.stored_mb),
    })
}

/// Our own.
fn sealed(service: &mut Service, kind: Kind, method: MethodChoice) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let archive = Archive::open_or_create(folder.path())?;
    let config = CaptureConfig {
        method,
        reserve: Reserve::Bytes(1 << 20),
        ..CaptureConfig::default()
    };
    let place = seal::Place {
        archive: &archive,
        queue: None,
        config: &config,
        walker: None,
    };
    let target = discover::one(service.pid())?;
    let ((manifest, total), outside_ms, inside_ms) = measure(service, || {
        let cancel = Cancel::default();
        let started = Instant::now();
        let (_, manifest) =
            seal::capture_once(place, &target, None, kind, "bench", &cancel, &mut |_| {})?;
        Ok((manifest, started.elapsed()))
    })?;
    let dump = manifest.dump.ok_or("no dump")?;
    Ok(Row {
        name: format!("{} {}", manifest.method, kind.as_str()),
        told_ms: manifest.pause_ms,
        outside_ms,
        inside_ms,
        total_ms: total.as_secs_f64() * 1e3,
        raw_mb: dump.raw_bytes as f64 / 1e6,
        stored_mb: dump.stored_bytes as f64 / 1e6,
    })
}

fn createdump(service: &mut Service, root: &DotnetRoot, kind: Kind) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let core = folder.path().join("core");
    let option = match kind {
        Kind::Full => "--full",
        _ => "--withheap",
    };
    let mut command = Command::new(root.createdump());
    command.arg(option).arg("-f").arg(&core);
    command.arg(service.pid().to_string());
    peer(
        service,
        format!("createdump {}", kind.as_str()),
        &mut command,
        &core,
    )
}

fn gcore(service: &mut Service) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let core = folder.path().join("core");
    let pid = service.pid().to_string();
    // gdb's script adds the id to the name.
    let made = folder.path().join(format!("core.{pid}"));
    let mut command = Command::new("gcore");
    command.arg("-o").arg(&core).arg(&pid);
    peer(service, "gcore full".to_owned(), &mut command, &made)
}

/// Another program writes `core`, and zstd packs it: what the pair of them needs.
fn peer(service: &mut Service, name: String, write: &mut Command, core: &Path) -> Result<Row> {
    let packed = core.with_extension("zst");
    let started = Instant::now();
    let (_, outside, inside) = measure(service, || {
        let output = write.output()?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
        }
    })?;
    let status = Command::new("zstd")
        .args(["-3", "-T2", "-q", "-f", "-o"])
        .arg(&packed)
        .arg(core)
        .status()?;
    if !status.success() {
        return Err("zstd failed".into());
    }
    let total = started.elapsed();
    let megabytes = |file: &Path| -> Result<f64> { Ok(fs::metadata(file)?.len() as f64 / 1e6) };
    Ok(Row {
        name,
        told_ms: None,
        outside_ms: outside,
        inside_ms: inside,
        total_ms: total.as_secs_f64() * 1e3,
        raw_mb: megabytes(core)?,
        stored_mb: megabytes(&packed)?,
    })
}

fn print(row: &Row) {
    println!(
        "{:22} {:>9} {:>9.1} {:>9.1} {:>9.0} {:>9.1} {:>9.1}",
        row.name,
        row.told_ms
            .map_or_else(String::new, |ms| format!("{ms:.1}")),
        row.outside_ms,
        row.inside_ms,
        row.total_ms,
        row.raw_mb,
        row.stored_mb,
    );
}

/// Does something to a service; how long its main thread was seen stopped, and its longest gap, in milliseconds.
fn measure<T>(service: &mut Service, work: impl FnOnce() -> Result<T>) -> Result<(T, f64, f64)> {
    service.send("forget")?;
    let ended = Arc::new(AtomicBool::new(false));
    let watch = watch_pause(service.pid(), Arc::clone(&ended));
    let result = work();
    ended.store(true, Ordering::Relaxed);
    let outside = watch.join().map_err(|_| "the watching thread panicked")?;
    let result = result?;
    service.refresh()?;
    let inside = service.number("/longest_gap_us")? as f64 / 1e3;
    Ok((result, outside.as_secs_f64() * 1e3, inside))
}

/// How long the main thread was traced at most.
fn watch_pause(pid: u32, ended: Arc<AtomicBool>) -> std::thread::JoinHandle<Duration> {
    std::thread::spawn(move || {
        let (mut since, mut longest) = (None, Duration::ZERO);
        while !ended.load(Ordering::Relaxed) {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let is_stopped = stat
                .rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with(['t', 'T']));
            match (is_stopped, since) {
                (true, None) => since = Some(Instant::now()),
                (true, Some(start)) => longest = longest.max(Instant::elapsed(&start)),
                (false, _) => since = None,
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        longest
    })
}

//! Snapshot and stop-and-stream against createdump and gcore, each with `zstd -3 -T2`, on one .NET service in the same run.
//!
//! `cargo bench -p leakhound-collector --bench capture [MEGABYTES [RUNS]]`; 700 MB, three runs. The pause is told by three
//! witnesses: the method itself, the state of the main thread as seen from outside, and a thread inside the service that looks at
//! the clock each millisecond and keeps the longest gap (which a busy machine makes longer). Time runs from the wish to the sealed
//! bundle; for the others to the end of zstd. Methods take turns, and every figure is the median of the runs. Below each kind
//! stands what it is in parts of createdump, and of gcore, in the same turn.

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
    /// As the method says; createdump and gcore say nothing.
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
        let rounds = (0..runs)
            .map(|_| round(&mut service, &root, kind))
            .collect::<Result<Vec<Round>>>()?;
        report(&rounds);
    }
    service.quit()?;
    Ok(())
}

/// Each method once, one after the other: a machine that shares its host is faster in one minute than in the next.
#[derive(Debug)]
struct Round {
    ours: Vec<Row>,
    theirs: Vec<Row>,
}

fn round(service: &mut Service, root: &DotnetRoot, kind: Kind) -> Result<Round> {
    let ours = [MethodChoice::Snapshot, MethodChoice::StopAndStream]
        .into_iter()
        .map(|method| sealed(service, kind, method))
        .collect::<Result<_>>()?;
    let mut theirs = vec![createdump(service, root, kind)?];
    // It has no option for the heap alone.
    if kind == Kind::Full {
        match gcore(service) {
            Ok(row) => theirs.push(row),
            Err(error) => println!("gcore full: {error} (apt-get install gdb)"),
        }
    }
    Ok(Round { ours, theirs })
}

/// The median of each figure, and of what each of ours is in parts of each of theirs in the same round.
fn report(rounds: &[Round]) {
    let Some(first) = rounds.first() else { return };
    let middle_row = |row: &dyn Fn(&Round) -> Option<&Row>| {
        let rows: Vec<&Row> = rounds.iter().filter_map(row).collect();
        let middle = |figure: &dyn Fn(&Row) -> f64| median(rows.iter().map(|row| figure(row)));
        rows.first().map(|first| Row {
            name: first.name.clone(),
            told_ms: first.told_ms.map(|_| middle(&|r| r.told_ms.unwrap_or(0.0))),
            outside_ms: middle(&|r| r.outside_ms),
            inside_ms: middle(&|r| r.inside_ms),
            total_ms: middle(&|r| r.total_ms),
            raw_mb: middle(&|r| r.raw_mb),
            stored_mb: middle(&|r| r.stored_mb),
        })
    };
    for i in 0..first.ours.len() {
        middle_row(&|round| round.ours.get(i))
            .iter()
            .for_each(print);
    }
    for i in 0..first.theirs.len() {
        middle_row(&|round| round.theirs.get(i))
            .iter()
            .for_each(print);
    }
    for (i, our) in first.ours.iter().enumerate() {
        for (k, their) in first.theirs.iter().enumerate() {
            let pairs: Vec<(&Row, &Row)> = rounds
                .iter()
                .filter_map(|round| Some((round.ours.get(i)?, round.theirs.get(k)?)))
                .collect();
            let ratio =
                |of: &dyn Fn(&Row, &Row) -> f64| median(pairs.iter().map(|(o, t)| of(o, t)));
            println!(
                "  {} against {}: stopped 1/{:.0} as long (inside), 1/{:.0} (outside); sealed {:.2} x as fast; {:.3} x the size",
                our.name,
                their.name,
                ratio(&|o, t| t.inside_ms / o.inside_ms),
                ratio(&|o, t| t.outside_ms / o.told_ms.unwrap_or(o.outside_ms)),
                ratio(&|o, t| t.total_ms / o.total_ms),
                ratio(&|o, t| o.stored_mb / t.stored_mb),
            );
        }
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = figures.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
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

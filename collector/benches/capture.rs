//! Snapshot and stop-and-stream against createdump and gcore, each with `zstd -3 -T2`, on one .NET service in the same run.
//!
//! `cargo bench -p leakhound-collector --bench capture [MEGABYTES]`. The pause is told by three witnesses: the method
//! itself, the state of the main thread as seen from outside, and a thread inside the service that looks at the clock
//! each millisecond and keeps the longest gap (which a busy machine makes longer).

use leakhound_archive::Archive;
use leakhound_collector::capture::Cancel;
use leakhound_collector::config::{CaptureConfig, Kind, MethodChoice, Reserve};
use leakhound_collector::{discover, seal};
use leakhound_testbed::{Service, Version, runtimes, targets};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One capture by one method.
struct Row {
    name: String,
    told: Option<f64>,
    outside_ms: f64,
    inside_ms: f64,
    total_ms: f64,
    raw_bytes: u64,
    stored_bytes: u64,
}

fn main() -> Result<()> {
    // Cargo passes `--bench`.
    let megabytes: u64 = std::env::args()
        .filter_map(|a| a.parse().ok())
        .next()
        .unwrap_or(700);
    let version = Version::Net8;
    let root = runtimes::get(version)?;
    let mut service = targets::app("steady")?.on(&root).start()?;
    service.send(&format!("grow {megabytes}"))?;
    let target = discover::one(service.pid())?;
    let facts = leakhound_collector::sample::once(&target)?;
    let resident = facts.get("rss").unwrap_or(0.0);
    println!(
        ".NET {} with {:.0} MB resident; budget of the pause {:.1} ms",
        version.exact(),
        resident / 1e6,
        15.0 + 12.0 * resident / 1e9
    );
    println!(
        "{:22} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "pause ms", "outside", "inside", "total ms", "raw MB", "stored MB"
    );
    let folder = tempfile::tempdir()?;
    let archive = Archive::open_or_create(folder.path())?;
    for kind in [Kind::Heap, Kind::Full] {
        for method in [MethodChoice::Snapshot, MethodChoice::StopAndStream] {
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
            let ((_, manifest), outside, inside) = measure(&mut service, || {
                let cancel = Cancel::default();
                seal::capture_once(place, &target, None, kind, "bench", &cancel, &mut |_| {})
                    .map_err(Into::into)
            })?;
            let dump = manifest.dump.ok_or("no dump")?;
            print(&Row {
                name: format!("{} {}", manifest.method, kind.as_str()),
                told: manifest.pause_ms,
                outside_ms: outside,
                inside_ms: inside,
                total_ms: manifest.total_ms.unwrap_or(0.0),
                raw_bytes: dump.raw_bytes,
                stored_bytes: dump.stored_bytes,
            });
        }
        let option = match kind {
            Kind::Full => "--full",
            _ => "--withheap",
        };
        let pid = service.pid().to_string();
        let core = folder.path().join("core");
        let mut createdump = Command::new(root.createdump());
        createdump.arg(option).arg("-f").arg(&core).arg(&pid);
        let name = format!("createdump {}", kind.as_str());
        print(&peer(&mut service, name, &mut createdump, &core)?);
        if kind == Kind::Full {
            // gdb's script adds the id to the name.
            let made = folder.path().join(format!("core.{pid}"));
            let mut gcore = Command::new("gcore");
            gcore.arg("-o").arg(&core).arg(&pid);
            match peer(&mut service, "gcore full".to_owned(), &mut gcore, &made) {
                Ok(row) => print(&row),
                Err(error) => println!("gcore full: {error} (apt-get install gdb)"),
            }
        }
    }
    service.quit()?;
    Ok(())
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
    let row = Row {
        name,
        told: None,
        outside_ms: outside,
        inside_ms: inside,
        total_ms: started.elapsed().as_secs_f64() * 1e3,
        raw_bytes: fs::metadata(core)?.len(),
        stored_bytes: fs::metadata(&packed)?.len(),
    };
    fs::remove_file(core)?;
    fs::remove_file(packed)?;
    Ok(row)
}

fn print(row: &Row) {
    println!(
        "{:22} {:>9} {:>9.1} {:>9.1} {:>9.0} {:>9.1} {:>9.1}",
        row.name,
        row.told.map_or_else(String::new, |ms| format!("{ms:.1}")),
        row.outside_ms,
        row.inside_ms,
        row.total_ms,
        row.raw_bytes as f64 / 1e6,
        row.stored_bytes as f64 / 1e6,
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

//! Stop-and-stream against createdump and `zstd -3 -T2`, on one .NET service in the same run.
//!
//! `cargo bench -p leakhound-collector --bench capture [MEGABYTES]`. The pause is measured from outside by both
//! sides' own duration and, for createdump, by watching the state of the main thread.

use leakhound_archive::Archive;
use leakhound_collector::capture::Cancel;
use leakhound_collector::config::{CaptureConfig, Kind, Reserve};
use leakhound_collector::{discover, seal};
use leakhound_testbed::{Version, runtimes, targets};
use std::error::Error;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    // Cargo passes `--bench`.
    let megabytes: u64 = std::env::args()
        .filter_map(|a| a.parse().ok())
        .next()
        .unwrap_or(700);
    let version = Version::Net8;
    let root = runtimes::get(version)?;
    let mut service = targets::app("static-root")?.on(&root).start()?;
    service.send(&format!("grow {megabytes}"))?;
    let target = discover::one(service.pid())?;
    let facts = leakhound_collector::sample::once(&target)?;
    let resident = facts.get("rss").unwrap_or(0.0);
    println!(
        ".NET {} with {:.0} MB resident",
        version.exact(),
        resident / 1e6
    );

    let folder = tempfile::tempdir()?;
    let archive = Archive::open_or_create(folder.path())?;
    let config = CaptureConfig {
        reserve: Reserve::Bytes(1 << 20),
        ..CaptureConfig::default()
    };
    let place = seal::Place {
        archive: &archive,
        queue: None,
        config: &config,
    };
    for kind in [Kind::Heap, Kind::Full] {
        let cancel = Cancel::default();
        let (_, manifest) =
            seal::capture_once(place, &target, None, kind, "bench", &cancel, &mut |_| {})?;
        let dump = manifest.dump.ok_or("no dump")?;
        println!(
            "stop-and-stream {:4}: stopped {:6.0} ms, sealed after {:6.0} ms, raw {:5.0} MB, stored {:6.1} MB",
            kind.as_str(),
            manifest.pause_ms.unwrap_or(0.0),
            manifest.total_ms.unwrap_or(0.0),
            dump.raw_bytes as f64 / 1e6,
            dump.stored_bytes as f64 / 1e6,
        );
    }
    for (name, option) in [("heap", "--withheap"), ("full", "--full")] {
        let core = folder.path().join("core");
        let ended = Arc::new(AtomicBool::new(false));
        let watch = watch_pause(service.pid(), Arc::clone(&ended));
        let started = Instant::now();
        let output = Command::new(root.createdump())
            .arg(option)
            .arg("-f")
            .arg(&core)
            .arg(service.pid().to_string())
            .output()?;
        let dumped = started.elapsed();
        ended.store(true, Ordering::Relaxed);
        let pause = watch.join().map_err(|_| "the watching thread panicked")?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let packed = folder.path().join("core.zst");
        let status = Command::new("zstd")
            .args(["-3", "-T2", "-q", "-f", "-o"])
            .arg(&packed)
            .arg(&core)
            .status()?;
        if !status.success() {
            return Err("zstd failed".into());
        }
        let total = started.elapsed();
        println!(
            "createdump      {name}: stopped {:6.0} ms, dumped after {:6.0} ms, packed after {:6.0} ms, raw {:5.0} MB, stored {:6.1} MB",
            pause.as_secs_f64() * 1e3,
            dumped.as_secs_f64() * 1e3,
            total.as_secs_f64() * 1e3,
            fs::metadata(&core)?.len() as f64 / 1e6,
            fs::metadata(&packed)?.len() as f64 / 1e6,
        );
        fs::remove_file(core)?;
        fs::remove_file(packed)?;
    }
    service.quit()?;
    Ok(())
}

/// How long the main thread was traced.
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
            std::thread::sleep(Duration::from_millis(1));
        }
        longest
    })
}

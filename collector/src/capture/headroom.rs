//! Whether there is memory for copy-on-write: while a copy exists, every page that the service writes to exists twice.
//!
//! How fast it writes is bounded twice. By what it computes, which costs nothing to know: a thread that only writes to pages
//! it has not touched since the copy was made takes a fault and a copy for each. Where that bound does not fit, by the pages
//! that it touches in a moment, read or written. Soft-dirty bits would tell writes alone, but write-protect the whole process
//! first; bits of reference are set by the processor itself and stop nobody.

use super::estimate::Estimate;
use crate::proc_maps::Mapping;
use leakhound_rules::units::format_bytes;
#[cfg(any(target_os = "linux", test))]
use std::time::Duration;

/// Bytes that one busy processor duplicates per second at most: a fault and a copy of 4 KiB take 2 µs and more; programs
/// do other things besides.
const DUPLICATED_PER_S: f64 = 500e6;
/// Bytes per second at which a copy is written, at low priority, on a busy machine.
const WRITTEN_PER_S: f64 = 100e6;
/// Bytes that page tables of a copy need for each of its own: 8 per page.
const TABLE_SHARE: f64 = 8.0 / 4096.0;

/// What is known of the service and of its surroundings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation {
    /// Writable private memory.
    pub private_bytes: u64,
    /// Processors that the service keeps busy.
    pub processors: f64,
    /// Bytes that it touches per second, where that was looked at.
    pub touched_per_s: Option<f64>,
    /// Bytes that it may still take under its own limit, page cache that would give way included; `None` without a limit.
    pub below_limit: Option<u64>,
    /// Bytes that the machine has left.
    pub available: Option<u64>,
}

/// Bytes that a copy may cost.
#[must_use]
pub fn need(situation: &Situation, estimate: &Estimate) -> u64 {
    let seconds = estimate.memory_bytes as f64 / WRITTEN_PER_S;
    let computed = DUPLICATED_PER_S * situation.processors.max(0.05);
    let per_s = situation
        .touched_per_s
        .map_or(computed, |t| t.min(computed));
    let duplicated = (per_s * seconds).min(situation.private_bytes as f64);
    (duplicated + situation.private_bytes as f64 * TABLE_SHARE) as u64
}

/// Why a copy should not be made, if so.
#[must_use]
pub fn refuse(situation: &Situation, estimate: &Estimate) -> Option<String> {
    let need = need(situation, estimate);
    let short = |room: Option<u64>, whose: &str| {
        let room = room.filter(|room| *room < need)?;
        Some(format!(
            "while it is copied up to {} may exist twice, and {whose} leaves {}",
            format_bytes(need as f64),
            format_bytes(room as f64)
        ))
    };
    short(situation.below_limit, "its memory limit")
        .or_else(|| short(situation.available, "the machine"))
}

/// Writable private memory of a process.
#[must_use]
pub fn private_bytes(maps: &[Mapping]) -> u64 {
    let writable = maps.iter().filter(|m| m.writable() && !m.shared());
    writable.map(|m| m.entry.anonymous).sum()
}

/// Processors that a process keeps busy, seen for a moment.
#[cfg(target_os = "linux")]
#[must_use]
pub fn processors(pid: u32) -> f64 {
    const MOMENT: Duration = Duration::from_millis(50);
    let used = || {
        // Nanoseconds on a processor, as the scheduler counts them; for each thread.
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        let each = tasks.into_iter().flatten().flatten().filter_map(|t| {
            let text = std::fs::read_to_string(t.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        each.sum::<u64>()
    };
    let (before, begun) = (used(), std::time::Instant::now());
    std::thread::sleep(MOMENT);
    used().saturating_sub(before) as f64 / begun.elapsed().as_nanos() as f64
}

/// Bytes that a process touches per second, seen for a moment: the referenced pages after all were marked as not referenced.
/// Walks its page tables twice while it runs. `None` where the kernel does not offer it or does not permit it.
#[cfg(target_os = "linux")]
#[must_use]
pub fn touched_per_s(pid: u32) -> Option<f64> {
    const MOMENT: std::time::Duration = std::time::Duration::from_millis(100);
    /// proc(5), `clear_refs`: all pages of the process.
    const ALL_PAGES: &str = "1";
    std::fs::write(format!("/proc/{pid}/clear_refs"), ALL_PAGES).ok()?;
    let begun = std::time::Instant::now();
    std::thread::sleep(MOMENT);
    let seconds = begun.elapsed().as_secs_f64();
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("Referenced:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024.0 / seconds)
}

/// What the machine may still hand out: memory and page file together, which is what a clone is charged against.
#[cfg(windows)]
#[must_use]
pub fn available() -> Option<u64> {
    crate::windows::commit::available()
}

/// `MemAvailable` of `/proc/meminfo`.
#[cfg(target_os = "linux")]
#[must_use]
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;
    const COST: Estimate = Estimate {
        memory_bytes: GB,
        stored_bytes: GB / 2,
        pause: Duration::from_secs(7),
    };
    const CALM: Situation = Situation {
        private_bytes: GB,
        processors: 0.0,
        touched_per_s: None,
        below_limit: Some(400_000_000),
        available: Some(10 * GB),
    };

    #[test]
    fn a_calm_service_needs_little_and_a_busy_one_all_of_it_twice() {
        assert!(refuse(&CALM, &COST).is_none(), "{}", need(&CALM, &COST));
        let busy = Situation {
            processors: 2.0,
            ..CALM
        };
        assert!(need(&busy, &COST) >= GB);
        let why = refuse(&busy, &COST).unwrap_or_default();
        assert!(why.ends_with("its memory limit leaves 400 MB"), "{why}");
        // It computes without writing much.
        let reader = Situation {
            touched_per_s: Some(20e6),
            ..busy
        };
        assert_eq!(refuse(&reader, &COST), None, "{}", need(&reader, &COST));
        let free = Situation {
            below_limit: None,
            ..busy
        };
        assert_eq!(refuse(&free, &COST), None);
        let crowded = Situation {
            available: Some(GB / 2),
            ..free
        };
        let why = refuse(&crowded, &COST).unwrap_or_default();
        assert!(why.contains("the machine leaves 500 MB"), "{why}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[allow(clippy::unwrap_used)]
    fn what_a_process_touches_is_told_apart_from_what_it_holds() {
        use std::io::{BufRead, BufReader};
        const MIB: f64 = 1_048_576.0;
        let program = "import time\nb=bytearray(96<<20)\nfor i in range(0,len(b),4096): b[i]=1\nprint('up',flush=True)\n\
                       while True:\n  b[0]=1\n  time.sleep(0.02)";
        let mut child = std::process::Command::new("python3")
            .args(["-c", program])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let touched = touched_per_s(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        // Ten moments would touch all that it holds.
        let touched =
            touched.expect("/proc/PID/clear_refs can be written by the owner of a process");
        assert!(touched > 0.0 && touched < 48.0 * 10.0 * MIB, "{touched}");
    }
}

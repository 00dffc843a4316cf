//! Whether there is memory for copy-on-write: while a copy exists, every page that the service writes to exists twice.
//!
//! How fast it writes is not told by the kernel without cost (soft-dirty bits write-protect the whole process first), so it is
//! bounded by what it computes: a thread that only writes to pages it has not touched since the copy was made takes a
//! fault and a copy for each.

use super::estimate::Estimate;
use crate::proc_maps::Mapping;
use leakhound_rules::units::format_bytes;
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
    /// Bytes that it may still take under its own limit, page cache that would give way included; `None` without a limit.
    pub below_limit: Option<u64>,
    /// Bytes that the machine has left.
    pub available: Option<u64>,
}

/// Bytes that a copy may cost.
#[must_use]
pub fn need(situation: &Situation, estimate: &Estimate) -> u64 {
    let seconds = estimate.memory_bytes as f64 / WRITTEN_PER_S;
    let written = DUPLICATED_PER_S * situation.processors.max(0.05) * seconds;
    let duplicated = written.min(situation.private_bytes as f64);
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
}

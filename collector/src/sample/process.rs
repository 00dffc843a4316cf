//! `statm`, and less often `stat` and `status`, of one process.

use super::{Facts, LOAD, SLOW};
use crate::discover::identity::{stat_field, ticks_per_second};
use crate::identity::Identity;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often descriptors are counted where the kernel does not tell their number (before Linux 6.2).
const COUNT_EVERY: u32 = 30;
/// How often `stat` and `status` are read and descriptors are counted, unless a trigger asks for what only they tell.
const EVERY: Duration = Duration::from_secs(5);
/// Descriptors counted at most.
const MAX_COUNTED: usize = 100_000;

/// The open files of a watched process and what the next sample is compared with.
#[derive(Debug)]
pub struct ProcessSampler {
    status: File,
    stat: File,
    statm: File,
    descriptors: PathBuf,
    cgroup: String,
    start_ticks: u64,
    started_ms: i64,
    last_cpu: Option<(Instant, u64)>,
    counted: Option<(u32, f64)>,
    /// What `stat` told.
    load: Kept,
    /// What `status` told.
    full: Kept,
    page_bytes: f64,
    cores: f64,
    buffer: Vec<u8>,
}

/// Facts that are read less often than others, and kept meanwhile.
#[derive(Debug)]
struct Kept {
    read_at: Option<Instant>,
    every: Duration,
    facts: Facts,
}

impl Kept {
    fn is_due(&self, now: Instant) -> bool {
        self.read_at
            .is_none_or(|then| now.saturating_duration_since(then) >= self.every)
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            read_at: None,
            every: EVERY,
            facts: Facts::default(),
        }
    }
}

impl ProcessSampler {
    pub(super) fn open(identity: &Identity) -> io::Result<Self> {
        let file = |name: &str| File::open(format!("/proc/{}/{name}", identity.pid));
        let this = Self {
            status: file("status")?,
            stat: file("stat")?,
            statm: file("statm")?,
            descriptors: PathBuf::from(format!("/proc/{}/fd", identity.pid)),
            cgroup: identity.cgroup.clone(),
            start_ticks: identity.start_ticks,
            started_ms: identity.started_ms,
            last_cpu: None,
            counted: None,
            load: Kept::default(),
            full: Kept::default(),
            page_bytes: page_bytes(),
            cores: cores(),
            buffer: vec![0; 2048],
        };
        // Between discovery and this moment the id may have got a new owner.
        let now = crate::discover::identity::start_ticks(identity.pid)?;
        if now != this.start_ticks {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(this)
    }

    pub(super) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Reads these facts at every sample, also those that are otherwise read less often: some trigger names them.
    pub fn read_each_time(&mut self, facts: &[&str]) {
        for (kept, theirs) in [(&mut self.load, LOAD), (&mut self.full, SLOW)] {
            if facts.iter().any(|fact| theirs.contains(fact)) {
                kept.every = Duration::ZERO;
            }
        }
    }

    pub(super) fn sample(&mut self, now: Instant, facts: &mut Facts) -> bool {
        if self.full.is_due(now) && !self.read_full(now) {
            return false;
        }
        // Two readings make the first use of the processor, so the second is not waited for.
        let is_load_due = self.load.is_due(now) || self.load.facts.get("cpu").is_none();
        if is_load_due && !self.read_load(now) {
            return false;
        }
        facts.clone_from(&self.full.facts);
        for (name, value) in self.load.facts.iter() {
            facts.set(name, value);
        }
        let Some(n) = read(&self.statm, &mut self.buffer) else {
            return false;
        };
        if !statm(&self.buffer[..n], self.page_bytes, facts) {
            return false;
        }
        let uptime = jiff::Timestamp::now().as_millisecond() - self.started_ms;
        facts.set("uptime", uptime.max(0) as f64);
        true
    }

    /// `stat`, for which the kernel goes through all threads.
    fn read_load(&mut self, now: Instant) -> bool {
        let Some(n) = read(&self.stat, &mut self.buffer) else {
            return false;
        };
        let Some(stat) = std::str::from_utf8(&self.buffer[..n]).ok().and_then(stat) else {
            return true;
        };
        let facts = &mut self.load.facts;
        facts.set("threads", stat.threads as f64);
        if let Some((then, before)) = self.last_cpu {
            let seconds = now.saturating_duration_since(then).as_secs_f64();
            let used = stat.cpu_ticks.saturating_sub(before) as f64 / ticks_per_second() as f64;
            if seconds > 0.0 {
                facts.set("cpu", used / seconds);
                facts.set("cpu.machine", used / seconds / self.cores);
            }
        }
        self.last_cpu = Some((now, stat.cpu_ticks));
        self.load.read_at = Some(now);
        true
    }

    /// `status` (the kernel prints sixty lines) and the descriptors.
    fn read_full(&mut self, now: Instant) -> bool {
        let Some(n) = read(&self.status, &mut self.buffer) else {
            return false;
        };
        self.full.facts.clear();
        if !status(&self.buffer[..n], &mut self.full.facts) {
            return false;
        }
        let descriptors = self.count_descriptors();
        self.full.facts.set_some("fds", descriptors);
        self.full.read_at = Some(now);
        true
    }

    /// Since Linux 6.2 the size of the folder is the number of descriptors; listing it is the slow way.
    fn count_descriptors(&mut self) -> Option<f64> {
        let size = fs::metadata(&self.descriptors).ok()?.size();
        if size > 0 {
            return Some(size as f64);
        }
        let (age, count) = self.counted.unwrap_or((COUNT_EVERY, 0.0));
        if age < COUNT_EVERY {
            self.counted = Some((age + 1, count));
            return Some(count);
        }
        let count = fs::read_dir(&self.descriptors)
            .ok()?
            .take(MAX_COUNTED)
            .count() as f64;
        self.counted = Some((0, count));
        Some(count)
    }
}

/// A whole small file of `/proc`; `None` when its process is gone.
pub(super) fn read(file: &File, buffer: &mut Vec<u8>) -> Option<usize> {
    loop {
        match file.read_at(buffer, 0) {
            Ok(0) | Err(_) => return None,
            // A full buffer may hide the rest; `status` and `stat` stay far below this.
            Ok(n) if n == buffer.len() && n < (64 << 10) => buffer.resize(n * 2, 0),
            Ok(n) => return Some(n),
        }
    }
}

/// The lines of `status` that are facts. False when there is no memory: a zombie.
fn status(text: &[u8], facts: &mut Facts) -> bool {
    let mut has_memory = false;
    for line in text.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let bytes = || number(&line[colon + 1..]).map(|kb| kb as f64 * 1024.0);
        match &line[..colon] {
            b"RssAnon" => has_memory = true,
            b"RssFile" => facts.set_some("rss.file", bytes()),
            b"RssShmem" => facts.set_some("rss.shared", bytes()),
            b"VmData" => facts.set_some("commit", bytes()),
            b"VmSwap" => facts.set_some("swap", bytes()),
            // What follows is of no interest.
            b"Threads" => break,
            _ => {}
        }
    }
    has_memory
}

/// `size resident shared …` in pages, where shared is of files and shared memory. Needs `swap` from before.
fn statm(text: &[u8], page_bytes: f64, facts: &mut Facts) -> bool {
    let mut pages = text
        .split(|b| *b == b' ')
        .map(|w| number(w).map(|n| n as f64 * page_bytes));
    let (Some(Some(resident)), Some(Some(shared))) = (pages.nth(1), pages.next()) else {
        return false;
    };
    // A process that is ending has given up its memory already.
    if resident == 0.0 {
        return false;
    }
    let anonymous = (resident - shared).max(0.0);
    facts.set("rss", resident);
    facts.set("rss.anonymous", anonymous);
    facts.set(
        "private_bytes",
        anonymous + facts.get("swap").unwrap_or(0.0),
    );
    true
}

/// Bytes of a page of this machine.
fn page_bytes() -> f64 {
    // SAFETY: reads a constant of the system.
    let n = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    if n > 0 { n as f64 } else { 4096.0 }
}

/// Cores of this machine that are online.
fn cores() -> f64 {
    // SAFETY: reads a number of the system.
    let n = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    if n > 0 { n as f64 } else { 1.0 }
}

/// The first number in a text.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let start = text.iter().position(u8::is_ascii_digit)?;
    let mut digits = text[start..].iter().take_while(|b| b.is_ascii_digit());
    digits.try_fold(0_u64, |n, d| {
        n.checked_mul(10)?.checked_add(u64::from(d - b'0'))
    })
}

/// What is taken from `stat`.
struct Stat {
    cpu_ticks: u64,
    threads: u64,
}

/// User and system time are fields 14 and 15, the number of threads is field 20.
fn stat(text: &str) -> Option<Stat> {
    let field = |n| stat_field(text, n)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_bytes_and_private_bytes_count_swap() {
        let text = b"Name:\tx\nRssAnon:\t  60 kB\nVmData:\t 512 kB\nVmSwap:\t   4 kB\nThreads:\t7\nSigQ: 1/2\n";
        let mut facts = Facts::default();
        assert!(status(text, &mut facts));
        assert!(statm(b"1000 25 10 1 0 300 0\n", 4096.0, &mut facts));
        assert_eq!(facts.get("private_bytes"), Some(64.0 * 1024.0));
        assert_eq!(facts.get("rss"), Some(100.0 * 1024.0));
        assert_eq!(facts.get("commit"), Some(512.0 * 1024.0));
        assert!(!status(b"Name:\tzombie\nThreads:\t1\n", &mut facts));
        assert!(!statm(b"0 0 0 0 0 0 0\n", 4096.0, &mut facts));
    }

    #[test]
    fn what_a_trigger_names_is_fresh_and_the_rest_waits() {
        let me = crate::discover::one(std::process::id()).map(|me| ProcessSampler::open(&me));
        let Ok(Ok(mut sampler)) = me else {
            panic!("we can read ourselves");
        };
        let start = Instant::now();
        let read_at = |sampler: &mut ProcessSampler, seconds| {
            let now = start + Duration::from_secs(seconds);
            assert!(sampler.sample(now, &mut Facts::default()));
            let age = |kept: &Kept| kept.read_at.map(|at| (at - start).as_secs());
            (age(&sampler.load), age(&sampler.full))
        };
        assert_eq!(read_at(&mut sampler, 0), (Some(0), Some(0)));
        assert_eq!(
            read_at(&mut sampler, 1),
            (Some(1), Some(0)),
            "the first use"
        );
        assert_eq!(read_at(&mut sampler, 2), (Some(1), Some(0)));
        assert_eq!(read_at(&mut sampler, 6), (Some(6), Some(6)));
        sampler.read_each_time(&["cpu"]);
        assert_eq!(read_at(&mut sampler, 7), (Some(7), Some(6)));
        sampler.read_each_time(&["swap"]);
        assert_eq!(read_at(&mut sampler, 8), (Some(8), Some(8)));
    }

    #[test]
    fn cheap_and_full_readings_agree() {
        let me = crate::discover::one(std::process::id()).map(|me| ProcessSampler::open(&me));
        let Ok(Ok(mut sampler)) = me else {
            panic!("we can read ourselves");
        };
        let mut facts = Facts::default();
        assert!(sampler.sample(Instant::now(), &mut facts));
        let file_and_shared =
            facts.get("rss.file").unwrap_or(0.0) + facts.get("rss.shared").unwrap_or(0.0);
        let difference = facts.get("rss").unwrap_or(0.0)
            - facts.get("rss.anonymous").unwrap_or(0.0)
            - file_and_shared;
        assert!(difference.abs() < 8e6, "{facts:?}");
    }
}

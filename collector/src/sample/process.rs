//! `status` and `stat` of one process.

use super::Facts;
use crate::discover::identity::{stat_field, ticks_per_second};
use crate::identity::Identity;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::Instant;

/// How often descriptors are counted where the kernel does not tell their number (before Linux 6.2).
const COUNT_EVERY: u32 = 30;
/// Descriptors counted at most.
const MAX_COUNTED: usize = 100_000;

/// The open files of a watched process and what the next sample is compared with.
#[derive(Debug)]
pub struct ProcessSampler {
    status: File,
    stat: File,
    descriptors: PathBuf,
    cgroup: String,
    start_ticks: u64,
    started_ms: i64,
    last_cpu: Option<(Instant, u64)>,
    counted: Option<(u32, f64)>,
    buffer: Vec<u8>,
}

impl ProcessSampler {
    pub(super) fn open(identity: &Identity) -> io::Result<Self> {
        let file = |name: &str| File::open(format!("/proc/{}/{name}", identity.pid));
        let this = Self {
            status: file("status")?,
            stat: file("stat")?,
            descriptors: PathBuf::from(format!("/proc/{}/fd", identity.pid)),
            cgroup: identity.cgroup.clone(),
            start_ticks: identity.start_ticks,
            started_ms: identity.started_ms,
            last_cpu: None,
            counted: None,
            buffer: vec![0; 4096],
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

    pub(super) fn sample(&mut self, now: Instant, facts: &mut Facts) -> bool {
        let Some(n) = read(&self.status, &mut self.buffer) else {
            return false;
        };
        if !status(&self.buffer[..n], facts) {
            return false;
        }
        let Some(n) = read(&self.stat, &mut self.buffer) else {
            return false;
        };
        if let Some(ticks) = std::str::from_utf8(&self.buffer[..n])
            .ok()
            .and_then(cpu_ticks)
        {
            if let Some((then, before)) = self.last_cpu {
                let seconds = now.saturating_duration_since(then).as_secs_f64();
                let used = ticks.saturating_sub(before) as f64 / ticks_per_second() as f64;
                if seconds > 0.0 {
                    facts.set("cpu", used / seconds);
                }
            }
            self.last_cpu = Some((now, ticks));
        }
        facts.set_some("fds", self.count_descriptors());
        let uptime = jiff::Timestamp::now().as_millisecond() - self.started_ms;
        facts.set("uptime", uptime.max(0) as f64);
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
    let (mut anonymous, mut swap) = (None, None);
    for line in text.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let value = || number(&line[colon + 1..]).map(|n| n as f64);
        let bytes = || value().map(|kb| kb * 1024.0);
        match &line[..colon] {
            b"VmRSS" => facts.set_some("rss", bytes()),
            b"RssAnon" => {
                anonymous = bytes();
                facts.set_some("rss.anonymous", anonymous);
            }
            b"RssFile" => facts.set_some("rss.file", bytes()),
            b"RssShmem" => facts.set_some("rss.shared", bytes()),
            b"VmData" => facts.set_some("commit", bytes()),
            b"VmSwap" => {
                swap = bytes();
                facts.set_some("swap", swap);
            }
            b"Threads" => {
                facts.set_some("threads", value());
                break;
            }
            _ => {}
        }
    }
    let Some(anonymous) = anonymous else {
        return false;
    };
    facts.set("private_bytes", anonymous + swap.unwrap_or(0.0));
    true
}

/// The first number in a text.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let start = text.iter().position(u8::is_ascii_digit)?;
    let digits = text[start..].iter().take_while(|b| b.is_ascii_digit());
    digits.fold(Some(0_u64), |n, d| {
        n?.checked_mul(10)?.checked_add(u64::from(d - b'0'))
    })
}

/// User and system time: fields 14 and 15 of `stat`.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let user: u64 = stat_field(stat, 14)?.parse().ok()?;
    let system: u64 = stat_field(stat, 15)?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_gives_sizes_in_bytes_and_private_bytes_count_swap() {
        let text = b"Name:\tx\nVmRSS:\t 100 kB\nRssAnon:\t  60 kB\nVmData:\t 512 kB\nVmSwap:\t   4 kB\nThreads:\t7\nSigQ: 1/2\n";
        let mut facts = Facts::default();
        assert!(status(text, &mut facts));
        assert_eq!(facts.get("private_bytes"), Some(64.0 * 1024.0));
        assert_eq!(facts.get("commit"), Some(512.0 * 1024.0));
        assert_eq!(facts.get("threads"), Some(7.0));
        assert!(!status(b"Name:\tzombie\nThreads:\t1\n", &mut facts));
    }
}

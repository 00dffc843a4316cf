//! The end of a snapshot's process: the target itself must take note of it, or a zombie stays.
//!
//! The copy has no exit signal: the target is not told of its end, and its own `wait` does not see it. So one of its
//! threads makes one `wait4`, injected as in `inject`, while all others run.

use super::Stage;
use super::frame::Fitness;
use super::gadgets;
use super::inject::{self, Call, Failure, Ground};
use crate::capture::node;
use crate::capture::ptrace::{self, Report};
use crate::capture::stop;
use crate::discover::identity;
use crate::proc_maps;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one thread may take to stop; it is then left alone and another is asked.
const STOP_WAIT: Duration = Duration::from_millis(100);
/// Threads asked at most.
const MAX_TRIES: usize = 24;
/// How long an ended copy may take to become a zombie: its page tables are freed first.
const DEATH_WAIT: Duration = Duration::from_secs(20);

/// True when any thread of it has a seccomp filter.
pub(super) fn is_filtered(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    tasks.flatten().any(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let mode = status.lines().find_map(|l| l.strip_prefix("Seccomp:"));
        mode.is_none_or(|m| m.trim() != "0")
    })
}

/// Id of `child` as the target sees it: in the pid namespace of `pid`.
fn id_inside(pid: u32, child: u32) -> Option<u64> {
    let ids = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
        let words = line.split_ascii_whitespace();
        Some(words.filter_map(|w| w.parse().ok()).collect::<Vec<u64>>())
    };
    let level = ids(pid)?.len();
    ids(child)?.get(level.checked_sub(1)?).copied()
}

/// Lets the target wait for its dead child, which was made without an exit signal. Blocks while the child still ends.
///
/// # Errors
/// A sentence: the zombie is still there.
pub fn reap(pid: u32, child: u32, observe: &(dyn Fn(Stage) + Sync)) -> Result<(), String> {
    let until = Instant::now() + DEATH_WAIT;
    while identity::is_alive(child) {
        if Instant::now() > until {
            return Err(format!("process {child} does not end"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let Some(inside) = id_inside(pid, child) else {
        // Gone: the target ended and somebody else has reaped it.
        return Ok(());
    };
    let memory = File::open(format!("/proc/{pid}/mem")).map_err(|e| e.to_string())?;
    let maps = fs::read(format!("/proc/{pid}/maps")).map_err(|e| e.to_string())?;
    let maps = proc_maps::read(&maps[..]).map_err(|e| e.to_string())?;
    let gadgets = gadgets::find(&maps, &memory).ok_or("its C library is not known")?;
    let ground = Ground {
        pid,
        memory: &memory,
        maps: &maps,
        gadgets,
        filtered: is_filtered(pid),
        observe,
    };
    let wait4 = Call {
        number: libc::SYS_wait4,
        arguments: &|_| [inside, 0, (libc::__WALL | libc::WNOHANG) as u64, 0, 0],
    };
    let mut why = "no thread could be asked".to_owned();
    let threads = stop::thread_ids(pid).map_err(|e| e.to_string())?;
    // Threads that sleep in a call are asked first; each is looked at once, for it may wake while they are sorted.
    let asleep = |tid: &u32| stop::state_of(pid, *tid) != Some('S');
    let mut order = threads;
    order.sort_by_cached_key(asleep);
    for round in [Fitness::Call, Fitness::UserCode] {
        for tid in order.iter().take(MAX_TRIES) {
            let Some(thread) = One::stop(pid, *tid)? else {
                continue;
            };
            observe(Stage::ReapStopped);
            if inject::look(*tid).is_none_or(|fitness| fitness > round) {
                continue;
            }
            match inject::call(&ground, *tid, &wait4, &mut || {}) {
                Ok(answer) if answer.result == inside as i64 => return Ok(()),
                // Somebody else was faster.
                Ok(answer) if answer.result == -i64::from(libc::ECHILD) => return Ok(()),
                Ok(answer) => why = format!("wait4 answered {}", answer.result),
                Err(Failure::Refused(reason) | Failure::Unsuitable(reason)) => why = reason,
                Err(Failure::Ended) => {}
            }
            drop(thread);
        }
    }
    Err(why)
}

/// One stopped thread, let go when it is dropped.
struct One {
    tid: u32,
    signal: libc::c_int,
}

impl One {
    /// `None` when it ended, or did not stop in time (the kernel lets it go when this thread of ours ends).
    fn stop(pid: u32, tid: u32) -> Result<Option<Self>, String> {
        if !stop::seize(pid, tid).map_err(|e| e.to_string())? {
            return Ok(None);
        }
        let _ = ptrace::request(libc::PTRACE_INTERRUPT, tid, 0, 0);
        let until = Instant::now() + STOP_WAIT;
        loop {
            match ptrace::poll(tid) {
                Ok(Some(Report::Stopped { signal, event })) => {
                    let this = Self {
                        tid,
                        signal: if event == 0 { signal } else { 0 },
                    };
                    // A thread with a signal on its way is let go with it, and another is asked.
                    return Ok((this.signal == 0).then_some(this));
                }
                Ok(Some(Report::Ended)) | Err(_) => return Ok(None),
                Ok(None) if Instant::now() > until => return Ok(None),
                Ok(None) => std::thread::sleep(Duration::from_micros(20)),
            }
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let _ = ptrace::request(libc::PTRACE_DETACH, self.tid, 0, self.signal as usize);
    }
}

/// Reaps what killed collectors left in their targets. Returns what could not be done, one sentence each.
///
/// A leftover is a zombie child of the target named in the journal, younger than the entry, and without an exit
/// signal: only snapshots are made that way.
pub fn sweep(folder: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for (entry, journal) in node::abandoned(folder) {
        let same = identity::start_ticks(entry.pid).is_ok_and(|t| t == entry.start_ticks);
        // A target that ended took its children with it.
        let left = if same { leftovers(&entry) } else { Vec::new() };
        // ptrace belongs to a thread: this one lets everything go when it ends.
        let result = std::thread::scope(|scope| {
            let work = || {
                left.iter()
                    .try_for_each(|child| reap(entry.pid, *child, &|_| {}))
            };
            scope.spawn(work).join()
        });
        match result {
            Ok(Ok(())) => journal.end(),
            Ok(Err(why)) => problems.push(format!(
                "an ended snapshot of process {} is still its zombie: {why}",
                entry.pid
            )),
            Err(_) => problems.push("the sweep of ended snapshots panicked".to_owned()),
        }
    }
    problems
}

fn leftovers(entry: &node::Entry) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|p| p.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| is_leftover(*pid, entry))
        .collect()
}

fn is_leftover(pid: u32, entry: &node::Entry) -> bool {
    /// proc(5), `/proc/PID/stat`.
    const PARENT: usize = 4;
    const START: usize = 22;
    const EXIT_SIGNAL: usize = 38;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let field = |n| identity::stat_field(&stat, n).and_then(|f| f.trim().parse::<u64>().ok());
    field(PARENT) == Some(u64::from(entry.pid))
        && field(EXIT_SIGNAL) == Some(0)
        && field(START).is_some_and(|start| start >= entry.begun_ticks)
}

/// Clock ticks since boot, as `stat` counts them; not later than now.
pub fn ticks_since_boot() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = uptime
        .split(' ')
        .next()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0.0);
    // SAFETY: asks for a constant.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ((seconds * per_second as f64) as u64).saturating_sub(1)
}

//! Copy-on-write snapshot: the target stands still only while it is cloned; the dump is written from the frozen copy.
//!
//! 1. All threads are stopped (`PTRACE_SEIZE`, `PTRACE_INTERRUPT`) and one of them makes a raw `clone` with no exit
//!    signal (`inject`, `frame`). The copy is born traced and stopped and never runs a program's code: if it is let
//!    loose, its stack leads to `exit`.
//! 2. All threads go on. The copy is written at leisure, at low priority.
//! 3. The copy is killed, and one thread of the target makes one `wait4` ([`reap`]).
//!
//! Killed at any instant, this program leaves a target that runs, and at most a zombie child that holds no memory,
//! does not signal the target and is not seen by its `wait`. A journal on disk names the target, and the next capture
//! or start of the agent on the node has it reaped ([`reap::sweep`]). Two other designs were weighed. A second clone, so that
//! init adopts the copy, gives a container's first process (often the service itself) a child that it does not know
//! and a SIGCHLD; `CLONE_PARENT` does that to the service's supervisor.
//!
//! Shared memory (`MAP_SHARED`) is not copied by `clone`: it is read from the running process a little later.

#[cfg(target_arch = "x86_64")]
mod frame;
#[cfg(target_arch = "x86_64")]
mod freeze;
#[cfg(target_arch = "x86_64")]
mod gadgets;
#[cfg(target_arch = "x86_64")]
mod inject;
#[cfg(target_arch = "x86_64")]
pub mod reap;
#[cfg(target_arch = "x86_64")]
mod seccomp;
#[cfg(target_arch = "x86_64")]
pub(crate) mod walk;
#[cfg(target_arch = "x86_64")]
mod write;

use super::estimate::{Cost, Estimate};
use super::headroom::{self, Situation};
use super::{CaptureError, CaptureMethod, Captured, Content, Job, Progress, Sink};
use crate::config::CaptureConfig;
use crate::identity::Identity;
use std::path::PathBuf;
use std::time::Duration;

/// The method's name in manifests and logs.
pub const NAME: &str = "snapshot";

/// How long a small process stands still, and how much longer for each resident gigabyte: the kernel copies page tables.
const PAUSE_LEAST: Duration = Duration::from_millis(15);
const PAUSE_PER_GB: Duration = Duration::from_millis(12);

/// Instants of a snapshot, in order, for tests that end the collector there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Stage {
    Stopped,
    FrameWritten,
    Armed,
    Masked,
    CallEntered,
    Cloned,
    CallReturned,
    Unmasked,
    Restored,
    Released,
    CopyGuarded,
    CopyReady,
    Writing,
    CopyKilled,
    ReapStopped,
    Reaped,
}

/// The method.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    /// Told at each instant.
    pub observe: fn(Stage),
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::NEW
    }
}

impl Snapshot {
    /// The method as it is used.
    pub const NEW: Self = Self { observe: |_| {} };
}

impl CaptureMethod for Snapshot {
    fn name(&self) -> &'static str {
        NAME
    }

    fn writes(&self, _: Content) -> bool {
        true
    }

    fn holds_target(&self) -> bool {
        false
    }

    fn check_cost(
        &self,
        target: &Identity,
        estimate: &Estimate,
        config: &CaptureConfig,
    ) -> Result<Cost, CaptureError> {
        let pid = target.pid;
        let maps = crate::proc_maps::of_process(pid).map_err(|source| CaptureError::Read {
            pid,
            what: "smaps",
            source,
        })?;
        let facts = crate::sample::once(target).unwrap_or_default();
        let below_limit = facts.get("limit").map(|limit| {
            let used = facts.get("limit_used").unwrap_or(0.0);
            let cache = facts.get("limit_file").unwrap_or(0.0);
            (limit - used + cache).max(0.0) as u64
        });
        let mut situation = Situation {
            private_bytes: headroom::private_bytes(&maps),
            processors: headroom::processors(pid),
            touched_per_s: None,
            below_limit,
            available: headroom::available(),
        };
        let mut refusal = headroom::refuse(&situation, estimate);
        if refusal.is_some() {
            // What it computes allows for too much: what it touches may be less, but a look at that costs.
            situation.touched_per_s = headroom::touched_per_s(pid);
            refusal = headroom::refuse(&situation, estimate);
        }
        let need_bytes = headroom::need(&situation, estimate);
        tracing::debug!(pid, ?situation, need_bytes, "Room for copy-on-write");
        if let Some(reason) = refusal {
            return Err(CaptureError::Unfit {
                pid,
                method: NAME,
                reason,
            });
        }
        let resident: u64 = maps.iter().map(|m| m.entry.rss).sum();
        let cost = Cost {
            pause: PAUSE_LEAST + PAUSE_PER_GB.mul_f64(resident as f64 / 1e9),
            copy_bytes: Some(need_bytes),
        };
        cost.within(target, estimate, config.max_pause)
    }

    fn permitted(&self, target: &Identity) -> Result<(), String> {
        if !cfg!(target_arch = "x86_64") {
            return Err("it is built for x86-64 only".to_owned());
        }
        super::stream::StopAndStream.permitted(target)
    }

    #[cfg(target_arch = "x86_64")]
    fn capture(
        &self,
        job: &Job<'_>,
        sink: &mut (dyn Sink + Send),
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Captured, CaptureError> {
        write::capture(job, sink, progress, self.observe)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn capture(
        &self,
        job: &Job<'_>,
        _: &mut (dyn Sink + Send),
        _: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Captured, CaptureError> {
        Err(CaptureError::Unfit {
            pid: job.target.pid,
            method: NAME,
            reason: "it is built for x86-64 only".to_owned(),
        })
    }
}

/// The process is the one that was asked for, and has not become another program. Gives its `auxv`.
#[cfg(target_arch = "x86_64")]
fn still_the_same(
    target: &Identity,
    before: &(Vec<u8>, Option<PathBuf>),
) -> Result<Vec<u8>, CaptureError> {
    let pid = target.pid;
    super::core_writer::same_process(target, "while it was being stopped")?;
    let auxv = std::fs::read(format!("/proc/{pid}/auxv")).map_err(|source| CaptureError::Read {
        pid,
        what: "auxv",
        source,
    })?;
    let executable = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    // AT_RANDOM and the load addresses change with every exec.
    if auxv != before.0 || executable != before.1 {
        return Err(CaptureError::Replaced { pid });
    }
    Ok(auxv)
}

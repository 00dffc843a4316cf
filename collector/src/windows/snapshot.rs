//! Snapshot: the system clones the process, which stands still only meanwhile; the dump is written from the clone.

use super::dump::{self, Source};
use super::pss::Snapshots;
use super::{dbghelp, suspend};
use crate::capture::estimate::{Cost, Estimate};
use crate::capture::gc_gate::GcGate;
use crate::capture::{
    CaptureError, CaptureMethod, Captured, Content, Job, Progress, Sink, Step, headroom,
};
use crate::config::CaptureConfig;
use crate::identity::Identity;
use leakhound_dump::DumpError;
use leakhound_dump::live::Process;
use leakhound_rules::units::format_bytes;
use std::time::{Duration, Instant};
use windows_sys::Win32::System::Threading::{GetProcessId, PROCESS_ALL_ACCESS};

pub(crate) const NAME: &str = "snapshot";
/// How long a process stands still while it is cloned: page tables are copied, memory is not. On the safe side; it was not
/// measured.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_PER_GB: Duration = Duration::from_millis(50);

/// The method.
#[derive(Debug)]
pub(crate) struct Snapshot;

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

    /// A clone is charged against the commit limit of the machine like the process itself, although pages are copied only when
    /// they are written to.
    fn check_cost(
        &self,
        target: &Identity,
        estimate: &Estimate,
        config: &CaptureConfig,
    ) -> Result<Cost, CaptureError> {
        let facts = crate::sample::once(target).unwrap_or_default();
        let need = facts.get("commit");
        let cost = Cost {
            pause: PAUSE + PAUSE_PER_GB.mul_f64(estimate.memory_bytes as f64 / 1e9),
            copy_bytes: need.map(|bytes| bytes as u64),
        };
        let short = match (need, headroom::available()) {
            (Some(need), Some(room)) if need > room as f64 => (need, room),
            _ => return cost.within(target, estimate, config.max_pause),
        };
        let (need, room) = short;
        Err(CaptureError::Unfit {
            pid: target.pid,
            method: NAME,
            reason: format!(
                "a clone needs {} of commit and the machine has {} left",
                format_bytes(need),
                format_bytes(room as f64)
            ),
        })
    }

    fn permitted(&self, target: &Identity) -> Result<(), String> {
        if Snapshots::find().is_none() {
            return Err("this system has no PssCaptureSnapshot".to_owned());
        }
        open(target.pid)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn capture(
        &self,
        job: &Job<'_>,
        sink: &mut (dyn Sink + Send),
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Captured, CaptureError> {
        let write =
            |source: &Source<'_>, _: &Captured, progress: &mut (dyn FnMut(Progress) + Send)| {
                dump::write(job, source, sink, progress)
            };
        let (warnings, captured) = with_clone(job, progress, write)?;
        Ok(Captured {
            warnings,
            ..captured
        })
    }
}

/// Has the system clone the target, gives the clone to `work`, and ends it.
pub(crate) fn with_clone<T>(
    job: &Job<'_>,
    progress: &mut (dyn FnMut(Progress) + Send),
    work: impl FnOnce(
        &Source<'_>,
        &Captured,
        &mut (dyn FnMut(Progress) + Send),
    ) -> Result<T, CaptureError>,
) -> Result<(T, Captured), CaptureError> {
    let pid = job.target.pid;
    let read = |what| move |source| CaptureError::Read { pid, what, source };
    let unfit = |reason: String| CaptureError::Unfit {
        pid,
        method: NAME,
        reason,
    };
    let functions = Snapshots::find()
        .ok_or_else(|| unfit("this system has no PssCaptureSnapshot".to_owned()))?;
    let process = open(pid).map_err(|error| dump::unreadable(pid, "its memory", &error))?;
    dump::same_process(job.target, &process, "before it was cloned")?;
    progress(Progress {
        step: Step::Stopping,
        done_bytes: 0,
        total_bytes: 0,
    });
    let gate = GcGate::open(job.target);
    gate.wait(Instant::now() + job.config.gc_wait.0, job.cancel);
    let begun = Instant::now();
    let clone = functions
        .take(&process)
        .map_err(|error| unfit(format!("the system does not clone it: {error}")))?;
    let captured = Captured {
        pause: Some(begun.elapsed()),
        gc_in_progress: gate.in_progress(),
        ..Captured::default()
    };
    let memory = clone.memory(pid).map_err(read("the clone"))?;
    let map = dump::map(pid, &memory)?;
    let described = dbghelp::describe(clone.handle(), pid, true)
        .map_err(read("the system's description (MiniDumpWriteDump)"))?;
    let source = Source {
        // SAFETY: the handle is open.
        copy: unsafe { GetProcessId(memory.raw()) },
        memory: &memory,
        live: &process,
        map: &map,
        described: &described,
        step: Step::Copying,
        check: &|| Ok(()),
    };
    let done = work(&source, &captured, progress);
    // The copy of the handle goes before the snapshot that it was copied from.
    drop(memory);
    drop(clone);
    Ok((done?, captured))
}

/// Making a process after the image of another needs nearly every right there is.
fn open(pid: u32) -> Result<Process, DumpError> {
    Process::open_for(pid, PROCESS_ALL_ACCESS).or_else(|_| suspend::open(pid))
}

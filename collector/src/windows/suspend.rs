//! Stop-and-stream: the process stands still while its memory is written. For systems without snapshots, and for processes that
//! cannot be cloned.

use super::dump::{self, Source};
use super::let_go::Guardian;
use super::{dbghelp, import, wine};
use crate::capture::estimate::{Cost, Estimate};
use crate::capture::gc_gate::GcGate;
use crate::capture::{CaptureError, CaptureMethod, Captured, Content, Job, Progress, Sink, Step};
use crate::config::CaptureConfig;
use crate::identity::Identity;
use leakhound_dump::DumpError;
use leakhound_dump::live::Process;
use std::io;
use std::mem;
use std::time::Instant;
use windows_sys::Win32::Foundation::{HANDLE, NTSTATUS};
use windows_sys::Win32::System::Threading::{
    PROCESS_DUP_HANDLE, PROCESS_QUERY_INFORMATION, PROCESS_SUSPEND_RESUME, PROCESS_SYNCHRONIZE,
    PROCESS_VM_READ,
};

pub(crate) const NAME: &str = "stop-and-stream";

/// `NtSuspendProcess`, `NtResumeProcess`: all threads of a process at once, those included that are just being made.
type OfProcess = unsafe extern "system" fn(HANDLE) -> NTSTATUS;

/// The method.
#[derive(Debug)]
pub(crate) struct StopAndStream;

impl CaptureMethod for StopAndStream {
    fn name(&self) -> &'static str {
        NAME
    }

    /// To know where contents lie takes time, in which the process stands still: within the longest pause, as all of it.
    fn writes(&self, _: Content) -> bool {
        true
    }

    fn check_cost(
        &self,
        target: &Identity,
        estimate: &Estimate,
        config: &CaptureConfig,
    ) -> Result<Cost, CaptureError> {
        let cost = Cost {
            pause: estimate.pause,
            copy_bytes: None,
        };
        cost.within(target, estimate, config.max_pause)
    }

    fn permitted(&self, target: &Identity) -> Result<(), String> {
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
        let (warnings, captured) = with_stopped(job, progress, write)?;
        Ok(Captured {
            warnings,
            ..captured
        })
    }
}

/// Stops the target, gives it to `work`, and lets it go.
pub(crate) fn with_stopped<T>(
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
    let process = open(pid).map_err(|error| dump::unreadable(pid, "its memory", &error))?;
    dump::same_process(job.target, &process, "before it was stopped")?;
    progress(Progress {
        step: Step::Stopping,
        done_bytes: 0,
        total_bytes: 0,
    });
    let early = if wine::is_here() {
        Some(dump::map(pid, &process)?)
    } else {
        None
    };
    // Without it nobody would let the target go if this program died.
    let guardian = Guardian::start(job.target)
        .map_err(|error| unfit(pid, format!("its guardian does not start: {error}")))?;
    // Last, so that no collection begins between the look and the stop.
    let gate = GcGate::open(job.target);
    gate.wait(Instant::now() + job.config.gc_wait.0, job.cancel);
    let stopped = Stopped::stop(&process, guardian)
        .map_err(|error| unfit(pid, format!("it cannot be suspended: {error}")))?;
    let mut captured = Captured {
        gc_in_progress: gate.in_progress(),
        ..Captured::default()
    };
    let map = match early {
        Some(map) => map,
        None => dump::map(pid, &process)?,
    };
    let described = dbghelp::describe(process.raw(), pid, false)
        .map_err(read("the system's description (MiniDumpWriteDump)"))?;
    let described_ms = stopped.since.elapsed().as_millis();
    tracing::debug!(
        pid,
        described_ms,
        bytes = described.len(),
        "The system described the process"
    );
    let limit = job.config.max_pause;
    let check = || {
        let paused = stopped.since.elapsed();
        if paused > limit.0 {
            return Err(CaptureError::PauseExceeded {
                pid,
                paused_ms: u64::try_from(paused.as_millis()).unwrap_or(u64::MAX),
                limit_ms: limit.as_ms(),
            });
        }
        if process.has_ended() {
            let when = "during the capture";
            return Err(CaptureError::Exited { pid, when });
        }
        Ok(())
    };
    let source = Source {
        copy: pid,
        memory: &process,
        live: &process,
        map: &map,
        described: &described,
        step: Step::Writing,
        check: &check,
    };
    let done = work(&source, &captured, progress)?;
    captured.pause = Some(stopped.resume());
    Ok((done, captured))
}

fn unfit(pid: u32, reason: String) -> CaptureError {
    CaptureError::Unfit {
        pid,
        method: NAME,
        reason,
    }
}

/// Opens a process for reading, stopping and letting go.
pub(super) fn open(pid: u32) -> Result<Process, DumpError> {
    let rights = PROCESS_QUERY_INFORMATION
        | PROCESS_VM_READ
        | PROCESS_SYNCHRONIZE
        | PROCESS_DUP_HANDLE
        | PROCESS_SUSPEND_RESUME;
    Process::open_for(pid, rights)
}

/// A process that stands still; let go when dropped, and by its guardian when this program dies.
struct Stopped<'a> {
    process: &'a Process,
    guardian: Option<Guardian>,
    since: Instant,
}

impl<'a> Stopped<'a> {
    fn stop(process: &'a Process, guardian: Guardian) -> io::Result<Self> {
        let since = Instant::now();
        if let Err(error) = call(process, c"NtSuspendProcess") {
            // It stops every thread or, of a process that is ending, none: nothing is to be let go that others stopped.
            guardian.end();
            return Err(error);
        }
        // From here on: whatever happens, dropping this lets go.
        Ok(Self {
            process,
            guardian: Some(guardian),
            since,
        })
    }

    /// Lets the process go and says how long it stood still.
    fn resume(self) -> std::time::Duration {
        let since = self.since;
        drop(self);
        since.elapsed()
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let resumed = resume(self.process);
        if let Some(guardian) = self.guardian.take() {
            // A guardian that hears nothing tries again.
            if resumed.is_ok() {
                guardian.end();
            }
        }
    }
}

/// Lets a process go that [`StopAndStream`] stopped.
fn resume(process: &Process) -> io::Result<()> {
    call(process, c"NtResumeProcess")
}

fn call(process: &Process, function: &std::ffi::CStr) -> io::Result<()> {
    let missing = || io::Error::from(io::ErrorKind::Unsupported);
    let code = import::find("ntdll.dll", function).ok_or_else(missing)?;
    // SAFETY: both functions take one handle and return a status; the handle is open.
    let status = unsafe {
        let function = mem::transmute::<import::Code, OfProcess>(code);
        function(process.raw())
    };
    if status < 0 {
        return Err(io::Error::other(format!("status {status:#x}")));
    }
    Ok(())
}

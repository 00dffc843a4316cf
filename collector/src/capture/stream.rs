//! Stop-and-stream: all threads are stopped, an ELF core is written from `/proc/PID/mem`, the process goes on.
//!
//! No page is written twice and no byte reaches the disk uncompressed. What is unchanged in files on disk is
//! copied after the process runs again.

use super::core_file::{self, ProcessNotes};
use super::core_writer::{LivePages, Writer, process_notes, same_process};
use super::estimate::{Cost, Estimate};
use super::gc_gate::GcGate;
use super::plan;
use super::stop::{StopError, Stopped};
use super::{CaptureError, CaptureMethod, Captured, Content, Job, Progress, Sink, Step};
use crate::config::CaptureConfig;
use crate::discover::identity;
use crate::identity::Identity;
use crate::proc_maps;
use std::fs::{self, File};
use std::io;
use std::time::Instant;

/// The method.
#[derive(Debug)]
pub struct StopAndStream;

impl CaptureMethod for StopAndStream {
    fn name(&self) -> &'static str {
        "stop-and-stream"
    }

    /// To know where contents lie takes time, which a process that stands still has not.
    fn writes(&self, content: Content) -> bool {
        content != Content::Structure
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
        // The kernel checks the same right (PTRACE_MODE_ATTACH) when this file is opened.
        match File::open(format!("/proc/{}/mem", target.pid)) {
            Ok(_) => Ok(()),
            Err(e) => Err(format!(
                "ptrace of process {} is not permitted ({e}); run as root or as its user with CAP_SYS_PTRACE",
                target.pid
            )),
        }
    }

    fn capture(
        &self,
        job: &Job<'_>,
        sink: &mut (dyn Sink + Send),
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Captured, CaptureError> {
        let pid = job.target.pid;
        // ptrace is a matter between two threads: this one lives for this capture only, and its end alone
        // makes the kernel let the target go.
        let outcome = std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("capture".to_owned())
                .spawn_scoped(scope, || run(job, sink, progress))
                .map(|thread| thread.join())
        });
        match outcome {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CaptureError::Read {
                pid,
                what: "memory",
                source: io::Error::other("the capture thread panicked; the target was let go"),
            }),
            Err(source) => Err(CaptureError::Stop(StopError::Io { pid, source })),
        }
    }
}

fn run(
    job: &Job<'_>,
    sink: &mut (dyn Sink + Send),
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Captured, CaptureError> {
    let pid = job.target.pid;
    let read = |what| move |source| CaptureError::Read { pid, what, source };
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let auxv_before = fs::read(format!("/proc/{pid}/auxv")).unwrap_or_default();
    let notes = process_notes(job.target);
    same_process(job.target, "before it was stopped")?;

    progress(Progress {
        step: Step::Stopping,
        done_bytes: 0,
        total_bytes: 0,
    });
    let gate = GcGate::open(job.target);
    let until = Instant::now() + job.config.gc_wait.0;
    let (stopped, gc_in_progress) = loop {
        gate.wait(until, job.cancel);
        job.cancel.check(pid)?;
        let stopped = Stopped::stop(pid, job.config.stop_timeout.0)?;
        let collecting = gate.in_progress();
        // It began between the look and the stop: the target goes on, and is asked again.
        if collecting != Some(true) || Instant::now() >= until {
            break (stopped, collecting);
        }
    };
    same_process(job.target, "while it was being stopped")?;
    let auxv = fs::read(format!("/proc/{pid}/auxv")).map_err(read("auxv"))?;
    // AT_RANDOM and the load addresses change with every exec.
    if auxv != auxv_before || fs::read_link(format!("/proc/{pid}/exe")).ok() != executable {
        return Err(CaptureError::Replaced { pid });
    }
    let maps = proc_maps::of_process(pid).map_err(read("smaps"))?;
    let mut pages = LivePages::open(pid).map_err(read("pagemap"))?;
    let single_file = job.target.dotnet.as_ref().is_some_and(|d| d.single_file);
    let bundle = executable
        .as_ref()
        .filter(|_| single_file)
        .and_then(|e| e.to_str());
    let plan = plan::plan(&maps, job.content, bundle, &mut pages);
    let notes = ProcessNotes { auxv, ..notes };
    let notes = core_file::notes(&notes, &stopped.threads(), &maps);
    let layout = core_file::layout(&plan, &notes).map_err(read("its layout"))?;

    let memory = File::open(format!("/proc/{pid}/mem")).map_err(read("memory"))?;
    let mut writer = Writer::new(job, sink, progress, layout.total_bytes);
    let limit = job.config.max_pause;
    let check = || {
        let paused = stopped.elapsed();
        if paused > limit.0 {
            return Err(CaptureError::PauseExceeded {
                pid,
                paused_ms: u64::try_from(paused.as_millis()).unwrap_or(u64::MAX),
                limit_ms: limit.as_ms(),
            });
        }
        Ok(())
    };
    let gone = || {
        let when = "during the capture";
        same_process(job.target, when)?;
        if identity::is_alive(pid) {
            Ok(())
        } else {
            Err(CaptureError::Exited { pid, when })
        }
    };
    writer.put(&layout.head)?;
    writer.step(Step::Writing);
    let deferred = |i: &usize| plan.segments[*i].is_deferred();
    for index in layout.order.iter().filter(|i| !deferred(i)) {
        for piece in &plan.segments[*index].pieces {
            writer.copy_memory(piece, &memory, &check, &gone)?;
        }
    }
    let (pause, mut late) = stopped.resume();
    writer.step(Step::Resumed);
    for index in layout.order.iter().filter(|i| deferred(i)) {
        for piece in &plan.segments[*index].pieces {
            late.let_go();
            writer.copy_file(piece, &plan, &maps, &pages)?;
        }
    }
    let mut warnings = plan.warnings;
    warnings.extend(writer.warnings());
    Ok(Captured {
        pause: Some(pause),
        maps,
        warnings,
        gc_in_progress,
    })
}

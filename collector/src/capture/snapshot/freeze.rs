//! The thread that stops the target, makes the copy, lets the target go, and keeps the copy until it is not needed.
//!
//! ptrace binds both to this one thread. The copy dies with it (`PTRACE_O_EXITKILL`), the target never does.

use super::Stage;
use super::frame::Fitness;
use super::inject::{self, Answer, Call, Failure, Ground};
use super::reap;
use crate::capture::node::{Entry, Journal};
use crate::capture::ptrace::{self, Report};
use crate::capture::stop::{Late, Stopped, StoppedThread};
use crate::capture::{CaptureError, Job, gc_gate::GcGate, node};
use crate::discover::identity;
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// Threads asked to make the copy, at most.
const MAX_TRIES: usize = 16;
/// How long the copy may take to stop at its first instruction.
const BIRTH_WAIT: Duration = Duration::from_secs(10);
/// The copy's `oom_score_adj`: when memory runs out the copy goes, never the service.
const FIRST_TO_GO: &str = "1000";
/// How long the copy may take to end: its page tables are freed first.
const DEATH_WAIT: Duration = Duration::from_secs(20);
/// How often late threads and the copy are looked after.
const LOOK: Duration = Duration::from_millis(4);
const LOOK_SELDOM: Duration = Duration::from_millis(50);

/// A frozen copy of the target.
#[derive(Debug)]
pub struct Frozen {
    /// Its process id in our namespace.
    pub copy: u32,
    /// The target's threads as they stood.
    pub threads: Vec<StoppedThread>,
    /// `/proc/PID/auxv` of the target.
    pub auxv: Vec<u8>,
    /// How long the target's threads stood still.
    pub pause: Duration,
    /// The collector was moving objects; `None` when that could not be told.
    pub gc_in_progress: Option<bool>,
    /// What did not go as it should.
    pub warnings: Vec<String>,
}

/// What the thread needs to know.
pub struct Order<'a, 'j> {
    /// The capture.
    pub job: &'a Job<'j>,
    /// What calls need.
    pub ground: Ground<'a>,
    /// `auxv` and executable before the stop.
    pub before: (Vec<u8>, Option<std::path::PathBuf>),
}

/// Works until `done` is closed. Sends the copy, or why there is none, through `ready`. Returns what went wrong after
/// that.
pub fn hold(
    order: &Order<'_, '_>,
    ready: &SyncSender<Result<Frozen, CaptureError>>,
    done: &Receiver<()>,
) -> Vec<String> {
    let pid = order.job.target.pid;
    let mut warnings = reap::sweep(&node::run_folder());
    let entry = Entry {
        pid,
        start_ticks: identity::start_ticks(pid).unwrap_or(0),
        begun_ticks: reap::ticks_since_boot(),
    };
    let journal = match Journal::begin(&node::run_folder(), entry) {
        Ok(journal) => Some(journal),
        Err(e) => {
            warnings.push(format!(
                "the snapshot could not be written into {} ({e}): if this program is killed now, a zombie stays until the service ends",
                node::run_folder().display()
            ));
            None
        }
    };
    let end = |journal: Option<Journal>| journal.into_iter().for_each(Journal::end);
    let (mut frozen, mut late) = match freeze(order) {
        Ok(frozen) => frozen,
        Err(error) => {
            // The entry stays for the next sweep: a call that went wrong may have left a copy, which has ended.
            // Nobody listens any more after a panic over there.
            let _ = ready.send(Err(error));
            return Vec::new();
        }
    };
    frozen.warnings.append(&mut warnings);
    let copy = Copied(frozen.copy);
    let closed = guard(&copy, order);
    (order.ground.observe)(Stage::CopyReady);
    let born = match closed {
        Ok(closed) => {
            let _ = ready.send(Ok(frozen));
            Some(closed)
        }
        Err(why) => {
            let _ = ready.send(Err(unfit(pid, why)));
            None
        }
    };
    if let Some(shares_files) = born {
        keep(pid, &copy, &mut late, shares_files, done);
    }
    let ended = copy.0;
    drop(copy);
    (order.ground.observe)(Stage::CopyKilled);
    let reaped = match identity::start_ticks(pid) {
        // The target ended: its children are init's.
        Ok(ticks) if ticks == entry.start_ticks && identity::is_alive(pid) => {
            reap::reap(pid, ended, order.ground.observe)
        }
        _ => Ok(()),
    };
    while !late.is_empty() {
        late.let_go();
        std::thread::sleep(LOOK);
    }
    match reaped {
        Ok(()) => {
            end(journal);
            (order.ground.observe)(Stage::Reaped);
            Vec::new()
        }
        // The journal stays, and the next capture on this node tries again.
        Err(why) => vec![format!(
            "the ended snapshot is still a zombie of process {pid}: {why}; the next capture on this node tries again"
        )],
    }
}

fn unfit(pid: u32, reason: String) -> CaptureError {
    CaptureError::Unfit {
        pid,
        method: super::NAME,
        reason,
    }
}

/// Stops the target, makes the copy, lets the target go.
fn freeze(order: &Order<'_, '_>) -> Result<(Frozen, Late), CaptureError> {
    let job = order.job;
    let pid = job.target.pid;
    let gate = GcGate::open(job.target);
    let until = Instant::now() + job.config.gc_wait.0;
    let (mut stopped, gc_in_progress, auxv, urgent) = loop {
        gate.wait(until, job.cancel);
        job.cancel.check(pid)?;
        let urgent = Urgent::begin();
        let stopped = Stopped::halt(pid, job.config.stop_timeout.0)?;
        (order.ground.observe)(Stage::Stopped);
        let auxv = super::still_the_same(job.target, &order.before)?;
        let collecting = gate.in_progress();
        // It began between the look and the stop: the target goes on, and is asked again.
        if collecting == Some(true) && Instant::now() < until {
            drop(stopped);
            drop(urgent);
            continue;
        }
        break (stopped, collecting, auxv, urgent);
    };
    let answer = fork(order, &mut stopped);
    let (threads, pause, late) = stopped.release();
    drop(urgent);
    (order.ground.observe)(Stage::Released);
    let copy = answer?;
    let frozen = Frozen {
        copy,
        threads,
        auxv,
        pause,
        gc_in_progress,
        warnings: Vec::new(),
    };
    Ok((frozen, late))
}

/// Makes one of the stopped threads clone the process. The copy is traced and has not run.
fn fork(order: &Order<'_, '_>, stopped: &mut Stopped) -> Result<u32, CaptureError> {
    let pid = stopped.pid();
    let limit = order.job.config.max_pause;
    // No exit signal: the target is not told of the copy's end. The table of open files is shared, so that a file
    // that the target closes is closed; the copy leaves it before it does anything else.
    let clone = Call {
        number: libc::SYS_clone,
        arguments: &|copy_sp| [libc::CLONE_FILES as u64, copy_sp, 0, 0, 0],
    };
    let mut candidates: Vec<(Fitness, bool, u32)> = stopped
        .threads()
        .iter()
        .filter(|t| t.is_quiet())
        .filter_map(|t| Some((inject::look(t.tid)?, t.tid != pid, t.tid)))
        .collect();
    candidates.sort_unstable();
    let mut why = "none of its threads stands still without a signal on its way".to_owned();
    for (_, _, tid) in candidates.into_iter().take(MAX_TRIES) {
        if stopped.elapsed() > limit.0 {
            return Err(CaptureError::PauseExceeded {
                pid,
                paused_ms: u64::try_from(stopped.elapsed().as_millis()).unwrap_or(u64::MAX),
                limit_ms: limit.as_ms(),
            });
        }
        // Registers are read before the thread is led elsewhere, those of all others while the kernel copies.
        stopped.read_registers_of(tid);
        match inject::call(&order.ground, tid, &clone, &mut || stopped.read_registers()) {
            Ok(Answer {
                child: Some(copy), ..
            }) => {
                stopped.read_registers();
                return Ok(copy);
            }
            Ok(Answer { result, .. }) => {
                let error =
                    std::io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO));
                return Err(unfit(pid, format!("its clone failed: {error}")));
            }
            Err(Failure::Refused(reason)) => return Err(unfit(pid, reason)),
            Err(Failure::Unsuitable(reason)) => why = reason,
            Err(Failure::Ended) if !identity::is_alive(pid) => {
                let when = "while its copy was being made";
                return Err(CaptureError::Exited { pid, when });
            }
            Err(Failure::Ended) => why = format!("thread {tid} ended"),
        }
    }
    Err(unfit(pid, why))
}

/// Makes the copy safe: it dies with this thread, it is the first to go when memory runs out, and it holds no file
/// open. Says whether it still shares the target's files.
fn guard(copy: &Copied, order: &Order<'_, '_>) -> Result<bool, String> {
    let until = Instant::now() + BIRTH_WAIT;
    loop {
        match ptrace::poll(copy.0) {
            Ok(Some(Report::Stopped { .. })) => break,
            Ok(Some(Report::Ended)) | Err(_) => return Err("its copy was killed at birth".into()),
            Ok(None) if Instant::now() > until => return Err("its copy does not stop".into()),
            Ok(None) => std::thread::sleep(Duration::from_micros(20)),
        }
    }
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
    ptrace::request(libc::PTRACE_SETOPTIONS, copy.0, 0, options as usize)
        .map_err(|e| format!("its copy cannot be guarded: {e}"))?;
    (order.ground.observe)(Stage::CopyGuarded);
    // A container may forbid it; then the kernel chooses by size.
    let _ = fs::write(format!("/proc/{}/oom_score_adj", copy.0), FIRST_TO_GO);
    Ok(!close_files(copy, order))
}

/// The copy leaves the shared table of files for an empty one. False when it may or can not (before Linux 5.9).
fn close_files(copy: &Copied, order: &Order<'_, '_>) -> bool {
    /// `CLOSE_RANGE_UNSHARE` (Linux, include/uapi/linux/close_range.h).
    const UNSHARE: u64 = 2;
    let arguments = [0, u64::from(u32::MAX), UNSHARE, 0, 0];
    let Ok(mut regs) = ptrace::registers(copy.0) else {
        return false;
    };
    let gadgets = &order.ground.gadgets;
    if order.ground.filtered
        && super::seccomp::permits(copy.0, gadgets.call, libc::SYS_close_range, arguments).is_err()
    {
        return false;
    }
    // Its stack leads to `exit` already.
    regs.orig_rax = u64::MAX;
    regs.rax = libc::SYS_close_range as u64;
    regs.rip = gadgets.call;
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8] = arguments;
    if ptrace::set_registers(copy.0, &regs).is_err() {
        return false;
    }
    // To the entry of the call, and to its end, where it stays.
    for _ in 0..2 {
        if ptrace::request(libc::PTRACE_SYSCALL, copy.0, 0, 0).is_err() {
            return false;
        }
        let until = Instant::now() + BIRTH_WAIT;
        loop {
            match ptrace::poll(copy.0) {
                Ok(Some(Report::Stopped { .. })) => break,
                Ok(None) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_micros(20));
                }
                _ => return false,
            }
        }
    }
    ptrace::registers(copy.0).is_ok_and(|r| r.rax == 0)
}

/// Waits for the end of the work on the copy, and looks after threads that stopped late.
fn keep(pid: u32, copy: &Copied, late: &mut Late, shares_files: bool, done: &Receiver<()>) {
    loop {
        let pause = if late.is_empty() { LOOK_SELDOM } else { LOOK };
        match done.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        late.let_go();
        // A copy that shares the files of a service that ended would keep its port: the next instance could not
        // start.
        if shares_files && !identity::is_alive(pid) {
            copy.kill();
        }
    }
}

/// The copy; killed when this is dropped.
struct Copied(u32);

impl Copied {
    fn kill(&self) {
        // A tracer may always do this; a signal to another user's process needs a right of its own (CAP_KILL).
        let asked = ptrace::request(libc::PTRACE_KILL as libc::c_uint, self.0, 0, 0);
        if asked.is_err() {
            // SAFETY: no memory is passed. The id is ours: the copy is traced and not yet waited for.
            unsafe { libc::kill(self.0 as libc::pid_t, libc::SIGKILL) };
        }
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.kill();
        // Until the tracer has seen the end, the parent cannot. At the latest the copy dies with this thread.
        let until = Instant::now() + DEATH_WAIT;
        while Instant::now() < until {
            match ptrace::poll(self.0) {
                Ok(Some(Report::Ended)) | Err(_) => return,
                Ok(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

/// While the target stands still, this thread goes before all others.
struct Urgent(bool);

impl Urgent {
    fn begin() -> Self {
        /// Nanoseconds by which a sleep may be late; the default is 50,000.
        const SLACK_NS: libc::c_ulong = 1;
        let parameters = libc::sched_param { sched_priority: 1 };
        // SAFETY: `parameters` outlives the call; both calls concern this thread only. Without the right to it
        // (CAP_SYS_NICE) things are as they were.
        let raised = unsafe {
            libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NS);
            libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) == 0
        };
        Self(raised)
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        if self.0 {
            let parameters = libc::sched_param { sched_priority: 0 };
            // SAFETY: as above.
            unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters) };
        }
    }
}

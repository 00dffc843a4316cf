//! All threads of a process, stopped by ptrace, and let go again on every path.
//!
//! ptrace belongs to a thread, not to a process: a [`Stopped`] is bound to the thread that made it. That
//! thread is always a dedicated one, which gives a second safety net: when it ends, however it ends, the
//! kernel detaches every tracee. The third one is the same rule for the whole process: `PTRACE_O_EXITKILL`
//! is not set, so a collector that is killed leaves the target running.

use super::ptrace::{self, Report};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Threads stopped at most; 32 times the default `pid_max` of small machines.
const MAX_THREADS: usize = 1_000_000;
/// A thread in uninterruptible sleep is waited for this long: it runs none of its own code, and most such
/// sleeps are shorter.
const SLEEPER_GRACE: Duration = Duration::from_millis(4);

/// Why a process could not be stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StopError {
    /// Nobody has this id (any more).
    #[error("process {pid} does not exist (any more)")]
    Gone {
        /// Process id.
        pid: u32,
    },
    /// Somebody else traces it.
    #[error(
        "process {pid} is traced by process {tracer} already; a process has one tracer: end the debugger or profiler first"
    )]
    Traced {
        /// Process id.
        pid: u32,
        /// Id of the tracer.
        tracer: u32,
    },
    /// The kernel says no.
    #[error(
        "ptrace of process {pid} is not permitted ({source}): run as root or as the same user, give the agent CAP_SYS_PTRACE, and see /proc/sys/kernel/yama/ptrace_scope"
    )]
    Denied {
        /// Process id.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Some threads did not stop.
    #[error(
        "{waiting} of {threads} threads of process {pid} did not stop within {after_ms} ms (thread {example}); all were let go"
    )]
    Timeout {
        /// Process id.
        pid: u32,
        /// Threads still running.
        waiting: usize,
        /// Threads in all.
        threads: usize,
        /// One of them.
        example: u32,
        /// How long was waited.
        after_ms: u64,
    },
    /// Anything else.
    #[error("stopping process {pid}: {source}")]
    Io {
        /// Process id.
        pid: u32,
        /// What failed.
        source: io::Error,
    },
}

/// A stopped thread.
#[derive(Debug, Clone, Default)]
pub struct StoppedThread {
    /// Kernel thread id.
    pub tid: u32,
    /// `comm`.
    pub name: String,
    /// General registers as `NT_PRSTATUS` has them; empty when the thread sat in the kernel.
    pub general: Vec<u8>,
    /// Floating point registers as `NT_FPREGSET` has them.
    pub floating: Vec<u8>,
    /// Extended state as `NT_X86_XSTATE` has it; empty elsewhere.
    pub extended: Vec<u8>,
    /// A signal that was on its way when the thread stopped; delivered on detach.
    signal: libc::c_int,
    /// False for a thread that sits in the kernel and stops before it returns to its own code.
    stopped: bool,
}

impl StoppedThread {
    /// It stands still for no other reason than that we asked: no signal waits to be delivered.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.stopped && self.signal == 0
    }
}

/// A process whose threads stand still until this is dropped.
#[derive(Debug)]
pub struct Stopped {
    pid: u32,
    threads: BTreeMap<u32, StoppedThread>,
    since: Instant,
    /// ptrace belongs to the thread that attached.
    _not_send: PhantomData<*const ()>,
}

impl Stopped {
    /// Stops every thread of `pid`, those included that are born meanwhile, and reads their registers.
    ///
    /// # Errors
    /// See [`StopError`]; nothing stays stopped.
    pub fn stop(pid: u32, timeout: Duration) -> Result<Self, StopError> {
        let mut this = Self::halt(pid, timeout)?;
        this.read_registers();
        this.read_names();
        Ok(this)
    }

    /// Stops every thread and reads nothing yet.
    ///
    /// # Errors
    /// See [`StopError`]; nothing stays stopped.
    pub fn halt(pid: u32, timeout: Duration) -> Result<Self, StopError> {
        let mut this = Self {
            pid,
            threads: BTreeMap::new(),
            since: Instant::now(),
            _not_send: PhantomData,
        };
        let mut deadline = None;
        loop {
            // Attaching stops nobody, so all are attached before the first is interrupted.
            let mut news = Vec::new();
            for tid in thread_ids(pid).map_err(|_| StopError::Gone { pid })? {
                if !this.threads.contains_key(&tid) && this.seize(tid)? {
                    news.push(tid);
                }
            }
            if this.threads.is_empty() {
                return Err(StopError::Gone { pid });
            }
            if deadline.is_none() {
                this.since = Instant::now();
                deadline = Some(this.since + timeout);
            }
            for tid in &news {
                // A thread that is seized but exiting answers ESRCH: the wait below takes it off the list.
                match ptrace::request(libc::PTRACE_INTERRUPT, *tid, 0, 0) {
                    Err(source) if source.raw_os_error() != Some(libc::ESRCH) => {
                        return Err(StopError::Io { pid, source });
                    }
                    _ => {}
                }
            }
            // A thread that ran while others were being stopped may have started new ones: only a pass
            // that finds none ends the search.
            if news.is_empty() {
                break;
            }
            this.wait(deadline.unwrap_or(this.since))?;
        }
        if this.threads.is_empty() {
            return Err(StopError::Gone { pid });
        }
        Ok(this)
    }

    /// Reads the registers of all threads that stand still.
    pub fn read_registers(&mut self) {
        for thread in self.threads.values_mut() {
            if thread.stopped && thread.general.is_empty() {
                read_registers(thread);
            }
        }
    }

    /// Reads the registers of one thread.
    pub fn read_registers_of(&mut self, tid: u32) {
        if let Some(thread) = self.threads.get_mut(&tid).filter(|t| t.stopped) {
            read_registers(thread);
        }
    }

    /// Reads the names of all threads; they may run again.
    pub fn read_names(&mut self) {
        for thread in self.threads.values_mut() {
            let path = format!("/proc/{}/task/{}/comm", self.pid, thread.tid);
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim_end()
                .clone_into(&mut thread.name);
        }
    }

    /// Attaches to one thread without stopping it; false when it ended meanwhile.
    fn seize(&mut self, tid: u32) -> Result<bool, StopError> {
        let pid = self.pid;
        if self.threads.len() >= MAX_THREADS {
            let source = io::Error::other(format!("more than {MAX_THREADS} threads"));
            return Err(StopError::Io { pid, source });
        }
        if !seize(pid, tid)? {
            return Ok(false);
        }
        self.threads.insert(
            tid,
            StoppedThread {
                tid,
                ..StoppedThread::default()
            },
        );
        Ok(true)
    }

    /// Waits until every seized thread has stopped or ended.
    fn wait(&mut self, deadline: Instant) -> Result<(), StopError> {
        let mut waiting: Vec<u32> = self
            .threads
            .values()
            .filter(|t| !t.stopped)
            .map(|t| t.tid)
            .collect();
        let begun = Instant::now();
        let mut pause = Duration::from_micros(20);
        loop {
            waiting.retain(|tid| match ptrace::poll(*tid) {
                Ok(None) => true,
                Ok(Some(Report::Stopped { signal, event })) => {
                    if let Some(thread) = self.threads.get_mut(tid) {
                        thread.stopped = true;
                        // Any stop without an event is a signal on its way to the thread, which would be
                        // lost unless it is handed on at the end.
                        if event == 0 {
                            thread.signal = signal;
                        }
                    }
                    false
                }
                Ok(Some(Report::Ended)) | Err(_) => {
                    self.threads.remove(tid);
                    false
                }
            });
            if waiting.is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            if now >= begun + SLEEPER_GRACE || now >= deadline {
                // A thread in uninterruptible sleep (a disk, a parent in vfork) runs none of its own code,
                // and stops before it does: memory is consistent without its stop; only its registers are
                // missing.
                let awake = waiting
                    .iter()
                    .find(|tid| state_of(self.pid, **tid) != Some('D'));
                match awake {
                    None => return Ok(()),
                    Some(example) if now >= deadline => {
                        return Err(StopError::Timeout {
                            pid: self.pid,
                            waiting: waiting.len(),
                            threads: self.threads.len(),
                            example: *example,
                            after_ms: u64::try_from(self.since.elapsed().as_millis())
                                .unwrap_or(u64::MAX),
                        });
                    }
                    Some(_) => {}
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_micros(500));
        }
    }

    /// The stopped threads, the main thread first.
    #[must_use]
    pub fn threads(&self) -> Vec<&StoppedThread> {
        let mut all: Vec<_> = self.threads.values().collect();
        all.sort_by_key(|t| (t.tid != self.pid, t.tid));
        all
    }

    /// The process.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Time since the first thread was asked to stop.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Lets every thread go on. Says how long they stood still, and which must be looked after.
    #[must_use]
    pub fn resume(mut self) -> (Duration, Late) {
        let late = self.detach();
        (self.since.elapsed(), late)
    }

    /// Lets every thread go on that stands still. Gives the threads with what was read of them, how long they
    /// stood still, and those that never reported their stop, which must be looked after until they do.
    #[must_use]
    pub fn release(mut self) -> (Vec<StoppedThread>, Duration, Late) {
        let late = self.detach();
        let pause = self.since.elapsed();
        self.read_names();
        let mut threads: Vec<_> = std::mem::take(&mut self.threads).into_values().collect();
        threads.sort_by_key(|t| (t.tid != self.pid, t.tid));
        (threads, pause, late)
    }

    fn detach(&mut self) -> Late {
        let mut late = Vec::new();
        for thread in self.threads.values_mut() {
            if thread.stopped {
                // Threads that died meanwhile answer ESRCH: nothing to do.
                let _ = ptrace::request(libc::PTRACE_DETACH, thread.tid, 0, thread.signal as usize);
                thread.stopped = false;
            } else {
                late.push(thread.tid);
            }
        }
        Late(late)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // What is late is detached by the kernel when this dedicated thread ends.
        let _ = self.detach();
    }
}

/// Threads that were seized in uninterruptible sleep. They stop before they return to their own code, and must
/// be let go then.
#[derive(Debug, Default)]
pub struct Late(Vec<u32>);

impl Late {
    /// Lets go those that have stopped meanwhile. Call it every few milliseconds until it is empty.
    pub fn let_go(&mut self) {
        self.0.retain(|tid| match ptrace::poll(*tid) {
            Ok(None) => true,
            Ok(Some(Report::Stopped { signal, event })) => {
                let signal = if event == 0 { signal } else { 0 };
                let _ = ptrace::request(libc::PTRACE_DETACH, *tid, 0, signal as usize);
                false
            }
            Ok(Some(Report::Ended)) | Err(_) => false,
        });
    }

    /// Nobody is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Attaches to one thread without stopping it; false when it ended meanwhile.
pub(crate) fn seize(pid: u32, tid: u32) -> Result<bool, StopError> {
    match ptrace::request(libc::PTRACE_SEIZE, tid, 0, 0) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(source) => {
            let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status"));
            let status = status.unwrap_or_default();
            let field = |key: &str| {
                let line = status.lines().find_map(|l| l.strip_prefix(key))?;
                Some(line.trim().to_owned())
            };
            let state = field("State:").unwrap_or_default();
            // Zombies cannot be attached to; nothing of theirs is left to stop.
            if state.is_empty() || state.starts_with(['Z', 'X']) {
                return Ok(false);
            }
            let tracer = field("TracerPid:")
                .and_then(|t| t.parse().ok())
                .unwrap_or(0);
            Err(if tracer != 0 {
                StopError::Traced { pid, tracer }
            } else {
                StopError::Denied { pid, source }
            })
        }
    }
}

/// Reads the registers of a thread that stands still.
pub(crate) fn read_registers(thread: &mut StoppedThread) {
    thread.general = ptrace::regset(thread.tid, ptrace::NT_PRSTATUS, 1024).unwrap_or_default();
    #[cfg(target_arch = "x86_64")]
    {
        thread.extended =
            ptrace::regset(thread.tid, ptrace::NT_X86_XSTATE, MAX_XSTATE).unwrap_or_default();
        // The extended state begins with the floating point registers; the bytes that software may use
        // there hold the kernel's list of features.
        if let Some(legacy) = thread.extended.get(..FXSAVE_BYTES) {
            thread.floating = legacy.to_vec();
            thread.floating[FXSAVE_SOFTWARE].fill(0);
        }
    }
    if thread.floating.is_empty() {
        thread.floating = ptrace::regset(thread.tid, ptrace::NT_PRFPREG, 1024).unwrap_or_default();
    }
}

#[cfg(target_arch = "x86_64")]
use super::ptrace::MAX_XSTATE;
/// Bytes of the legacy area of XSAVE, which is `user_fpregs_struct` (Intel SDM volume 1, 13.4.1).
#[cfg(target_arch = "x86_64")]
const FXSAVE_BYTES: usize = 512;
/// Bytes of it that software may use.
#[cfg(target_arch = "x86_64")]
const FXSAVE_SOFTWARE: std::ops::Range<usize> = 464..512;

pub(crate) fn thread_ids(pid: u32) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Some(id) = entry?.file_name().to_str().and_then(|n| n.parse().ok()) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The state letter of a thread.
pub(crate) fn state_of(pid: u32, tid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

//! All threads of a process, stopped by ptrace, and let go again on every path.
//!
//! ptrace belongs to a thread, not to a process: a [`Stopped`] is bound to the thread that made it. That
//! thread is always a dedicated one, which gives a second safety net: when it ends, however it ends, the
//! kernel detaches every tracee. The third one is the same rule for the whole process: `PTRACE_O_EXITKILL`
//! is not set, so a collector that is killed leaves the target running.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Threads stopped at most; 32 times the default `pid_max` of small machines.
const MAX_THREADS: usize = 1_000_000;
/// Largest extended register state accepted from the kernel (AMX tiles need 11 kB).
const MAX_XSTATE: usize = 64 * 1024;
const NT_PRSTATUS: libc::c_int = 1;
const NT_PRFPREG: libc::c_int = 2;
#[cfg(target_arch = "x86_64")]
const NT_X86_XSTATE: libc::c_int = 0x202;

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

/// A process whose threads stand still until this is dropped.
#[derive(Debug)]
pub struct Stopped {
    pid: u32,
    threads: BTreeMap<u32, StoppedThread>,
    since: Instant,
    /// ptrace belongs to the thread that attached.
    _not_send: PhantomData<*const ()>,
}

fn ptrace(request: libc::c_uint, tid: u32, addr: usize, data: usize) -> io::Result<()> {
    // SAFETY: the requests used here take integers or a pointer to an iovec that outlives the call.
    let r = unsafe { libc::ptrace(request, tid as libc::pid_t, addr, data) };
    if r == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

impl Stopped {
    /// Stops every thread of `pid`, those included that are born meanwhile.
    ///
    /// # Errors
    /// See [`StopError`]; nothing stays stopped.
    pub fn stop(pid: u32, timeout: Duration) -> Result<Self, StopError> {
        let mut this = Self {
            pid,
            threads: BTreeMap::new(),
            since: Instant::now(),
            _not_send: PhantomData,
        };
        let deadline = this.since + timeout;
        loop {
            let mut news = 0;
            for tid in thread_ids(pid).map_err(|_| StopError::Gone { pid })? {
                if !this.threads.contains_key(&tid) && this.seize(tid)? {
                    news += 1;
                }
            }
            if this.threads.is_empty() {
                return Err(StopError::Gone { pid });
            }
            this.wait(deadline)?;
            // A thread that ran while others were being stopped may have started new ones: only a pass
            // that finds none ends the search.
            if news == 0 {
                break;
            }
        }
        if this.threads.is_empty() {
            return Err(StopError::Gone { pid });
        }
        for thread in this.threads.values_mut().filter(|t| t.stopped) {
            thread.general = regset(thread.tid, NT_PRSTATUS, 1024).unwrap_or_default();
            thread.floating = regset(thread.tid, NT_PRFPREG, 1024).unwrap_or_default();
            #[cfg(target_arch = "x86_64")]
            {
                thread.extended = regset(thread.tid, NT_X86_XSTATE, MAX_XSTATE).unwrap_or_default();
            }
        }
        for thread in this.threads.values_mut() {
            let path = format!("/proc/{pid}/task/{}/comm", thread.tid);
            thread.name = fs::read_to_string(path)
                .unwrap_or_default()
                .trim_end()
                .to_owned();
        }
        Ok(this)
    }

    /// Attaches to one thread; false when it ended meanwhile.
    fn seize(&mut self, tid: u32) -> Result<bool, StopError> {
        let pid = self.pid;
        if self.threads.len() >= MAX_THREADS {
            let source = io::Error::other(format!("more than {MAX_THREADS} threads"));
            return Err(StopError::Io { pid, source });
        }
        match ptrace(libc::PTRACE_SEIZE, tid, 0, 0) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(false),
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
                return Err(if tracer != 0 {
                    StopError::Traced { pid, tracer }
                } else {
                    StopError::Denied { pid, source }
                });
            }
        }
        self.threads.insert(
            tid,
            StoppedThread {
                tid,
                ..StoppedThread::default()
            },
        );
        match ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0) {
            Ok(()) => Ok(true),
            // Seized but exiting: the wait below takes it off the list.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(true),
            Err(source) => Err(StopError::Io { pid, source }),
        }
    }

    /// Waits until every seized thread has stopped or ended.
    fn wait(&mut self, deadline: Instant) -> Result<(), StopError> {
        let mut pause = Duration::from_micros(20);
        loop {
            let waiting: Vec<u32> = self
                .threads
                .values()
                .filter(|t| !t.stopped)
                .map(|t| t.tid)
                .collect();
            let mut left = Vec::new();
            for tid in waiting {
                let mut status = 0;
                // SAFETY: `status` outlives the call.
                let r = unsafe {
                    libc::waitpid(
                        tid as libc::pid_t,
                        &mut status,
                        libc::__WALL | libc::WNOHANG,
                    )
                };
                if r == 0 {
                    left.push(tid);
                } else if r < 0 || !libc::WIFSTOPPED(status) {
                    self.threads.remove(&tid);
                } else if let Some(thread) = self.threads.get_mut(&tid) {
                    thread.stopped = true;
                    // An event stop has the event above the signal; any other stop is a signal on its way
                    // to the thread, which would be lost unless it is handed on at the end.
                    if status >> 16 == 0 {
                        thread.signal = libc::WSTOPSIG(status);
                    }
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                // A thread in uninterruptible sleep runs none of its own code, and stops before it does:
                // memory is consistent without its stop; only its registers are missing.
                let awake = left
                    .iter()
                    .find(|tid| state_of(self.pid, **tid) != Some('D'));
                let Some(example) = awake else { return Ok(()) };
                return Err(StopError::Timeout {
                    pid: self.pid,
                    waiting: left.len(),
                    threads: self.threads.len(),
                    example: *example,
                    after_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(2));
        }
    }

    /// The stopped threads, the main thread first.
    #[must_use]
    pub fn threads(&self) -> Vec<&StoppedThread> {
        let mut all: Vec<_> = self.threads.values().collect();
        all.sort_by_key(|t| (t.tid != self.pid, t.tid));
        all
    }

    /// Time since the first thread was asked to stop.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Lets every thread go on and says how long they stood still.
    pub fn resume(mut self) -> Duration {
        self.detach();
        self.since.elapsed()
    }

    fn detach(&mut self) {
        for thread in self.threads.values() {
            // A thread that never reported its stop cannot be detached by request; the kernel does that
            // when this dedicated thread ends. Threads that died meanwhile answer ESRCH: nothing to do.
            let _ = ptrace(libc::PTRACE_DETACH, thread.tid, 0, thread.signal as usize);
        }
        self.threads.clear();
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.detach();
    }
}

fn thread_ids(pid: u32) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Some(id) = entry?.file_name().to_str().and_then(|n| n.parse().ok()) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The state letter of a thread.
fn state_of(pid: u32, tid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn regset(tid: u32, set: libc::c_int, room: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0_u8; room];
    let mut iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    ptrace(
        libc::PTRACE_GETREGSET,
        tid,
        set as usize,
        std::ptr::from_mut(&mut iov) as usize,
    )?;
    buf.truncate(iov.iov_len);
    Ok(buf)
}

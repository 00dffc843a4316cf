//! Counters of one Windows process.
//!
//! The handle that stays open keeps the id from being used again, so the counters are always of the process that was
//! meant.

use super::Facts;
use super::limit::Limit;
use crate::discover::identity;
use crate::identity::Identity;
use crate::windows::{import, times};
use leakhound_dump::live::Process;
use std::io;
use std::mem;
use std::time::Instant;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::JobObjects::IsProcessInJob;
use windows_sys::Win32::System::ProcessStatus::{
    GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS, PROCESS_MEMORY_COUNTERS_EX,
};
use windows_sys::Win32::System::Threading::{
    APP_MEMORY_INFORMATION, GetProcessHandleCount, PROCESS_INFORMATION_CLASS, ProcessAppMemoryInfo,
};
use windows_sys::core::BOOL;

/// `GetProcessInformation` (processthreadsapi.h), which Windows has from 8 on.
type GetProcessInformation = unsafe extern "system" fn(
    HANDLE,
    PROCESS_INFORMATION_CLASS,
    *mut std::ffi::c_void,
    u32,
) -> BOOL;

/// A watched process and what the next sample is compared with.
#[derive(Debug)]
pub struct ProcessSampler {
    process: Process,
    pid: u32,
    started_ms: i64,
    last_cpu: Option<(Instant, u64)>,
    cores: f64,
    job_memory: Option<GetProcessInformation>,
}

impl ProcessSampler {
    pub(super) fn open(identity: &Identity) -> io::Result<Self> {
        let process = identity::open(identity.pid)?;
        // Between discovery and this moment the id may have got a new owner.
        if times::of(process.raw())?.created != identity.start_ticks {
            return Err(identity::gone());
        }
        let job_memory = import::find("kernel32.dll", c"GetProcessInformation")
            // SAFETY: the documented type of the function.
            .map(|code| unsafe { mem::transmute::<import::Code, GetProcessInformation>(code) })
            .filter(|_| is_in_job(&process));
        Ok(Self {
            process,
            pid: identity.pid,
            started_ms: identity.started_ms,
            last_cpu: None,
            cores: std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64),
            job_memory,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Everything is read at every sample anyway.
    pub fn read_each_time(&mut self, _: &[&str]) {}

    pub(super) fn sample(&mut self, now: Instant, facts: &mut Facts) -> bool {
        if self.process.has_ended() {
            return false;
        }
        let Some(memory) = memory(&self.process) else {
            return false;
        };
        // No process has none: where the system does not count (wine), it is unknown.
        let private = Some(memory.PrivateUsage as f64).filter(|bytes| *bytes > 0.0);
        facts.set_some("private_bytes", private);
        facts.set_some("commit", private);
        facts.set("rss", memory.WorkingSetSize as f64);
        facts.set_some("fds", handles(&self.process));
        if let Ok(times) = times::of(self.process.raw()) {
            if let Some((then, before)) = self.last_cpu {
                let seconds = now.saturating_duration_since(then).as_secs_f64();
                let used = times.used.saturating_sub(before) as f64 / times::TICKS_PER_S as f64;
                if seconds > 0.0 {
                    facts.set("cpu", used / seconds);
                    facts.set("cpu.machine", used / seconds / self.cores);
                }
            }
            self.last_cpu = Some((now, times.used));
        }
        let uptime = jiff::Timestamp::now().as_millisecond() - self.started_ms;
        facts.set("uptime", uptime.max(0) as f64);
        self.job(facts);
        true
    }

    /// The memory limit of the job object that the process runs in (Service Fabric's governance, containers). The limits of
    /// a job are told only to who holds a handle to it; what it leaves to one process, to everybody who may query that:
    /// `APP_MEMORY_INFORMATION` (learn.microsoft.com, processthreadsapi.h).
    fn job(&self, facts: &mut Facts) {
        let Some(ask) = self.job_memory else {
            return;
        };
        let mut info = APP_MEMORY_INFORMATION::default();
        // SAFETY: `info` is writable for its size.
        let ok = unsafe {
            ask(
                self.process.raw(),
                ProcessAppMemoryInfo,
                (&raw mut info).cast(),
                mem::size_of_val(&info) as u32,
            )
        };
        let limit = info.AvailableCommit.saturating_add(info.TotalCommitUsage);
        // A job without a limit leaves everything.
        if ok == 0 || info.TotalCommitUsage == 0 || limit >= 1 << 46 {
            return;
        }
        let limit = Limit {
            bytes: limit,
            used_bytes: info.TotalCommitUsage,
        };
        limit.tighten(facts);
    }
}

fn is_in_job(process: &Process) -> bool {
    let mut is_in = 0;
    // SAFETY: `is_in` outlives the call; a null job means any.
    let ok = unsafe { IsProcessInJob(process.raw(), std::ptr::null_mut(), &raw mut is_in) };
    ok != 0 && is_in != 0
}

fn memory(process: &Process) -> Option<PROCESS_MEMORY_COUNTERS_EX> {
    let mut counters = PROCESS_MEMORY_COUNTERS_EX::default();
    let bytes = mem::size_of_val(&counters) as u32;
    counters.cb = bytes;
    // SAFETY: the longer structure begins with the shorter one, and `bytes` says which it is.
    let ok = unsafe {
        let counters = (&raw mut counters).cast::<PROCESS_MEMORY_COUNTERS>();
        GetProcessMemoryInfo(process.raw(), counters, bytes)
    };
    (ok != 0).then_some(counters)
}

fn handles(process: &Process) -> Option<f64> {
    let mut count = 0;
    // SAFETY: `count` outlives the call.
    let ok = unsafe { GetProcessHandleCount(process.raw(), &raw mut count) };
    (ok != 0 && count > 0).then_some(f64::from(count))
}

//! The job object that a parser child runs in on Windows: its memory limit, its priority, and its end with the parent.

use std::io;
use std::mem;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
    JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOB_OBJECT_LIMIT_PRIORITY_CLASS, JOB_OBJECT_LIMIT_PROCESS_MEMORY,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation,
    SetInformationJobObject,
};
use windows_sys::Win32::System::Threading::{BELOW_NORMAL_PRIORITY_CLASS, CREATE_NO_WINDOW};

/// A service has no console, and a child that is a console program would open one.
pub(super) fn without_window(command: &mut Command) {
    command.creation_flags(CREATE_NO_WINDOW);
}

/// Held while the child works. The system ends the child when the last handle closes, so also when the parent dies.
pub(super) struct Job {
    _handle: OwnedHandle,
}

impl Job {
    /// Puts the child into a job of its own. Where that fails the child runs without, and reports what it lacks.
    pub fn confine(child: &Child, memory_limit_bytes: u64) -> Option<Self> {
        let made = Self::make(child, memory_limit_bytes);
        if let Err(error) = &made {
            tracing::warn!(%error, "The parser child could not be put into a job object");
        }
        made.ok()
    }

    fn make(child: &Child, memory_limit_bytes: u64) -> io::Result<Self> {
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY
            | JOB_OBJECT_LIMIT_ACTIVE_PROCESS
            | JOB_OBJECT_LIMIT_PRIORITY_CLASS
            | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
            | JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        limits.BasicLimitInformation.ActiveProcessLimit = 1;
        limits.BasicLimitInformation.PriorityClass = BELOW_NORMAL_PRIORITY_CLASS;
        limits.ProcessMemoryLimit = usize::try_from(memory_limit_bytes).unwrap_or(usize::MAX);
        // SAFETY: plain calls; the handle that the first returns is ours alone, and `limits` outlives the call.
        unsafe {
            let job = CreateJobObjectW(std::ptr::null(), std::ptr::null());
            if job.is_null() {
                return Err(io::Error::last_os_error());
            }
            let handle = OwnedHandle::from_raw_handle(job);
            let set = SetInformationJobObject(
                handle.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                mem::size_of_val(&limits) as u32,
            );
            if set == 0
                || AssignProcessToJobObject(handle.as_raw_handle(), child.as_raw_handle()) == 0
            {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { _handle: handle })
        }
    }
}

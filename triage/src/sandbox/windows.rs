//! Windows: the parent has put this process into a job object (memory, priority, no further processes); here the process
//! gives up what it may give up itself.

use super::{Applied, Policy};
use std::io;
use std::mem;
use windows_sys::Win32::System::JobObjects::{
    JOB_OBJECT_LIMIT_PROCESS_MEMORY, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, QueryInformationJobObject,
};
use windows_sys::Win32::System::Threading::{
    BELOW_NORMAL_PRIORITY_CLASS, GetCurrentProcess, GetPriorityClass, PROCESS_MITIGATION_POLICY,
    ProcessChildProcessPolicy, ProcessDynamicCodePolicy, ProcessExtensionPointDisablePolicy,
    ProcessImageLoadPolicy, SetProcessMitigationPolicy,
};

/// What a process can forbid itself for good, with the bits of the policy's flags (winnt.h, `PROCESS_MITIGATION_…_POLICY`).
const POLICIES: [(&str, PROCESS_MITIGATION_POLICY, u32); 4] = [
    ("no new code", ProcessDynamicCodePolicy, 1),
    ("no child processes", ProcessChildProcessPolicy, 1),
    ("no extension points", ProcessExtensionPointDisablePolicy, 1),
    // Neither from other machines nor from places that untrusted programs may write to.
    ("no foreign images", ProcessImageLoadPolicy, 1 | 2),
];

pub fn enter(policy: &Policy, applied: &mut Applied) {
    applied.note("low priority", low_priority());
    applied.note("memory limit", memory_limit(policy.memory_limit_bytes));
    for (layer, policy, flags) in POLICIES {
        applied.note(layer, forbid(policy, flags));
    }
}

fn low_priority() -> Result<(), String> {
    // SAFETY: asks about the calling process.
    match unsafe { GetPriorityClass(GetCurrentProcess()) } {
        BELOW_NORMAL_PRIORITY_CLASS => Ok(()),
        class => Err(format!("the priority class is {class:#x}")),
    }
}

/// What the parent's job allows: it was set before the request was sent.
fn memory_limit(wanted_bytes: u64) -> Result<(), String> {
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    // SAFETY: `limits` is writable for its size; a null handle means the job of the calling process.
    let ok = unsafe {
        QueryInformationJobObject(
            std::ptr::null_mut(),
            JobObjectExtendedLimitInformation,
            (&raw mut limits).cast(),
            mem::size_of_val(&limits) as u32,
            std::ptr::null_mut(),
        )
    };
    if ok == 0 {
        return Err(io::Error::last_os_error().to_string());
    }
    let is_limited = limits.BasicLimitInformation.LimitFlags & JOB_OBJECT_LIMIT_PROCESS_MEMORY != 0;
    if is_limited && limits.ProcessMemoryLimit as u64 <= wanted_bytes {
        Ok(())
    } else {
        Err("the job object has none".to_owned())
    }
}

fn forbid(policy: PROCESS_MITIGATION_POLICY, flags: u32) -> Result<(), String> {
    // SAFETY: every policy here is one DWORD of flags, which outlives the call.
    let ok = unsafe {
        SetProcessMitigationPolicy(policy, (&raw const flags).cast(), mem::size_of::<u32>())
    };
    if ok == 0 {
        return Err(io::Error::last_os_error().to_string());
    }
    Ok(())
}

//! How often the threads of a process are stopped. Windows counts: a thread runs again when each stop was answered by a resume.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::Threading::{
    OpenThread, ResumeThread, SuspendThread, THREAD_SUSPEND_RESUME,
};

/// What `SuspendThread` and `ResumeThread` return when they fail.
const FAILED: u32 = u32::MAX;

/// How often each thread of a process is stopped, by thread id.
pub(crate) type Stops = BTreeMap<u32, u32>;

/// How often each thread of a process is stopped now. Threads that end meanwhile are left out.
///
/// # Errors
/// The system does not list threads.
pub(crate) fn stops_of(pid: u32) -> io::Result<Stops> {
    let ids = ids_of(pid)?.into_iter();
    Ok(ids
        .filter_map(|id| Some((id, stops(&open(id).ok()?)?)))
        .collect())
}

/// Resumes each thread once that is stopped more often than it was `before`.
///
/// # Errors
/// The system does not list threads.
pub(crate) fn resume_since(pid: u32, before: &Stops) -> io::Result<()> {
    for id in ids_of(pid)? {
        let Ok(thread) = open(id) else { continue };
        // Born since then: made to run.
        let earlier = before.get(&id).copied().unwrap_or(0);
        if stops(&thread).is_some_and(|now| now > earlier) {
            // SAFETY: the handle is open. A thread that ended meanwhile needs nothing.
            unsafe { ResumeThread(thread.as_raw_handle()) };
        }
    }
    Ok(())
}

/// How often one thread is stopped: told only by stopping it once more, which is taken back at once.
fn stops(thread: &OwnedHandle) -> Option<u32> {
    // SAFETY: the handle is open.
    unsafe {
        let before = SuspendThread(thread.as_raw_handle());
        if before == FAILED {
            return None;
        }
        ResumeThread(thread.as_raw_handle());
        Some(before)
    }
}

fn open(id: u32) -> io::Result<OwnedHandle> {
    // SAFETY: a plain call; the handle that it returns is ours alone.
    unsafe {
        let handle = OpenThread(THREAD_SUSPEND_RESUME, 0, id);
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedHandle::from_raw_handle(handle))
    }
}

fn ids_of(pid: u32) -> io::Result<Vec<u32>> {
    // SAFETY: a plain call; the handle that it returns is ours alone.
    let list = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    if list == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open and nobody else closes it.
    let list = unsafe { OwnedHandle::from_raw_handle(list) };
    let mut entry = THREADENTRY32 {
        dwSize: mem::size_of::<THREADENTRY32>() as u32,
        ..THREADENTRY32::default()
    };
    let mut ids = Vec::new();
    // SAFETY: the list is open, `entry` is writable and says its size.
    let mut more = unsafe { Thread32First(list.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        if entry.th32OwnerProcessID == pid {
            ids.push(entry.th32ThreadID);
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(list.as_raw_handle(), &raw mut entry) };
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::windows::process::CommandExt;
    use std::process::Command;
    use windows_sys::Win32::System::Threading::CREATE_SUSPENDED;

    #[test]
    fn what_another_stopped_stays_stopped() {
        let mut child = Command::new("cmd.exe")
            .args(["/c", "exit 0"])
            .creation_flags(CREATE_SUSPENDED)
            .spawn()
            .unwrap();
        let pid = child.id();
        let before = stops_of(pid).unwrap();
        assert_eq!(before.values().copied().max(), Some(1), "{before:?}");
        // Nothing was stopped since, so nothing is let go.
        resume_since(pid, &before).unwrap();
        assert_eq!(stops_of(pid).unwrap(), before);
        // Stopped by us on top of that: only that is taken back.
        for id in before.keys() {
            let thread = open(*id).unwrap();
            // SAFETY: the handle is open.
            unsafe { SuspendThread(thread.as_raw_handle()) };
        }
        resume_since(pid, &before).unwrap();
        assert_eq!(stops_of(pid).unwrap(), before);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

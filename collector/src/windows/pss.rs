//! A clone of a process that the system makes: its memory, copy-on-write, with the registers of its threads and its handles.
//!
//! learn.microsoft.com: "Export a process snapshot to a file" and processsnapshot.h. The target stands still while the clone is
//! made and runs on while it is read. The functions are looked up, for wine has none.

use super::import;
use leakhound_dump::live::Process;
use std::ffi::c_void;
use std::io;
use std::mem;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE};
use windows_sys::Win32::System::Diagnostics::Debug::CONTEXT_ALL_AMD64;
use windows_sys::Win32::System::Diagnostics::ProcessSnapshotting::{
    HPSS, PSS_CAPTURE_FLAGS, PSS_CAPTURE_HANDLE_BASIC_INFORMATION,
    PSS_CAPTURE_HANDLE_NAME_INFORMATION, PSS_CAPTURE_HANDLE_TYPE_SPECIFIC_INFORMATION,
    PSS_CAPTURE_HANDLES, PSS_CAPTURE_THREAD_CONTEXT, PSS_CAPTURE_THREAD_CONTEXT_EXTENDED,
    PSS_CAPTURE_THREADS, PSS_CAPTURE_VA_CLONE, PSS_CREATE_BREAKAWAY, PSS_CREATE_BREAKAWAY_OPTIONAL,
    PSS_CREATE_RELEASE_SECTION, PSS_CREATE_USE_VM_ALLOCATIONS, PSS_QUERY_INFORMATION_CLASS,
    PSS_QUERY_VA_CLONE_INFORMATION, PSS_VA_CLONE_INFORMATION,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

type Capture = unsafe extern "system" fn(HANDLE, PSS_CAPTURE_FLAGS, u32, *mut HPSS) -> u32;
type Query = unsafe extern "system" fn(HPSS, PSS_QUERY_INFORMATION_CLASS, *mut c_void, u32) -> u32;
type Free = unsafe extern "system" fn(HANDLE, HPSS) -> u32;

/// Memory, threads and handles. The clone leaves the job of its parent, so that it does not count against the memory limit there;
/// where the job does not allow that, it stays.
const FLAGS: PSS_CAPTURE_FLAGS = PSS_CAPTURE_VA_CLONE
    | PSS_CAPTURE_HANDLES
    | PSS_CAPTURE_HANDLE_NAME_INFORMATION
    | PSS_CAPTURE_HANDLE_BASIC_INFORMATION
    | PSS_CAPTURE_HANDLE_TYPE_SPECIFIC_INFORMATION
    | PSS_CAPTURE_THREADS
    | PSS_CAPTURE_THREAD_CONTEXT
    | PSS_CAPTURE_THREAD_CONTEXT_EXTENDED
    | PSS_CREATE_BREAKAWAY
    | PSS_CREATE_BREAKAWAY_OPTIONAL
    | PSS_CREATE_USE_VM_ALLOCATIONS
    | PSS_CREATE_RELEASE_SECTION;

/// The functions, where the system has them: Windows 8.1, Server 2012 R2, and later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshots {
    capture: Capture,
    query: Query,
    free: Free,
}

impl Snapshots {
    pub fn find() -> Option<Self> {
        let function = |name| import::find("kernel32.dll", name);
        // SAFETY: the documented types of the functions.
        unsafe {
            Some(Self {
                capture: mem::transmute::<import::Code, Capture>(function(c"PssCaptureSnapshot")?),
                query: mem::transmute::<import::Code, Query>(function(c"PssQuerySnapshot")?),
                free: mem::transmute::<import::Code, Free>(function(c"PssFreeSnapshot")?),
            })
        }
    }

    /// Clones the process.
    pub fn take(self, process: &Process) -> io::Result<Clone> {
        let mut snapshot: HPSS = std::ptr::null_mut();
        // SAFETY: the handle is open; `snapshot` outlives the call.
        let error =
            unsafe { (self.capture)(process.raw(), FLAGS, CONTEXT_ALL_AMD64, &raw mut snapshot) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error.cast_signed()));
        }
        Ok(Clone {
            functions: self,
            snapshot,
        })
    }
}

/// A clone; freed when dropped, and by the system when this program ends.
#[derive(Debug)]
pub(crate) struct Clone {
    functions: Snapshots,
    snapshot: HPSS,
}

impl Clone {
    /// What `MiniDumpWriteDump` takes for a process.
    pub fn handle(&self) -> HANDLE {
        self.snapshot
    }

    /// The process that holds the cloned memory.
    pub fn memory(&self, pid: u32) -> io::Result<Process> {
        let mut info = PSS_VA_CLONE_INFORMATION::default();
        // SAFETY: `info` is writable for its size, and the snapshot is alive.
        let error = unsafe {
            (self.functions.query)(
                self.snapshot,
                PSS_QUERY_VA_CLONE_INFORMATION,
                (&raw mut info).cast(),
                mem::size_of_val(&info) as u32,
            )
        };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error.cast_signed()));
        }
        let mut own = std::ptr::null_mut();
        // SAFETY: the handle in `info` belongs to the snapshot; the copy is ours alone.
        unsafe {
            let this = GetCurrentProcess();
            let copied = DuplicateHandle(
                this,
                info.VaCloneHandle,
                this,
                &raw mut own,
                0,
                0,
                DUPLICATE_SAME_ACCESS,
            );
            if copied == 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Process::from_handle(OwnedHandle::from_raw_handle(own), pid))
        }
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        // SAFETY: the snapshot is alive and not used after this.
        unsafe {
            (self.functions.free)(GetCurrentProcess(), self.snapshot);
        }
    }
}

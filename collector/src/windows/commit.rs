//! Commit: what the machine has promised to its processes, and may still promise.

use std::mem;
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

/// The state of the machine.
pub(crate) fn status() -> Option<MEMORYSTATUSEX> {
    let mut status = MEMORYSTATUSEX {
        dwLength: mem::size_of::<MEMORYSTATUSEX>() as u32,
        ..MEMORYSTATUSEX::default()
    };
    // SAFETY: `status` is writable and says its size.
    let ok = unsafe { GlobalMemoryStatusEx(&raw mut status) };
    (ok != 0).then_some(status)
}

/// Bytes that may still be promised, memory and page file together.
pub(crate) fn available() -> Option<u64> {
    Some(status()?.ullAvailPageFile)
}

//! A running Windows process as a process image, without stopping it.
//!
//! Memory is read when asked for, with `ReadProcessMemory`. What is read may change under the reader: callers check what
//! they read and try again. Opening asks for the address map, the modules and, when wanted, the threads; nothing that grows
//! with the heap. The handle belongs to the process it was opened for, so a reused id is never mistaken for the old process.

mod modules;
mod privilege;

use std::ffi::c_void;
use std::io;
use std::mem;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::sync::Arc;

use windows_sys::Wdk::System::Threading::{NtQueryInformationProcess, ProcessBasicInformation};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, HANDLE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::Memory::{MEM_FREE, MEMORY_BASIC_INFORMATION, VirtualQueryEx};
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_ACCESS_RIGHTS, PROCESS_BASIC_INFORMATION, PROCESS_QUERY_INFORMATION,
    PROCESS_SYNCHRONIZE, PROCESS_VM_READ, WaitForSingleObject,
};

use crate::error::DumpError;
use crate::image::{Arch, Os, ProcessImage, Thread};
use crate::kept::Kept;
use crate::limits::{Limits, admit};
use crate::live_options::LiveOptions;
use crate::memory::{Memory, Region};
use crate::minidump;
use crate::module_files::{FileSearch, ModuleFiles};
use crate::page_range::PageRange;
use leakhound_archive::ReadAt;

/// Most that one call is asked for.
const CHUNK_BYTES: usize = 1 << 20;
const PAGE_BYTES: u64 = 4096;

/// Opens the running process `pid`.
///
/// # Errors
/// [`DumpError::NoProcess`], [`DumpError::Denied`] with what to do about it, or [`DumpError::Process`].
pub fn live(pid: u32) -> Result<ProcessImage, DumpError> {
    live_with(pid, &LiveOptions::default())
}

/// Opens the running process `pid` as `options` say. The handle that it opens is kept, so `hold` asks for nothing more.
///
/// # Errors
/// As [`live`].
pub fn live_with(pid: u32, options: &LiveOptions) -> Result<ProcessImage, DumpError> {
    let limits = &options.limits;
    let process = Process::open(pid)?;
    let ranges = process.ranges(limits)?;
    let modules = modules::list(&process, limits)?;
    let peb = process.peb();
    let threads = if options.threads {
        threads(pid, limits)?
    } else {
        Vec::new()
    };
    let memory = LiveMemory {
        regions: ranges.iter().filter_map(PageRange::region).collect(),
        process,
    };
    let mut image = ProcessImage::new(Os::Windows, Arch::X64, Arc::new(memory));
    image.pid = Some(pid);
    image.address_map = ranges.iter().filter_map(PageRange::address_range).collect();
    image.modules = modules;
    image.threads = threads;
    image.peb = peb;
    image.module_files = Some(Arc::new(ModuleFiles::new(FileSearch::default(), limits)));
    Ok(image)
}

/// Opens a process that stands still, such as the clone in a snapshot: its memory is read from it, and all else is what `notes`
/// says, a minidump without memory. It is not asked for its address map, which wine has a process answer itself.
///
/// # Errors
/// As [`live`], and what is wrong with the notes.
pub fn frozen(copy: u32, notes: &dyn ReadAt) -> Result<ProcessImage, DumpError> {
    still(Process::open(copy)?, notes)
}

/// As [`frozen`], of a process that is open already.
///
/// # Errors
/// What is wrong with the notes.
pub fn still(process: Process, notes: &dyn ReadAt) -> Result<ProcessImage, DumpError> {
    let limits = Limits::default();
    let memory =
        |regions| -> Arc<dyn Memory> { Arc::new(Kept::new(LiveMemory { process, regions })) };
    let mut image = minidump::open_over(notes, memory, &limits)?;
    image.module_files = Some(Arc::new(ModuleFiles::new(FileSearch::default(), &limits)));
    Ok(image)
}

/// A process that may be read.
#[derive(Debug)]
pub struct Process {
    handle: OwnedHandle,
    pid: u32,
}

impl Process {
    /// Opens it for reading.
    ///
    /// # Errors
    /// [`DumpError::NoProcess`] or [`DumpError::Denied`] with what to do about it.
    pub fn open(pid: u32) -> Result<Self, DumpError> {
        Self::open_for(
            pid,
            PROCESS_QUERY_INFORMATION | PROCESS_VM_READ | PROCESS_SYNCHRONIZE,
        )
    }

    /// Opens it with these rights, which must hold those of [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_for(pid: u32, rights: PROCESS_ACCESS_RIGHTS) -> Result<Self, DumpError> {
        privilege::enable_debug();
        // SAFETY: a plain call; the handle that it returns is ours alone.
        let handle = unsafe { OpenProcess(rights, 0, pid) };
        if handle.is_null() {
            return Err(failed(pid, "its memory", io::Error::last_os_error()));
        }
        // SAFETY: the handle is open and nobody else closes it.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        let process = Self { handle, pid };
        // The object of a process that ended stays as long as somebody holds a handle to it.
        if process.has_ended() {
            return Err(DumpError::NoProcess { pid });
        }
        Ok(process)
    }

    /// A process by a handle that was got otherwise, such as the copy in a snapshot; `pid` is for messages.
    #[must_use]
    pub fn from_handle(handle: OwnedHandle, pid: u32) -> Self {
        Self { handle, pid }
    }

    /// The same process under a handle of its own.
    ///
    /// # Errors
    /// The system refuses.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            handle: self.handle.try_clone()?,
            pid: self.pid,
        })
    }

    /// The handle, for calls that this crate does not make.
    #[must_use]
    pub fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }

    /// True once it ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // SAFETY: the handle is open.
        unsafe { WaitForSingleObject(self.raw(), 0) == WAIT_OBJECT_0 }
    }

    /// Copies bytes from `address` on and returns how many were there before the first page that cannot be read.
    #[must_use]
    pub fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        let (mut done, mut step) = (0, CHUNK_BYTES);
        while done < buf.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let to_next_page = usize::try_from(PAGE_BYTES - at % PAGE_BYTES).unwrap_or(1);
            let mut end = buf.len().min(done + step);
            // One page that cannot be read fails the whole call: smaller pieces find what lies before it.
            while !self.read_all(at, &mut buf[done..end]) {
                if end - done <= to_next_page {
                    return done;
                }
                step = ((end - done) / 2).max(to_next_page);
                end = done + step;
            }
            step = step.max(PAGE_BYTES as usize);
            done = end;
        }
        done
    }

    fn read_all(&self, address: u64, buf: &mut [u8]) -> bool {
        let mut got = 0;
        // SAFETY: `buf` is writable for its length; the address is only a number, which the system checks.
        let ok = unsafe {
            ReadProcessMemory(
                self.raw(),
                address as *const c_void,
                buf.as_mut_ptr().cast(),
                buf.len(),
                &raw mut got,
            )
        };
        ok != 0 && got == buf.len()
    }

    /// The address space, in order; what is free is left out.
    ///
    /// # Errors
    /// The system refuses, or there are more ranges than the limit.
    pub fn ranges(&self, limits: &Limits) -> Result<Vec<PageRange>, DumpError> {
        let mut ranges = Vec::new();
        let mut at = 0_u64;
        loop {
            let mut info = MEMORY_BASIC_INFORMATION::default();
            let size = mem::size_of::<MEMORY_BASIC_INFORMATION>();
            // SAFETY: `info` is writable for `size` bytes.
            let got =
                unsafe { VirtualQueryEx(self.raw(), at as *const c_void, &raw mut info, size) };
            if got != size {
                break;
            }
            let start = info.BaseAddress as u64;
            let end = start.saturating_add(info.RegionSize as u64);
            if end <= at {
                break;
            }
            at = end;
            if info.State == MEM_FREE {
                continue;
            }
            admit(
                "memory ranges",
                ranges.len() as u64 + 1,
                limits.memory_ranges,
            )?;
            ranges.push(PageRange {
                start,
                end,
                allocation: info.AllocationBase as u64,
                allocation_protect: info.AllocationProtect,
                state: info.State,
                protect: info.Protect,
                kind: info.Type,
            });
        }
        if ranges.is_empty() {
            let error = io::Error::last_os_error();
            return Err(failed(self.pid, "its address map", error));
        }
        Ok(ranges)
    }

    /// Base addresses and paths of the modules, as the loader lists them.
    ///
    /// # Errors
    /// The system refuses (the process is just being made), or there are more than the limit.
    pub fn module_paths(&self, limits: &Limits) -> Result<Vec<(u64, PathBuf)>, DumpError> {
        modules::paths(self, limits)
    }

    /// Address of the process environment block.
    #[must_use]
    pub fn peb(&self) -> Option<u64> {
        let mut info = PROCESS_BASIC_INFORMATION::default();
        let size = u32::try_from(mem::size_of::<PROCESS_BASIC_INFORMATION>()).ok()?;
        // SAFETY: `info` is writable for `size` bytes.
        let status = unsafe {
            NtQueryInformationProcess(
                self.raw(),
                ProcessBasicInformation,
                (&raw mut info).cast(),
                size,
                std::ptr::null_mut(),
            )
        };
        (status >= 0 && !info.PebBaseAddress.is_null()).then_some(info.PebBaseAddress as u64)
    }
}

impl Memory for Process {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        Self::read(self, address, buf)
    }

    fn regions(&self) -> &[Region] {
        &[]
    }
}

/// The ids of the threads. Their registers are known only while they stand still, so there are none.
fn threads(pid: u32, limits: &Limits) -> Result<Vec<Thread>, DumpError> {
    // SAFETY: a plain call; the handle that it returns is ours alone.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Err(failed(pid, "its threads", io::Error::last_os_error()));
    }
    // SAFETY: the handle is open and nobody else closes it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry = THREADENTRY32 {
        dwSize: mem::size_of::<THREADENTRY32>() as u32,
        ..THREADENTRY32::default()
    };
    let mut threads = Vec::new();
    // SAFETY: the snapshot is open, `entry` is writable and says its size.
    let mut more = unsafe { Thread32First(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        if entry.th32OwnerProcessID == pid {
            admit("threads", threads.len() as u64 + 1, limits.threads)?;
            threads.push(Thread {
                os_id: entry.th32ThreadID,
                ..Thread::default()
            });
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(snapshot.as_raw_handle(), &raw mut entry) };
    }
    Ok(threads)
}

/// [`Memory`] of a running process. The list of regions is that of the moment of opening; reads go wherever asked.
struct LiveMemory {
    process: Process,
    regions: Vec<Region>,
}

impl Memory for LiveMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        self.process.read(address, buf)
    }

    fn regions(&self) -> &[Region] {
        &self.regions
    }

    fn problems(&self) -> Vec<String> {
        if self.process.has_ended() {
            return vec![format!(
                "Process {} ended while it was read.",
                self.process.pid
            )];
        }
        Vec::new()
    }
}

/// Turns an error of the system into the sentence that helps.
fn failed(pid: u32, what: &'static str, error: io::Error) -> DumpError {
    match error.raw_os_error().map(i32::cast_unsigned) {
        Some(ERROR_INVALID_PARAMETER) => DumpError::NoProcess { pid },
        Some(ERROR_ACCESS_DENIED) => DumpError::Denied {
            pid,
            what,
            advice: "Run as the user of the process, or elevated: reading processes of others needs SeDebugPrivilege; protected processes are never read".to_owned(),
        },
        _ => DumpError::Process { pid, what, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_exist_is_named() {
        let error = live(u32::MAX - 3).err().map(|e| e.to_string());
        assert_eq!(
            error.as_deref(),
            Some("process 4294967292 does not exist (any more)")
        );
    }

    #[test]
    fn a_read_ends_before_the_first_page_that_is_not_there() -> Result<(), DumpError> {
        let held: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        let process = Process::open(std::process::id())?;
        let mut found = vec![0; held.len()];
        assert_eq!(process.read(held.as_ptr() as u64, &mut found), held.len());
        assert_eq!(found, held);
        assert_eq!(process.read(8, &mut found), 0);
        Ok(())
    }
}

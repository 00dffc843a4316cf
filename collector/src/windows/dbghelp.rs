//! The system's own description of a process: `MiniDumpWriteDump` without the memory.
//!
//! What it writes is taken by its I/O callbacks and never reaches a disk (learn.microsoft.com, `MINIDUMP_CALLBACK_TYPE`,
//! `MINIDUMP_IO_CALLBACK`): `IoStart` is answered with S_FALSE ("use the callbacks"), `IoWriteAll` brings bytes for an offset,
//! `IoFinish` ends. `IsProcessSnapshot` is answered with S_FALSE when the handle is one of a snapshot. For each thread it asks what
//! to write (`MINIDUMP_THREAD_CALLBACK`, `THREAD_WRITE_FLAGS`): everything but its stack, which comes with the memory.

use super::wine;
use std::ffi::c_void;
use std::io;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, S_FALSE, S_OK};
use windows_sys::Win32::System::Diagnostics::Debug::{
    IoFinishCallback, IoStartCallback, IoWriteAllCallback, IsProcessSnapshotCallback,
    MINIDUMP_CALLBACK_INFORMATION, MINIDUMP_CALLBACK_INPUT, MINIDUMP_CALLBACK_OUTPUT,
    MINIDUMP_TYPE, MiniDumpIgnoreInaccessibleMemory, MiniDumpWithHandleData,
    MiniDumpWithThreadInfo, MiniDumpWithUnloadedModules, MiniDumpWriteDump, ThreadCallback,
    ThreadExCallback, ThreadWriteInstructionWindow, ThreadWriteStack,
};
use windows_sys::core::BOOL;

/// A process of two thousand threads and a hundred thousand handles is described in less.
pub(crate) const MAX_BYTES: u64 = 256 << 20;
/// Everything but the memory.
const TYPE: MINIDUMP_TYPE = MiniDumpWithHandleData
    | MiniDumpWithThreadInfo
    | MiniDumpWithUnloadedModules
    | MiniDumpIgnoreInaccessibleMemory;

/// Describes a process, or a snapshot of one, as a minidump without its memory.
pub(crate) fn describe(process: HANDLE, pid: u32, is_snapshot: bool) -> io::Result<Vec<u8>> {
    if wine::is_here() {
        return wine::describe(process, pid);
    }
    let mut description = Description {
        is_snapshot,
        ..Description::default()
    };
    write(process, pid, INVALID_HANDLE_VALUE, &mut description)?;
    if description.is_too_large {
        return Err(io::Error::other(format!(
            "the system's description of the process has more than {MAX_BYTES} bytes"
        )));
    }
    Ok(description.bytes)
}

/// What the callbacks take.
#[derive(Debug, Default)]
pub(crate) struct Description {
    is_snapshot: bool,
    bytes: Vec<u8>,
    is_too_large: bool,
}

impl Description {
    fn take(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let end = offset.saturating_add(bytes.len() as u64);
        let (Ok(from), Ok(to)) = (usize::try_from(offset), usize::try_from(end)) else {
            return false;
        };
        if end > MAX_BYTES {
            self.is_too_large = true;
            return false;
        }
        if self.bytes.len() < to {
            self.bytes.resize(to, 0);
        }
        self.bytes[from..to].copy_from_slice(bytes);
        true
    }
}

/// Calls the writer.
pub(crate) fn write(
    process: HANDLE,
    pid: u32,
    file: HANDLE,
    description: &mut Description,
) -> io::Result<()> {
    let callbacks = MINIDUMP_CALLBACK_INFORMATION {
        CallbackRoutine: Some(callback),
        CallbackParam: (&raw mut *description).cast(),
    };
    // SAFETY: the handles are open; the callback and what it writes to outlive the call.
    let ok = unsafe {
        MiniDumpWriteDump(
            process,
            pid,
            file,
            TYPE,
            std::ptr::null(),
            std::ptr::null(),
            &raw const callbacks,
        )
    };
    if ok != 0 {
        return Ok(());
    }
    // The writer leaves an HRESULT where others leave an error number; both are told as they are.
    Err(io::Error::last_os_error())
}

unsafe extern "system" fn callback(
    parameter: *mut c_void,
    input: *const MINIDUMP_CALLBACK_INPUT,
    output: *mut MINIDUMP_CALLBACK_OUTPUT,
) -> BOOL {
    // SAFETY: `write` passes a `Description` that outlives the call, and nobody else touches it meanwhile.
    let description = unsafe { &mut *parameter.cast::<Description>() };
    // SAFETY: the writer passes both structures; they may lie unaligned.
    let input = unsafe { input.read_unaligned() };
    let answer = |status| {
        // SAFETY: as above; every callback that gets this answer is answered by its status.
        unsafe { (&raw mut (*output).Anonymous.Status).write_unaligned(status) };
    };
    #[allow(non_upper_case_globals, reason = "constants as the header spells them")]
    match input.CallbackType.cast_signed() {
        IsProcessSnapshotCallback if description.is_snapshot => answer(S_FALSE),
        ThreadCallback | ThreadExCallback => {
            let memory = (ThreadWriteStack | ThreadWriteInstructionWindow).cast_unsigned();
            // SAFETY: the writer passes what it is about to write, and takes what is left of it.
            unsafe {
                let flags = &raw mut (*output).Anonymous.ThreadWriteFlags;
                flags.write_unaligned(flags.read_unaligned() & !memory);
            }
        }
        IoStartCallback => answer(S_FALSE),
        IoFinishCallback => answer(S_OK),
        IoWriteAllCallback => {
            // SAFETY: the member that belongs to this callback.
            let io = unsafe { input.Anonymous.Io };
            let (offset, buffer, bytes) = (io.Offset, io.Buffer, io.BufferBytes);
            // SAFETY: the writer's buffer is readable for as many bytes as it says.
            let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), bytes as usize) };
            if !description.take(offset, bytes) {
                return 0;
            }
            answer(S_OK);
        }
        // Modules and the rest are taken as the writer has them.
        _ => {}
    }
    1
}

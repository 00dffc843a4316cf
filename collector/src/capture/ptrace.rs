//! The ptrace requests used here, each as one function with a type.
//!
//! ptrace belongs to a thread: all of these must be called by the thread that attached.

use std::io;

/// `NT_PRSTATUS` (include/uapi/linux/elf.h): general registers.
pub const NT_PRSTATUS: libc::c_int = 1;
/// `NT_PRFPREG`: floating point registers.
pub const NT_PRFPREG: libc::c_int = 2;
/// `NT_X86_XSTATE`: extended state in the uncompacted XSAVE format.
#[cfg(target_arch = "x86_64")]
pub const NT_X86_XSTATE: libc::c_int = 0x202;
/// Largest extended register state accepted from the kernel (AMX tiles need 11 kB).
pub const MAX_XSTATE: usize = 64 * 1024;

/// What a traced thread reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// It stands still: signal (`0x80` is added to SIGTRAP at system calls) and event, 0 for none.
    Stopped {
        /// Signal number.
        signal: libc::c_int,
        /// `PTRACE_EVENT_*`.
        event: libc::c_int,
    },
    /// It ended.
    Ended,
}

/// One request without an answer.
pub fn request(request: libc::c_uint, tid: u32, addr: usize, data: usize) -> io::Result<()> {
    // SAFETY: the requests used here take integers, or a pointer to memory that outlives the call.
    let r = unsafe { libc::ptrace(request, tid as libc::pid_t, addr, data) };
    if r == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// What a thread reported since it was asked last; `None` when there is nothing.
///
/// # Errors
/// It is not traced by this thread (any more).
pub fn poll(tid: u32) -> io::Result<Option<Report>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let r = unsafe {
        libc::waitpid(
            tid as libc::pid_t,
            &raw mut status,
            libc::__WALL | libc::WNOHANG,
        )
    };
    match r {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ if libc::WIFSTOPPED(status) => Ok(Some(Report::Stopped {
            signal: libc::WSTOPSIG(status),
            event: status >> 16,
        })),
        _ => Ok(Some(Report::Ended)),
    }
}

/// A register set.
///
/// # Errors
/// The thread does not stand still, or has no such set.
pub fn regset(tid: u32, set: libc::c_int, room: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0_u8; room];
    let mut iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    request(
        libc::PTRACE_GETREGSET,
        tid,
        set as usize,
        (&raw mut iov) as usize,
    )?;
    buf.truncate(iov.iov_len);
    Ok(buf)
}

/// Signals that a thread blocks. In a system call with a mask of its own (`ppoll`) it is the one outside of it.
///
/// # Errors
/// The thread does not stand still.
pub fn signal_mask(tid: u32) -> io::Result<u64> {
    let mut mask = 0_u64;
    request(
        libc::PTRACE_GETSIGMASK,
        tid,
        size_of::<u64>(),
        (&raw mut mask) as usize,
    )?;
    Ok(mask)
}

/// Sets the signals that a thread blocks.
///
/// # Errors
/// The thread does not stand still.
pub fn set_signal_mask(tid: u32, mask: u64) -> io::Result<()> {
    request(
        libc::PTRACE_SETSIGMASK,
        tid,
        size_of::<u64>(),
        (&raw const mask) as usize,
    )
}

/// The number that came with the last event, such as the id of a new process.
///
/// # Errors
/// The thread does not stand still.
pub fn event_message(tid: u32) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    request(
        libc::PTRACE_GETEVENTMSG,
        tid,
        0,
        (&raw mut message) as usize,
    )?;
    Ok(message)
}

/// Writes into the memory of a thread that stands still, for which being its tracer is enough: a file in `/proc` asks
/// for the right to write other users' files besides.
///
/// # Errors
/// There is no such memory.
#[cfg(target_arch = "x86_64")]
pub fn write_memory(tid: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: `local` describes `bytes`, which is only read; `remote` is an address that the kernel checks.
    let n = unsafe {
        libc::process_vm_writev(
            tid as libc::pid_t,
            &raw const local,
            1,
            &raw const remote,
            1,
            0,
        )
    };
    if usize::try_from(n) == Ok(bytes.len()) {
        return Ok(());
    }
    // A filter on ourselves may forbid that call. Words then, as long as they are whole.
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(io::Error::last_os_error());
    }
    for (n, word) in words.iter().enumerate() {
        let at = address as usize + n * 8;
        request(
            libc::PTRACE_POKEDATA,
            tid,
            at,
            u64::from_ne_bytes(*word) as usize,
        )?;
    }
    Ok(())
}

/// General registers.
///
/// # Errors
/// The thread does not stand still.
#[cfg(target_arch = "x86_64")]
pub fn registers(tid: u32) -> io::Result<libc::user_regs_struct> {
    let mut regs = std::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
    request(libc::PTRACE_GETREGS, tid, 0, regs.as_mut_ptr() as usize)?;
    // SAFETY: a structure of integers, all bits set by zeroing or by the kernel.
    Ok(unsafe { regs.assume_init() })
}

/// Sets all general registers in one step: when this program dies, either all are set or none.
///
/// # Errors
/// The thread does not stand still.
#[cfg(target_arch = "x86_64")]
pub fn set_registers(tid: u32, regs: &libc::user_regs_struct) -> io::Result<()> {
    request(
        libc::PTRACE_SETREGS,
        tid,
        0,
        std::ptr::from_ref(regs) as usize,
    )
}

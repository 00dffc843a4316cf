//! A thread's chain of explicit frames: where managed code called into the runtime or into native code.
//!
//! Source: vm/frames.h (`Frame`), vm/method.hpp (`MethodDesc`, `MethodDescChunk`) of 3.1 to 10. Kinds of frames keep their method
//! in their third or fourth word; a method proves itself by a type that exists and by a token among that type's methods.

use crate::limits;
use crate::method_table::{MethodTable, could_be};
use crate::names::{Spelling, generated};
use crate::runtime::Runtime;
use crate::threads::ManagedThread;
use leakhound_dump::{Arch, MemoryExt, Os};
use serde::Serialize;

/// One frame, the innermost first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// Its address on the stack.
    pub address: u64,
    /// The method that was called through it, `Namespace.Type.Method`, where the frame says.
    pub method: Option<String>,
}

impl Runtime {
    /// The explicit frames of a thread. Managed callers between them are not listed.
    #[must_use]
    pub fn frames(&self, thread: &ManagedThread) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut frame = thread
            .address
            .checked_add(self.layout.thread.frame)
            .and_then(|at| self.memory.u64(at));
        // The last link is all ones.
        while let Some(address) = frame.filter(|at| *at != u64::MAX && could_be(*at)) {
            if frames.len() >= limits::FRAMES {
                break;
            }
            let method = [16, 24]
                .iter()
                .find_map(|offset| self.method_name(self.memory.u64(address + offset)?));
            frames.push(Frame { address, method });
            frame = self.memory.u64(address + 8);
        }
        frames
    }

    /// Full name of the method that a `MethodDesc` stands for; `None` when the address is none.
    fn method_name(&self, method: u64) -> Option<String> {
        /// Bytes of `MethodDescChunk`: method table 0, next 8, size 16, count 17, flags and upper part of the tokens 18.
        const CHUNK_BYTES: u64 = 24;
        if !could_be(method) {
            return None;
        }
        let low = self.memory.u16(method)?;
        let index = u64::from(self.memory.u8(method + 2)?);
        let chunk = method.checked_sub(CHUNK_BYTES + index * 8)?;
        let table = MethodTable::read_loaded(&*self.memory, self.memory.u64(chunk)?)?;
        let high = self.memory.u16(chunk + 18)?;
        let module = self.module_of_table(&table)?;
        let metadata = module.metadata.as_ref()?;
        let methods = metadata.methods_of(self.type_def_of(&table)?);
        // The lower part of the token had 14 bits up to 7 and has 12 since; only one split names a method of this type.
        let row = [12, 14].into_iter().find_map(|bits| {
            let low = u32::from(low) & ((1 << bits) - 1);
            let high = u32::from(high) & ((1 << (24 - bits)) - 1);
            Some(high << bits | low).filter(|row| methods.contains(row))
        })?;
        let name = generated::member(metadata.method_name(row)?);
        let owner = self.type_name(table.address).spell(Spelling::Full);
        Some(format!("{owner}.{name}"))
    }

    /// The system call that a thread is in, when the dump tells: its name, and whether such a call waits.
    ///
    /// Linux x64 keeps its number in `orig_rax`, and -1 outside of calls.
    #[must_use]
    pub fn system_call(&self, thread: &ManagedThread) -> Option<SystemCall> {
        /// Position of `orig_rax` in `user_regs_struct`.
        const ORIG_RAX: usize = 15;
        if (self.layout.os, self.layout.arch) != (Os::Linux, Arch::X64) {
            return None;
        }
        let os = self.os_threads.iter().find(|t| t.os_id == thread.os_id)?;
        let number = *os.registers.get(ORIG_RAX)?;
        let known = CALLS.iter().find(|(n, ..)| *n == number);
        Some(match known {
            Some((_, name, waits)) => SystemCall {
                name: Some(name),
                waits: *waits,
            },
            None => SystemCall {
                name: None,
                waits: false,
            },
        })
    }
}

/// What a thread does in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SystemCall {
    /// Name of the call; `None` outside of calls, and for calls that neither wait nor touch files or sockets.
    pub name: Option<&'static str>,
    /// It returns when something happens, not when its work is done.
    pub waits: bool,
}

/// Numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl), names, and whether they wait.
const CALLS: [(u64, &str, bool); 34] = [
    (0, "read", true),
    (1, "write", true),
    (7, "poll", true),
    (17, "pread64", false),
    (18, "pwrite64", false),
    (20, "writev", true),
    (23, "select", true),
    (35, "nanosleep", true),
    (42, "connect", true),
    (43, "accept", true),
    (44, "sendto", true),
    (45, "recvfrom", true),
    (46, "sendmsg", true),
    (47, "recvmsg", true),
    (61, "wait4", true),
    (65, "semop", true),
    (73, "flock", true),
    (74, "fsync", false),
    (75, "fdatasync", false),
    (128, "rt_sigtimedwait", true),
    (202, "futex", true),
    (208, "io_getevents", true),
    (220, "semtimedop", true),
    (230, "clock_nanosleep", true),
    (232, "epoll_wait", true),
    (247, "waitid", true),
    (257, "openat", false),
    (270, "pselect6", true),
    (271, "ppoll", true),
    (281, "epoll_pwait", true),
    (288, "accept4", true),
    (426, "io_uring_enter", true),
    (441, "epoll_pwait2", true),
    (449, "futex_waitv", true),
];

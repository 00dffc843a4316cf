//! A signal frame on the stack of a stopped thread, so that the thread finds back to itself.
//!
//! A system call is injected in the form of a signal whose handler is `syscall; ret`: the frame holds every register
//! as it was, the handler returns into the C library's own `sigreturn`, and the kernel restores everything. That path
//! needs nobody: when the collector is killed at any instant after the registers were set, the thread makes the call
//! and goes on where it was. A second, one-word stack below leads a forked copy that is let loose to `exit`.
//!
//! Layouts: `struct rt_sigframe`, `struct sigcontext_64` and `struct _fpx_sw_bytes` (Linux,
//! arch/x86/include/asm/sigframe.h and uapi/asm/sigcontext.h), the same in every 64-bit kernel.

use super::gadgets::Gadgets;
use libc::user_regs_struct;

/// Below the stack pointer a function may keep data without moving it (System V ABI, 3.2.2).
const RED_ZONE: u64 = 128;
/// `uc_flags`: extended state follows, the stack segment is saved and restored strictly.
const UC_FLAGS: u64 = 1 | 2 | 4;
/// Kept from `uc_stack`: a mode that no kernel accepts, so that it leaves the alternate stack alone.
const NO_ALTERNATE_STACK: u32 = 0x7f;
/// Bytes of `ucontext` up to and including the signal mask, after the return address.
const CONTEXT_BYTES: usize = 304;
/// `siginfo` follows the context; `sigreturn` asks that the memory is there and does not read it.
const SIGINFO_BYTES: usize = 128;
/// Legacy area and header of XSAVE (Intel SDM volume 1, 13.4).
const XSAVE_MIN_BYTES: usize = 576;
const XSAVE_SOFTWARE: usize = 464;
const XSTATE_BV: usize = 512;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Protection keys: ptrace gives their value even where the header says "initial".
const PKRU: u64 = 1 << 9;
/// Tile data of AMX: only processes that asked for it have room for it.
const TILE_DATA: u64 = 1 << 18;

/// Results of interrupted system calls that the kernel hides from programs (Linux, include/linux/errno.h).
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
const SYS_RESTART_SYSCALL: u64 = 219;
/// Bytes of the `syscall` instruction.
const SYSCALL_BYTES: u64 = 2;

/// How well a thread bears an injected call: lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// In a system call that the kernel starts again by itself.
    Call,
    /// In a system call with a time limit: after a crash of ours it would see `EINTR`.
    TimedCall,
    /// In its own code.
    UserCode,
}

/// How well a thread with these registers bears an injected call; `None`: not at all.
pub fn fitness(regs: &user_regs_struct) -> Option<Fitness> {
    /// Code segment of 64-bit programs.
    const USER_CS: u64 = 0x33;
    if regs.cs != USER_CS {
        return None;
    }
    Some(if (regs.orig_rax as i64) < 0 {
        Fitness::UserCode
    } else if regs.rax as i64 == ERESTART_RESTARTBLOCK {
        Fitness::TimedCall
    } else {
        Fitness::Call
    })
}

/// Registers as a signal handler's return must restore them: an interrupted system call is made again, as the kernel
/// would have done it.
fn after_signal(regs: &user_regs_struct) -> user_regs_struct {
    let mut regs = *regs;
    if regs.orig_rax as i64 >= 0 {
        let again = match regs.rax as i64 {
            ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND => Some(regs.orig_rax),
            ERESTART_RESTARTBLOCK => Some(SYS_RESTART_SYSCALL),
            _ => None,
        };
        if let Some(number) = again {
            regs.rax = number;
            regs.rip = regs.rip.wrapping_sub(SYSCALL_BYTES);
        }
    }
    regs
}

/// What a stopped thread was doing.
#[derive(Debug, Clone)]
pub struct Context {
    /// General registers.
    pub regs: user_regs_struct,
    /// Blocked signals.
    pub mask: u64,
    /// `NT_X86_XSTATE`.
    pub xstate: Vec<u8>,
}

/// Bytes for the target's stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where they go.
    pub base: u64,
    /// They.
    pub bytes: Vec<u8>,
    /// Stack pointer for the call.
    pub sp: u64,
    /// Stack pointer for a forked copy.
    pub copy_sp: u64,
}

/// Lays the frame out below the thread's stack pointer; `None` when its extended state has no known form.
pub fn build(context: &Context, gadgets: &Gadgets) -> Option<Frame> {
    let xstate = signal_xstate(&context.xstate)?;
    let top = context.regs.rsp.checked_sub(RED_ZONE)? & !63;
    let xstate_at = top.checked_sub(xstate.len() as u64)? & !63;
    // A handler finds its stack 8 bytes off a multiple of 16 (System V ABI, 3.4.1).
    let sp = (xstate_at.checked_sub((8 + CONTEXT_BYTES + SIGINFO_BYTES) as u64)? & !15) - 8;
    let copy_sp = (sp - 64) & !15;
    let base = copy_sp;

    let mut bytes = vec![0; (top - base) as usize];
    let mut put = |at: u64, data: &[u8]| {
        let at = (at - base) as usize;
        bytes[at..at + data.len()].copy_from_slice(data);
    };
    put(copy_sp, &gadgets.exit.to_le_bytes());
    put(sp, &gadgets.sigreturn.to_le_bytes());
    let saved = after_signal(&context.regs);
    let uc = sp + 8;
    put(uc, &UC_FLAGS.to_le_bytes());
    put(uc + 24, &NO_ALTERNATE_STACK.to_le_bytes());
    let words = [
        saved.r8,
        saved.r9,
        saved.r10,
        saved.r11,
        saved.r12,
        saved.r13,
        saved.r14,
        saved.r15,
        saved.rdi,
        saved.rsi,
        saved.rbp,
        saved.rbx,
        saved.rdx,
        saved.rax,
        saved.rcx,
        saved.rsp,
        saved.rip,
        saved.eflags,
    ];
    let mut at = uc + 40;
    for word in words {
        put(at, &word.to_le_bytes());
        at += 8;
    }
    for segment in [saved.cs, 0, 0, saved.ss] {
        put(at, &(segment as u16).to_le_bytes());
        at += 2;
    }
    // Error code, trap number, old mask, fault address; then the pointer.
    put(at + 32, &xstate_at.to_le_bytes());
    put(uc + CONTEXT_BYTES as u64 - 8, &context.mask.to_le_bytes());
    put(xstate_at, &xstate);
    Some(Frame {
        base,
        bytes,
        sp,
        copy_sp,
    })
}

/// Registers that make the thread call, with `frame` on its stack.
pub fn calling(
    context: &Context,
    gadgets: &Gadgets,
    frame: &Frame,
    number: u64,
    args: [u64; 5],
) -> user_regs_struct {
    let mut regs = context.regs;
    // Not in a system call: nothing is to be restarted.
    regs.orig_rax = u64::MAX;
    regs.rax = number;
    regs.rip = gadgets.call;
    regs.rsp = frame.sp;
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8] = args;
    regs.r9 = 0;
    regs
}

/// The form in which the kernel writes extended state into signal frames, from the form in which ptrace gives it.
fn signal_xstate(ptrace: &[u8]) -> Option<Vec<u8>> {
    if ptrace.len() < XSAVE_MIN_BYTES {
        return None;
    }
    let word = |at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(ptrace.get(at..at + 8)?.try_into().ok()?))
    };
    // ptrace leaves the features of the machine where signal frames have their description.
    let machine = word(XSAVE_SOFTWARE)?;
    let used = word(XSTATE_BV)?;
    let tiles = used & TILE_DATA;
    let features = (machine & !TILE_DATA) | tiles;
    let size = xsave_bytes(features).min(ptrace.len());
    let mut out = ptrace[..size].to_vec();
    // Four bytes end the area: the magic number that proves that it is whole.
    let extended = size as u32 + 4;
    let mut software = Vec::with_capacity(48);
    software.extend(FP_XSTATE_MAGIC1.to_le_bytes());
    software.extend(extended.to_le_bytes());
    software.extend(features.to_le_bytes());
    software.extend((size as u32).to_le_bytes());
    software.resize(48, 0);
    out[XSAVE_SOFTWARE..XSAVE_SOFTWARE + 48].copy_from_slice(&software);
    let header = used | (machine & PKRU);
    out[XSTATE_BV..XSTATE_BV + 8].copy_from_slice(&header.to_le_bytes());
    out.extend(FP_XSTATE_MAGIC2.to_le_bytes());
    Some(out)
}

/// Bytes of the standard form of these features on this machine, which is also the target's.
fn xsave_bytes(features: u64) -> usize {
    (2..63)
        .filter(|i| features >> i & 1 == 1)
        .map(|i| {
            // Leaf 0xD, sub-leaf i: size in EAX, offset in EBX (Intel SDM volume 2, CPUID).
            let leaf = std::arch::x86_64::__cpuid_count(0xd, i);
            (leaf.eax + leaf.ebx) as usize
        })
        .max()
        .unwrap_or(0)
        .max(XSAVE_MIN_BYTES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn context() -> Context {
        // SAFETY: a structure of integers.
        let mut regs: user_regs_struct = unsafe { std::mem::zeroed() };
        regs.rsp = 0x7000_0000_1238;
        regs.rip = 0x5000;
        regs.cs = 0x33;
        regs.ss = 0x2b;
        regs.orig_rax = 202;
        regs.rax = ERESTARTSYS as u64;
        Context {
            regs,
            mask: 0x55,
            xstate: vec![0; 832],
        }
    }

    const GADGETS: Gadgets = Gadgets {
        call: 1,
        sigreturn: 2,
        exit: 3,
    };

    #[test]
    fn the_frame_lies_below_the_red_zone_and_is_aligned_as_the_kernel_asks() {
        let context = context();
        let frame = build(&context, &GADGETS).unwrap();
        assert!(frame.base + frame.bytes.len() as u64 <= context.regs.rsp - RED_ZONE);
        let word = |at: u64| {
            let at = (at - frame.base) as usize;
            u64::from_le_bytes(frame.bytes[at..at + 8].try_into().unwrap())
        };
        assert_eq!((word(frame.copy_sp), word(frame.sp)), (3, 2));
        assert_eq!(frame.sp % 16, 8);
        let fpstate = word(frame.sp + 8 + 40 + 18 * 8 + 8 + 32);
        assert_eq!(fpstate % 64, 0);
        assert_eq!(word(frame.sp + 8 + 296), 0x55);
        assert_eq!(
            word(fpstate + XSAVE_SOFTWARE as u64) as u32,
            FP_XSTATE_MAGIC1
        );
    }

    #[test]
    fn interrupted_calls_are_made_again_and_finished_ones_are_not() {
        let mut regs = context().regs;
        assert_eq!(after_signal(&regs).rax, 202);
        assert_eq!(after_signal(&regs).rip, 0x4ffe);
        regs.rax = ERESTART_RESTARTBLOCK as u64;
        assert_eq!(after_signal(&regs).rax, SYS_RESTART_SYSCALL);
        assert_eq!(fitness(&regs), Some(Fitness::TimedCall));
        regs.rax = 17;
        assert_eq!(
            (after_signal(&regs).rax, after_signal(&regs).rip),
            (17, 0x5000)
        );
        regs.orig_rax = u64::MAX;
        regs.rax = ERESTARTSYS as u64;
        assert_eq!(after_signal(&regs).rip, 0x5000);
        assert_eq!(fitness(&regs), Some(Fitness::UserCode));
        regs.cs = 0x23;
        assert_eq!(fitness(&regs), None);
    }
}

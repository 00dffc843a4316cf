//! One system call made by a stopped thread of the target, which then stands as it stood before.
//!
//! Order is what makes it safe against the end of this program at any instant. The frame is written first, into
//! stack that nobody uses; then one request sets all registers. From there on the thread makes the call and restores
//! itself, with or without us (see [`super::frame`]). With us, it is stopped again right behind the call and gets
//! its registers back exactly, so that a system call that was interrupted goes on with its remaining time.

use super::Stage;
use super::frame::{self, Context, Fitness};
use super::gadgets::{self, Gadgets};
use super::seccomp;
use crate::capture::ptrace::{self, Report};
use crate::proc_maps::Mapping;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Stack that must be there below the stack pointer: the frame has at most 12 kB.
const STACK_ROOM: u64 = 16 << 10;
/// A call that takes longer is left to itself. `clone` of a process of a terabyte takes about ten seconds.
const LONGEST_CALL: Duration = Duration::from_secs(30);
/// Reports that do not belong to the call: group stops, late signals.
const MAX_STRAY_REPORTS: u32 = 64;
/// `SIGTRAP` of a stop at a system call, under `PTRACE_O_TRACESYSGOOD`.
const AT_CALL: libc::c_int = libc::SIGTRAP | 0x80;
/// Blocked during the call: all but SIGSYS, which a seccomp filter forces; a forced signal that is blocked would
/// lose its handler.
const BLOCKED: u64 = !(1 << (libc::SIGSYS - 1));
const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;

/// What the target is made of, as far as calls need it.
pub struct Ground<'a> {
    /// Process id.
    pub pid: u32,
    /// `/proc/PID/mem`.
    pub memory: &'a File,
    /// Its mappings, at most some seconds old.
    pub maps: &'a [Mapping],
    /// Pieces of its text.
    pub gadgets: Gadgets,
    /// It has seccomp filters.
    pub filtered: bool,
    /// Told at each step.
    pub observe: &'a (dyn Fn(Stage) + Sync),
}

/// Why a call was not made, or not to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// This thread will not do; it is as it was.
    Unsuitable(String),
    /// No thread will do; all are as they were.
    Refused(String),
    /// The thread ended during the call.
    Ended,
}

/// A call that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What the kernel answered; negative for an error number.
    pub result: i64,
    /// Process that the call made, in our pid namespace; it is traced by this thread and has not run.
    pub child: Option<u32>,
}

/// A call to make. Arguments may need the stack pointer for a copy.
pub struct Call<'a> {
    /// Number on x86-64.
    pub number: i64,
    /// Arguments, given the stack pointer for a forked copy.
    pub arguments: &'a dyn Fn(u64) -> [u64; 5],
}

/// Registers and fitness of a thread that stands still.
pub fn look(tid: u32) -> Option<Fitness> {
    frame::fitness(&ptrace::registers(tid).ok()?)
}

/// Makes a call in a thread that stands still. `meanwhile` runs while the kernel works.
pub fn call(
    ground: &Ground<'_>,
    tid: u32,
    call: &Call<'_>,
    meanwhile: &mut dyn FnMut(),
) -> Result<Answer, Failure> {
    let unsuitable = |why: &str| Failure::Unsuitable(format!("thread {tid}: {why}"));
    let failed = |what: &str, e: &std::io::Error| unsuitable(&format!("{what} ({e})"));
    let context = Context {
        regs: ptrace::registers(tid).map_err(|e| failed("registers", &e))?,
        mask: ptrace::signal_mask(tid).map_err(|e| failed("signal mask", &e))?,
        xstate: ptrace::regset(tid, ptrace::NT_X86_XSTATE, ptrace::MAX_XSTATE)
            .map_err(|e| failed("extended registers", &e))?,
    };
    match frame::fitness(&context.regs) {
        None => return Err(unsuitable("it runs 32-bit code")),
        Some(Fitness::UserCode) if in_restartable_sequence(ground, tid) => {
            return Err(unsuitable("it is in a restartable sequence"));
        }
        Some(_) => {}
    }
    if !gadgets::are_there(&ground.gadgets, ground.memory) {
        return Err(Failure::Refused(
            "the C library was unloaded or changed".to_owned(),
        ));
    }
    let frame = frame::build(&context, &ground.gadgets)
        .ok_or_else(|| unsuitable("its extended registers have no known form"))?;
    if !has_stack(ground.maps, context.regs.rsp) {
        return Err(unsuitable("there is little room on its stack"));
    }
    let arguments = (call.arguments)(frame.copy_sp);
    if ground.filtered {
        seccomp::permits(tid, ground.gadgets.call, call.number, arguments)
            .map_err(Failure::Refused)?;
    }
    ptrace::write_memory(tid, frame.base, &frame.bytes)
        .map_err(|e| failed("its stack cannot be written", &e))?;
    (ground.observe)(Stage::FrameWritten);
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE;
    ptrace::request(libc::PTRACE_SETOPTIONS, tid, 0, options as usize)
        .map_err(|e| failed("options", &e))?;
    let regs = frame::calling(
        &context,
        &ground.gadgets,
        &frame,
        call.number as u64,
        arguments,
    );
    ptrace::set_registers(tid, &regs).map_err(|e| failed("setting registers", &e))?;
    (ground.observe)(Stage::Armed);
    let outcome = run(ground, tid, meanwhile);
    let answer = match outcome {
        Err(Failure::Ended) => return Err(Failure::Ended),
        other => other,
    };
    // The mask first: until the registers are back, the frame would restore both.
    let restored = ptrace::set_signal_mask(tid, context.mask)
        .and_then(|()| {
            (ground.observe)(Stage::Unmasked);
            ptrace::set_registers(tid, &context.regs)
        })
        .and_then(|()| ptrace::request(libc::PTRACE_SETOPTIONS, tid, 0, 0));
    (ground.observe)(Stage::Restored);
    match (answer, restored) {
        (Ok(answer), Ok(())) => Ok(answer),
        (Err(failure), Ok(())) => Err(failure),
        // It died in our hands, or does not answer: the frame restores it.
        (_, Err(_)) => Err(Failure::Ended),
    }
}

/// From the set registers to the stop behind the call.
fn run(ground: &Ground<'_>, tid: u32, meanwhile: &mut dyn FnMut()) -> Result<Answer, Failure> {
    let lost = |_| Failure::Ended;
    ptrace::set_signal_mask(tid, BLOCKED).map_err(lost)?;
    (ground.observe)(Stage::Masked);
    let deadline = Instant::now() + LONGEST_CALL;
    let resume = |how: libc::c_uint| ptrace::request(how, tid, 0, 0).map_err(lost);

    resume(libc::PTRACE_SYSCALL)?;
    let mut strays = 0;
    let mut stray = || {
        strays += 1;
        if strays > MAX_STRAY_REPORTS {
            return Err(Failure::Refused("its threads do not stand still".into()));
        }
        Ok(())
    };
    loop {
        match wait(tid, deadline)? {
            Report::Stopped {
                signal: AT_CALL,
                event: 0,
            } => break,
            Report::Ended => return Err(Failure::Ended),
            Report::Stopped { .. } => {
                stray()?;
                resume(libc::PTRACE_SYSCALL)?;
            }
        }
    }
    (ground.observe)(Stage::CallEntered);
    resume(libc::PTRACE_SYSCALL)?;
    meanwhile();
    let mut child = None;
    loop {
        match wait(tid, deadline)? {
            Report::Stopped {
                signal: AT_CALL,
                event: 0,
            } => break,
            Report::Stopped {
                event: libc::PTRACE_EVENT_CLONE,
                ..
            } => {
                let id = ptrace::event_message(tid).map_err(lost)?;
                child = u32::try_from(id).ok();
                (ground.observe)(Stage::Cloned);
                resume(libc::PTRACE_SYSCALL)?;
            }
            Report::Ended => return Err(Failure::Ended),
            Report::Stopped { .. } => {
                stray()?;
                resume(libc::PTRACE_SYSCALL)?;
            }
        }
    }
    let result = ptrace::registers(tid).map_err(lost)?.rax as i64;
    (ground.observe)(Stage::CallReturned);
    // A filter that answers by SIGSYS has it waiting now; it must reach us and not the program.
    let trapped = ground.filtered && has_pending(ground.pid, tid, libc::SIGSYS);
    if !trapped {
        ptrace::request(libc::PTRACE_INTERRUPT, tid, 0, 0).map_err(lost)?;
    }
    resume(libc::PTRACE_CONT)?;
    match wait(tid, deadline)? {
        Report::Ended => Err(Failure::Ended),
        Report::Stopped { .. } if trapped => Err(Failure::Refused(
            "its seccomp filter answers with SIGSYS".into(),
        )),
        Report::Stopped { .. } => Ok(Answer { result, child }),
    }
}

fn wait(tid: u32, deadline: Instant) -> Result<Report, Failure> {
    let mut pause = Duration::from_micros(5);
    loop {
        match ptrace::poll(tid) {
            Ok(Some(report)) => return Ok(report),
            Err(_) => return Err(Failure::Ended),
            Ok(None) if Instant::now() > deadline => {
                return Err(Failure::Refused("the call takes too long".into()));
            }
            Ok(None) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_micros(200));
            }
        }
    }
}

/// There is stack below `sp`, in a private mapping that may be written.
fn has_stack(maps: &[Mapping], sp: u64) -> bool {
    let at = maps.partition_point(|m| m.entry.end <= sp);
    maps.get(at).is_some_and(|m| {
        m.readable()
            && m.writable()
            && !m.shared()
            && !m.is_file()
            && m.entry.start <= sp.saturating_sub(STACK_ROOM)
    })
}

fn has_pending(pid: u32, tid: u32, signal: libc::c_int) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap_or_default();
    ["SigPnd:", "ShdPnd:"].iter().any(|key| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(key))
            .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
            .is_some_and(|bits| bits >> (signal - 1) & 1 == 1)
    })
}

/// A thread in a restartable sequence must not be led elsewhere: the kernel would forget the sequence.
fn in_restartable_sequence(ground: &Ground<'_>, tid: u32) -> bool {
    /// `struct ptrace_rseq_configuration` (Linux, include/uapi/linux/ptrace.h).
    #[repr(C)]
    #[derive(Default)]
    struct Configuration {
        address: u64,
        size: u32,
        signature: u32,
        flags: u32,
        pad: u32,
    }
    /// Offset of `rseq_cs` in `struct rseq`.
    const SEQUENCE: u64 = 8;
    let mut configuration = Configuration::default();
    let asked = ptrace::request(
        PTRACE_GET_RSEQ_CONFIGURATION,
        tid,
        size_of::<Configuration>(),
        (&raw mut configuration) as usize,
    );
    if asked.is_err() || configuration.address == 0 {
        return false;
    }
    let mut word = [0; 8];
    let read = ground
        .memory
        .read_exact_at(&mut word, configuration.address + SEQUENCE);
    read.is_err() || word != [0; 8]
}

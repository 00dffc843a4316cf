//! The ELF core format: headers and notes as gdb, lldb and createdump expect them.

use super::plan::{PAGE, Plan};
use super::stop::StoppedThread;
use crate::proc_maps::Mapping;
use std::io::{self, Write};

const EHDR_BYTES: u64 = 64;
const PHDR_BYTES: u64 = 56;
const SHDR_BYTES: u64 = 64;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// `e_phnum` when the real count lies in the first section header (ELF gABI, "Extended numbering").
const PN_XNUM: u64 = 0xffff;

const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_X86_XSTATE: u32 = 0x202;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;
/// Owner of our own note; `leakhound-dump` reads it, debuggers skip it.
const OWNER: &str = "LEAKHOUND";
/// Thread names, repeated: thread id, length, `comm`, padded to 4 bytes.
const NT_THREAD_NAMES: u32 = 2;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
/// Bytes of `user_regs_struct` (x86-64) or `user_pt_regs` (arm64).
#[cfg(target_arch = "x86_64")]
const REGISTER_BYTES: usize = 27 * 8;
#[cfg(target_arch = "aarch64")]
const REGISTER_BYTES: usize = 34 * 8;

/// What the notes say about the process besides its threads.
#[derive(Debug, Clone, Default)]
pub struct ProcessNotes {
    /// Process id.
    pub pid: u32,
    /// Parent, group and session.
    pub ppid: u32,
    /// Process group.
    pub pgrp: u32,
    /// Session.
    pub sid: u32,
    /// Real user.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// `comm`.
    pub name: String,
    /// Command line, secrets masked.
    pub arguments: String,
    /// `/proc/PID/auxv` as it is.
    pub auxv: Vec<u8>,
}

/// All notes, ready to be written.
#[must_use]
pub fn notes(process: &ProcessNotes, threads: &[&StoppedThread], maps: &[Mapping]) -> Vec<u8> {
    let mut out = Vec::new();
    // The kernel's order: the first thread's status opens the process-wide notes, and each further
    // status opens a thread.
    for (index, thread) in threads.iter().enumerate() {
        note(&mut out, "CORE", NT_PRSTATUS, &prstatus(process, thread));
        if index == 0 {
            note(&mut out, "CORE", NT_PRPSINFO, &prpsinfo(process));
            note(&mut out, "CORE", NT_SIGINFO, &[0; 128]);
            note(&mut out, "CORE", NT_AUXV, &process.auxv);
            note(&mut out, "CORE", NT_FILE, &file_note(maps));
        }
        if !thread.floating.is_empty() {
            note(&mut out, "CORE", NT_FPREGSET, &thread.floating);
        }
        if !thread.extended.is_empty() {
            note(&mut out, "LINUX", NT_X86_XSTATE, &thread.extended);
        }
    }
    let mut names = Vec::new();
    for thread in threads {
        names.extend(thread.tid.to_le_bytes());
        names.extend((thread.name.len() as u32).to_le_bytes());
        names.extend(thread.name.as_bytes());
        names.resize(names.len().next_multiple_of(4), 0);
    }
    note(&mut out, OWNER, NT_THREAD_NAMES, &names);
    out
}

fn note(out: &mut Vec<u8>, owner: &str, kind: u32, body: &[u8]) {
    let pad = |out: &mut Vec<u8>| out.resize(out.len().next_multiple_of(4), 0);
    out.extend((owner.len() as u32 + 1).to_le_bytes());
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend(owner.as_bytes());
    out.push(0);
    pad(out);
    out.extend(body);
    pad(out);
}

/// A C string in a field of fixed size, cut at a character boundary and always ended.
fn fixed<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [0; N];
    let mut end = text.len().min(N - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out[..end].copy_from_slice(&text.as_bytes()[..end]);
    out
}

/// `struct elf_prstatus` (Linux, include/uapi/linux/elfcore.h, 64 bits): registers at byte 112.
fn prstatus(process: &ProcessNotes, thread: &StoppedThread) -> Vec<u8> {
    let mut out = vec![0; 32];
    for id in [thread.tid, process.ppid, process.pgrp, process.sid] {
        out.extend(id.to_le_bytes());
    }
    out.resize(112, 0);
    let mut registers = thread.general.clone();
    registers.resize(REGISTER_BYTES, 0);
    out.extend(registers);
    out.extend(1_u64.to_le_bytes());
    out
}

/// `struct elf_prpsinfo` (64 bits): 136 bytes.
fn prpsinfo(process: &ProcessNotes) -> Vec<u8> {
    // State 0, `R`, not a zombie, nice 0.
    let mut out = vec![0, b'R', 0, 0, 0, 0, 0, 0];
    out.extend(0_u64.to_le_bytes());
    for id in [
        process.uid,
        process.gid,
        process.pid,
        process.ppid,
        process.pgrp,
        process.sid,
    ] {
        out.extend(id.to_le_bytes());
    }
    out.extend(fixed::<16>(&process.name));
    out.extend(fixed::<80>(&process.arguments));
    out
}

/// `NT_FILE`: count, page size, then start, end and page offset of each mapping, then their names.
fn file_note(maps: &[Mapping]) -> Vec<u8> {
    let files: Vec<_> = maps
        .iter()
        .filter(|m| m.entry.path.starts_with('/'))
        .collect();
    let mut out = Vec::new();
    out.extend((files.len() as u64).to_le_bytes());
    out.extend(PAGE.to_le_bytes());
    for m in &files {
        for word in [m.entry.start, m.entry.end, m.entry.offset / PAGE] {
            out.extend(word.to_le_bytes());
        }
    }
    for m in &files {
        out.extend(m.entry.path.as_bytes());
        out.push(0);
    }
    out
}

/// Headers and notes laid out, and the order in which the segments follow.
#[derive(Debug)]
pub struct Layout {
    /// Everything before the first segment.
    pub head: Vec<u8>,
    /// Segments (indices into the plan) in file order: shared memory, the rest of what the process holds, files.
    pub order: Vec<usize>,
    /// Bytes of the whole file.
    pub total_bytes: u64,
}

/// Lays a core out: header, program headers, notes, then segments at page boundaries.
///
/// # Errors
/// Memory for the head cannot be written (never in practice).
pub fn layout(plan: &Plan, notes: &[u8]) -> io::Result<Layout> {
    let n_headers = plan.segments.len() as u64 + 1;
    let extended = n_headers >= PN_XNUM;
    let sections_at = EHDR_BYTES + n_headers * PHDR_BYTES;
    let notes_at = sections_at + if extended { SHDR_BYTES } else { 0 };
    let data_at = (notes_at + notes.len() as u64).next_multiple_of(PAGE);

    let order = plan.order();
    let mut offsets = vec![0; plan.segments.len()];
    let mut at = data_at;
    for index in &order {
        offsets[*index] = at;
        at += plan.segments[*index].file_bytes();
    }

    let mut head = Vec::with_capacity(data_at as usize);
    head.write_all(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0")?;
    for half in [4, MACHINE] {
        head.write_all(&half.to_le_bytes())?;
    }
    head.write_all(&1_u32.to_le_bytes())?;
    let section_offset = if extended { sections_at } else { 0 };
    for word in [0, EHDR_BYTES, section_offset] {
        head.write_all(&word.to_le_bytes())?;
    }
    head.write_all(&0_u32.to_le_bytes())?;
    let shown = n_headers.min(PN_XNUM) as u16;
    let (section_size, n_sections) = if extended {
        (SHDR_BYTES as u16, 1)
    } else {
        (0, 0)
    };
    for half in [
        EHDR_BYTES as u16,
        PHDR_BYTES as u16,
        shown,
        section_size,
        n_sections,
        0,
    ] {
        head.write_all(&half.to_le_bytes())?;
    }

    program_header(&mut head, PT_NOTE, 0, notes_at, 0, notes.len() as u64, 0, 4)?;
    for (segment, offset) in plan.segments.iter().zip(&offsets) {
        let (bytes, memory) = (segment.file_bytes(), segment.end - segment.start);
        program_header(
            &mut head,
            PT_LOAD,
            segment.flags,
            *offset,
            segment.start,
            bytes,
            memory,
            PAGE,
        )?;
    }
    if extended {
        // Section 0 exists only for its `sh_info`, at byte 44.
        let mut section = [0; SHDR_BYTES as usize];
        let count = u32::try_from(n_headers).map_err(io::Error::other)?;
        section[44..48].copy_from_slice(&count.to_le_bytes());
        head.write_all(&section)?;
    }
    head.write_all(notes)?;
    head.resize(data_at as usize, 0);
    Ok(Layout {
        head,
        order,
        total_bytes: at,
    })
}

#[allow(clippy::too_many_arguments)] // the fields of Elf64_Phdr, in its order
fn program_header(
    out: &mut Vec<u8>,
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_bytes: u64,
    memory_bytes: u64,
    align: u64,
) -> io::Result<()> {
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&flags.to_le_bytes())?;
    for word in [offset, address, 0, file_bytes, memory_bytes, align] {
        out.write_all(&word.to_le_bytes())?;
    }
    Ok(())
}

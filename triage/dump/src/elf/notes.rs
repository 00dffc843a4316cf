//! Notes of a core file: threads, process, mappings, auxiliary vector.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{
    AT_NULL, FLAG_ZERO_TAILS, LEAKHOUND_OWNER, NT_AUXV, NT_FILE, NT_LEAKHOUND_FLAGS,
    NT_LEAKHOUND_THREAD_NAMES, NT_PRPSINFO, NT_PRSTATUS, NT_SIGINFO,
};
use crate::error::DumpError;
use crate::fields::{u32_at, u64_at};
use crate::image::{Arch, MappedFile, Thread};
use crate::limits::{Limits, admit};

/// One note: owner, type, content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note<'a> {
    /// Owner without its final zero, `CORE`, `LINUX`, `GNU`.
    pub owner: &'a [u8],
    /// `NT_*`, its meaning depends on the owner.
    pub kind: u32,
    /// Content.
    pub content: &'a [u8],
}

/// Splits a note segment (4-byte alignment, as every core writer uses). Ends at the first damaged note.
pub fn notes(bytes: &[u8]) -> impl Iterator<Item = Note<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let owner_len = u32_at(rest, 0)? as usize;
        let content_len = u32_at(rest, 4)? as usize;
        let kind = u32_at(rest, 8)?;
        let owner = rest.get(12..12usize.checked_add(owner_len)?)?;
        let content_at = 12 + owner_len.checked_next_multiple_of(4)?;
        let content_end = content_at.checked_add(content_len)?;
        let content = rest.get(content_at..content_end)?;
        let next = content_end.checked_next_multiple_of(4)?.min(rest.len());
        rest = &rest[next..];
        Some(Note {
            owner: owner.strip_suffix(b"\0").unwrap_or(owner),
            kind,
            content,
        })
    })
}

/// What the notes of a core say.
#[derive(Debug, Default)]
pub struct CoreNotes {
    /// Threads in the order of their `NT_PRSTATUS`; the first is the one that the dump is about.
    pub threads: Vec<Thread>,
    /// From `NT_PRPSINFO`, else the first thread's id.
    pub pid: Option<u32>,
    /// `comm` from `NT_PRPSINFO`.
    pub process_name: Option<String>,
    /// `NT_FILE`, sorted by start.
    pub mapped_files: Vec<MappedFile>,
    /// `NT_AUXV`.
    pub auxv: BTreeMap<u64, u64>,
    /// Signal number that ended the process, from `NT_SIGINFO` or `NT_PRSTATUS`; absent when it was dumped alive.
    pub signal: Option<u32>,
    /// Tails beyond `p_filesz` are zero; see [`FLAG_ZERO_TAILS`].
    pub zero_tails: bool,
    /// What was odd, one sentence each.
    pub warnings: Vec<String>,
}

impl CoreNotes {
    /// Takes in one note segment.
    ///
    /// # Errors
    /// [`DumpError::TooMany`].
    pub fn add(&mut self, bytes: &[u8], arch: Arch, limits: &Limits) -> Result<(), DumpError> {
        let mut names = BTreeMap::new();
        for note in notes(bytes) {
            match (note.owner, note.kind) {
                (b"CORE", NT_PRSTATUS) => {
                    admit("threads", self.threads.len() as u64 + 1, limits.threads)?;
                    self.thread(note.content, arch);
                }
                (b"CORE", NT_PRPSINFO) => self.process(note.content),
                (b"CORE", NT_AUXV) => self.auxiliary(note.content),
                (b"CORE", NT_FILE) => self.files(note.content, limits)?,
                (b"CORE", NT_SIGINFO) => {
                    self.signal = self.signal.or(u32_at(note.content, 0).filter(|&s| s != 0));
                }
                (owner, kind) if owner == LEAKHOUND_OWNER.as_bytes() => {
                    if kind == NT_LEAKHOUND_FLAGS {
                        let flags = u64_at(note.content, 0).unwrap_or(0);
                        self.zero_tails |= flags & FLAG_ZERO_TAILS != 0;
                    } else if kind == NT_LEAKHOUND_THREAD_NAMES {
                        thread_names(note.content, limits, &mut names);
                    }
                }
                _ => {}
            }
        }
        for thread in &mut self.threads {
            if let Some(name) = names.remove(&thread.os_id) {
                thread.name = Some(name);
            }
        }
        Ok(())
    }

    /// `struct elf_prstatus`: `pr_cursig` at 12, `pr_pid` at 32, `pr_reg` at 112 on both machines.
    fn thread(&mut self, content: &[u8], arch: Arch) {
        // x86-64 `user_regs_struct`: 27 words, rip 16th, rsp 19th. arm64 `user_pt_regs`: 31 registers, sp, pc, pstate.
        let (count, sp, ip) = match arch {
            Arch::X64 => (27, 19, 16),
            Arch::Arm64 => (34, 31, 32),
        };
        let registers: Option<Vec<u64>> =
            (0..count).map(|i| u64_at(content, 112 + 8 * i)).collect();
        let (Some(registers), Some(os_id)) = (registers, u32_at(content, 32)) else {
            self.warnings.push(format!(
                "A thread record of {} bytes is too short and was skipped.",
                content.len()
            ));
            return;
        };
        if self.signal.is_none() && self.threads.is_empty() {
            let signal = u32_at(content, 12).unwrap_or(0) & 0xffff;
            self.signal = (signal != 0).then_some(signal);
        }
        self.threads.push(Thread {
            os_id,
            sp: registers[sp],
            ip: registers[ip],
            registers,
            name: None,
        });
    }

    /// `struct elf_prpsinfo`: `pr_pid` at 24, `pr_fname` at 40.
    fn process(&mut self, content: &[u8]) {
        self.pid = u32_at(content, 24).filter(|&pid| pid != 0);
        let name = content.get(40..56).unwrap_or_default();
        let name = name.split(|&b| b == 0).next().unwrap_or_default();
        if !name.is_empty() {
            self.process_name = Some(String::from_utf8_lossy(name).into_owned());
        }
    }

    fn auxiliary(&mut self, content: &[u8]) {
        for pair in content.chunks_exact(16) {
            if let (Some(key), Some(value)) = (u64_at(pair, 0), u64_at(pair, 8))
                && key != AT_NULL
            {
                self.auxv.insert(key, value);
            }
        }
    }

    /// `NT_FILE`: count, page size, count × (start, end, offset in pages), then the paths, each ended by a zero.
    fn files(&mut self, content: &[u8], limits: &Limits) -> Result<(), DumpError> {
        let (Some(count), Some(page)) = (u64_at(content, 0), u64_at(content, 8)) else {
            self.warnings
                .push("The list of mapped files is empty.".to_owned());
            return Ok(());
        };
        let count = admit("mapped files", count, limits.mapped_files)?;
        let names_at = 16 + 24 * count;
        let mut names = content
            .get(names_at..)
            .unwrap_or_default()
            .split(|&b| b == 0);
        let before = self.mapped_files.len();
        for i in 0..count {
            let at = 16 + 24 * i;
            let (Some(start), Some(end), Some(offset), Some(path)) = (
                u64_at(content, at),
                u64_at(content, at + 8),
                u64_at(content, at + 16),
                names.next(),
            ) else {
                break;
            };
            if start >= end || path.len() as u64 > limits.path_bytes {
                continue;
            }
            self.mapped_files.push(MappedFile {
                start,
                end,
                offset: offset.saturating_mul(page),
                path: path_from(path),
            });
        }
        let kept = self.mapped_files.len() - before;
        if kept < count {
            self.warnings.push(format!(
                "The list of mapped files claims {count} entries; {kept} could be read."
            ));
        }
        self.mapped_files.sort_by_key(|f| (f.start, f.end));
        Ok(())
    }
}

/// Decodes [`NT_LEAKHOUND_THREAD_NAMES`].
fn thread_names(content: &[u8], limits: &Limits, names: &mut BTreeMap<u32, String>) {
    let mut at = 0usize;
    while let (Some(id), Some(len)) = (u32_at(content, at), u32_at(content, at + 4)) {
        let Some(name) = content.get(at + 8..at + 8 + len as usize) else {
            break;
        };
        if names.len() as u64 >= limits.threads {
            break;
        }
        names.insert(id, String::from_utf8_lossy(name).into_owned());
        at += 8 + (len as usize).next_multiple_of(4);
    }
}

/// A path from the bytes of the dump, whatever system we run on.
pub(crate) fn path_from(bytes: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
    }
    #[cfg(not(unix))]
    {
        PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
    }
}

//! Opens ELF cores of x86-64 and arm64 Linux processes.

use std::sync::Arc;

use super::notes::CoreNotes;
use super::{
    EHDR_BYTES, EM_AARCH64, EM_X86_64, PF_R, PF_W, PF_X, PHDR_BYTES, PN_XNUM, PT_LOAD, PT_NOTE,
    ProgramHeader, SHDR_BYTES, module,
};
use crate::error::DumpError;
use crate::fields::{u16_at, u32_at, u64_at};
use crate::image::{Arch, Os, ProcessImage};
use crate::limits::{Limits, admit};
use crate::memory::Region;
use crate::segments::{Segment, SegmentMemory, arrange};
use crate::source::read_exact;
use leakhound_archive::ReadAt;

/// Program headers are read in pieces of this many.
const HEADERS_AT_ONCE: usize = 4096;

/// Opens a core: headers and notes are read now, memory when it is asked for.
///
/// # Errors
/// The ELF header or the program headers cannot be read, a count exceeds its limit, the machine is unknown, or
/// no memory is in the file.
pub fn open(source: Arc<dyn ReadAt>, limits: &Limits) -> Result<ProcessImage, DumpError> {
    let header = Header::read(&*source, limits)?;
    let mut warnings = Vec::new();
    let headers = program_headers(&*source, &header, &mut warnings)?;
    let mut notes = read_notes(&*source, &header, &headers, limits)?;
    warnings.append(&mut notes.warnings);
    let segments = load_segments(&headers, notes.zero_tails, &mut warnings);
    let (segments, arranged) = arrange(segments, source.len());
    let memory = SegmentMemory::new(source.clone(), &segments);
    arranged.describe(source.len(), &mut warnings);
    if crate::memory::Memory::regions(&memory).is_empty() {
        return Err(DumpError::Malformed {
            origin: source.origin().to_owned(),
            what: "the program headers",
            offset: header.table,
            expected: "memory of the process (PT_LOAD with content)".to_owned(),
            found: format!("{} headers, none with content in the file", headers.len()),
        });
    }
    let modules = if notes.mapped_files.is_empty() {
        warnings.push(
            "The list of mapped files (NT_FILE) is missing; modules were found by their ELF headers.".to_owned(),
        );
        module::modules_by_scan(&memory, limits)?
    } else {
        module::modules(&memory, &notes.mapped_files, limits)?
    };
    if notes.threads.is_empty() {
        warnings
            .push("No thread records (NT_PRSTATUS): stacks cannot be used as roots.".to_owned());
    }
    let mut image = ProcessImage::new(Os::Linux, header.arch, Arc::new(memory));
    image.pid = notes.pid;
    image.modules = modules;
    image.mapped_files = notes.mapped_files;
    image.threads = notes.threads;
    image.auxv = notes.auxv;
    image.warnings = warnings;
    Ok(image)
}

/// The notes of a core, whether or not there is memory in it.
///
/// # Errors
/// The ELF header or the program headers cannot be read, a count exceeds its limit, or the machine is unknown.
pub fn notes(source: &dyn ReadAt, limits: &Limits) -> Result<CoreNotes, DumpError> {
    let header = Header::read(source, limits)?;
    let mut warnings = Vec::new();
    let headers = program_headers(source, &header, &mut warnings)?;
    let mut notes = read_notes(source, &header, &headers, limits)?;
    notes.warnings.splice(0..0, warnings);
    Ok(notes)
}

fn read_notes(
    source: &dyn ReadAt,
    header: &Header,
    headers: &[ProgramHeader],
    limits: &Limits,
) -> Result<CoreNotes, DumpError> {
    let (mut notes, mut warnings) = (CoreNotes::default(), Vec::new());
    for h in headers.iter().filter(|h| h.kind == PT_NOTE) {
        let bytes = note_segment(source, h, limits, &mut warnings)?;
        notes.add(&bytes, header.arch, limits)?;
    }
    notes.warnings.splice(0..0, warnings);
    notes.pid = notes.pid.or(notes.threads.first().map(|t| t.os_id));
    for thread in &mut notes.threads {
        if Some(thread.os_id) == notes.pid && thread.name.is_none() {
            thread.name.clone_from(&notes.process_name);
        }
    }
    Ok(notes)
}

/// The part of the ELF header that matters.
struct Header {
    arch: Arch,
    table: u64,
    entry_bytes: u64,
    count: usize,
}

impl Header {
    fn read(source: &dyn ReadAt, limits: &Limits) -> Result<Self, DumpError> {
        let mut bytes = [0; EHDR_BYTES];
        read_exact(source, "the ELF header", 0, &mut bytes)?;
        let malformed = |what, offset, expected: &str, found: String| DumpError::Malformed {
            origin: source.origin().to_owned(),
            what,
            offset,
            expected: expected.to_owned(),
            found,
        };
        let machine = u16_at(&bytes, 18).unwrap_or(0);
        let arch = match machine {
            EM_X86_64 => Arch::X64,
            EM_AARCH64 => Arch::Arm64,
            other => {
                return Err(DumpError::Machine {
                    origin: source.origin().to_owned(),
                    machine: format!("{other} (e_machine)"),
                });
            }
        };
        let table = u64_at(&bytes, 32).unwrap_or(0);
        let entry_bytes = u64::from(u16_at(&bytes, 54).unwrap_or(0));
        if entry_bytes < PHDR_BYTES as u64 {
            let found = format!("{entry_bytes} bytes each");
            return Err(malformed(
                "the program header size",
                54,
                "at least 56 bytes each",
                found,
            ));
        }
        let mut count = u64::from(u16_at(&bytes, 56).unwrap_or(0));
        if count == u64::from(PN_XNUM) {
            // More than 65,534 segments: the count lies in sh_info of the first section header.
            let sections = u64_at(&bytes, 40).unwrap_or(0);
            let mut section = [0; SHDR_BYTES];
            read_exact(
                source,
                "the section header that holds the number of segments",
                sections,
                &mut section,
            )?;
            count = u64::from(u32_at(&section, 44).unwrap_or(0));
        }
        let count = admit("program headers", count, limits.program_headers)?;
        if count == 0 {
            return Err(malformed(
                "the number of program headers",
                56,
                "at least one",
                "0".to_owned(),
            ));
        }
        Ok(Self {
            arch,
            table,
            entry_bytes,
            count,
        })
    }
}

/// Reads the program headers; those beyond the end of the file are missing with a warning.
fn program_headers(
    source: &dyn ReadAt,
    header: &Header,
    warnings: &mut Vec<String>,
) -> Result<Vec<ProgramHeader>, DumpError> {
    let there = source.len().saturating_sub(header.table) / header.entry_bytes;
    let count = header
        .count
        .min(usize::try_from(there).unwrap_or(usize::MAX));
    if count == 0 {
        return Err(DumpError::Truncated {
            origin: source.origin().to_owned(),
            what: "the program headers",
            offset: header.table,
            end: header
                .table
                .saturating_add(header.entry_bytes * header.count as u64),
            len: source.len(),
        });
    }
    if count < header.count {
        warnings.push(format!(
            "The file ends inside the program headers: {count} of {} are there.",
            header.count
        ));
    }
    let entry = header.entry_bytes as usize;
    let mut headers = Vec::new();
    let mut buf = Vec::new();
    let mut next = 0;
    while next < count {
        let n = HEADERS_AT_ONCE.min(count - next);
        buf.resize(n * entry, 0);
        let offset = header.table + (next * entry) as u64;
        read_exact(source, "the program headers", offset, &mut buf)?;
        headers.extend(buf.chunks_exact(entry).filter_map(ProgramHeader::parse));
        next += n;
    }
    Ok(headers)
}

/// The content of a note segment, as far as it is in the file.
fn note_segment(
    source: &dyn ReadAt,
    header: &ProgramHeader,
    limits: &Limits,
    warnings: &mut Vec<String>,
) -> Result<Vec<u8>, DumpError> {
    let there = source
        .len()
        .saturating_sub(header.offset)
        .min(header.file_bytes);
    if there < header.file_bytes {
        // gdb writes its notes after the memory: a truncated file then has none.
        warnings.push(format!(
            "The file ends inside the notes: {there} of {} bytes are there.",
            header.file_bytes
        ));
    }
    let len = admit("bytes of notes", there, limits.note_bytes)?;
    let mut bytes = vec![0; len];
    read_exact(source, "the notes", header.offset, &mut bytes)?;
    Ok(bytes)
}

/// Turns `PT_LOAD` headers into segments.
fn load_segments(
    headers: &[ProgramHeader],
    zero_tails: bool,
    warnings: &mut Vec<String>,
) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut wrapped = 0;
    for h in headers.iter().filter(|h| h.kind == PT_LOAD) {
        let memory_bytes = h.memory_bytes.max(h.file_bytes);
        let (Some(file_end), Some(end)) = (
            h.address.checked_add(h.file_bytes),
            h.address.checked_add(memory_bytes),
        ) else {
            wrapped += 1;
            continue;
        };
        let region = |start, end| Region {
            start,
            end,
            read: h.flags & PF_R != 0,
            write: h.flags & PF_W != 0,
            execute: h.flags & PF_X != 0,
        };
        if h.file_bytes > 0 {
            segments.push(Segment {
                region: region(h.address, file_end),
                offset: Some(h.offset),
            });
        }
        if zero_tails && file_end < end {
            segments.push(Segment {
                region: region(file_end, end),
                offset: None,
            });
        }
    }
    if wrapped > 0 {
        warnings.push(format!(
            "{wrapped} segments reach beyond the end of the address space and were skipped."
        ));
    }
    segments
}

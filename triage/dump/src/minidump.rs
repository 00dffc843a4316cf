//! Windows minidumps.
//!
//! Layouts are those of Microsoft's `minidumpapiset.h`. Streams are read from the file where they lie and one at a
//! time, so a compressed dump is never unpacked; absent and damaged streams are treated alike, with a warning.
//! The memory lists are ours and not those of crate `minidump`, which wants the whole file as one slice and returns
//! nothing for a read that straddles two adjacent ranges (an object may well do that).

mod protection;
mod records;

use std::sync::Arc;

use leakhound_archive::ReadAt;

use crate::error::DumpError;
use crate::fields::{u16_at, u32_at, u64_at};
use crate::image::{Arch, Os, ProcessImage};
use crate::limits::{Limits, admit};
use crate::memory::{Memory, Region};
use crate::segments::{Segment, SegmentMemory, arrange};
use crate::source::read_exact;
use protection::Protections;

const HEADER_BYTES: usize = 32;
const DIRECTORY_ENTRY_BYTES: usize = 12;
/// Real dumps have about two dozen streams.
const MAX_STREAMS: u64 = 4096;

const THREAD_LIST: u32 = 3;
const MODULE_LIST: u32 = 4;
const MEMORY_LIST: u32 = 5;
const SYSTEM_INFO: u32 = 7;
const MEMORY64_LIST: u32 = 9;
const HANDLE_DATA: u32 = 12;
const MISC_INFO: u32 = 15;
const MEMORY_INFO_LIST: u32 = 16;
const THREAD_NAMES: u32 = 24;

/// `PROCESSOR_ARCHITECTURE_AMD64`, `_ARM64`.
const ARCH_AMD64: u16 = 9;
const ARCH_ARM64: u16 = 12;

/// Opens a minidump: directory, lists of modules, threads and memory ranges; memory when it is asked for.
///
/// # Errors
/// The header, directory, system information or memory lists cannot be read, a count exceeds its limit, or the
/// machine is unknown.
pub fn open(source: Arc<dyn ReadAt>, limits: &Limits) -> Result<ProcessImage, DumpError> {
    let dump = Minidump::read_directory(&*source, limits)?;
    let mut warnings = Vec::new();
    let arch = dump.arch()?;
    let protections = Protections::parse(&dump.optional(MEMORY_INFO_LIST, &mut warnings));
    let mut segments = dump.memory64(&mut warnings)?;
    segments.extend(dump.memory32(&mut warnings)?);
    if segments.is_empty() {
        return Err(DumpError::Malformed {
            origin: source.origin().to_owned(),
            what: "the streams of the minidump",
            offset: 0,
            expected: "memory of the process (a full or heap dump: ProcDump -ma)".to_owned(),
            found: "no memory ranges".to_owned(),
        });
    }
    let (segments, arranged) = arrange(segments, source.len());
    // After overlaps are gone: otherwise a hostile dump could have every range cut at every page.
    let memory = SegmentMemory::new(source.clone(), &protections.apply(segments));
    arranged.describe(source.len(), &mut warnings);
    if memory.regions().is_empty() {
        return Err(DumpError::Truncated {
            origin: source.origin().to_owned(),
            what: "the memory of the process",
            offset: source.len(),
            end: source.len().saturating_add(arranged.cut_bytes),
            len: source.len(),
        });
    }
    let mut image = dump.image(arch, Arc::new(memory), &protections, &mut warnings)?;
    image.warnings = warnings;
    Ok(image)
}

/// Opens what a minidump without memory says of a process whose memory is read elsewhere; `memory` is given the regions that the
/// minidump says can be read.
///
/// # Errors
/// As [`open`], and when it has no map of the address space.
pub fn open_over(
    source: &dyn ReadAt,
    memory: impl FnOnce(Vec<Region>) -> Arc<dyn Memory>,
    limits: &Limits,
) -> Result<ProcessImage, DumpError> {
    let dump = Minidump::read_directory(source, limits)?;
    let mut warnings = Vec::new();
    let arch = dump.arch()?;
    let protections = Protections::parse(&dump.stream(MEMORY_INFO_LIST)?);
    let regions = protections.regions();
    if regions.is_empty() {
        return Err(DumpError::Malformed {
            origin: source.origin().to_owned(),
            what: "the streams of the minidump",
            offset: 0,
            expected: "a map of the address space (MINIDUMP_MEMORY_INFO_LIST)".to_owned(),
            found: "no range that can be read".to_owned(),
        });
    }
    let mut image = dump.image(arch, memory(regions), &protections, &mut warnings)?;
    image.warnings = warnings;
    Ok(image)
}

/// A stream: where it lies in the file.
#[derive(Debug, Clone, Copy)]
struct Stream {
    kind: u32,
    bytes: u32,
    offset: u32,
}

struct Minidump<'a> {
    source: &'a dyn ReadAt,
    limits: &'a Limits,
    streams: Vec<Stream>,
}

impl<'a> Minidump<'a> {
    /// `MINIDUMP_HEADER`: signature, version, NumberOfStreams at 8, StreamDirectoryRva at 12.
    fn read_directory(source: &'a dyn ReadAt, limits: &'a Limits) -> Result<Self, DumpError> {
        let mut header = [0; HEADER_BYTES];
        read_exact(source, "the minidump header", 0, &mut header)?;
        let count = u32_at(&header, 8).unwrap_or(0);
        let offset = u32_at(&header, 12).unwrap_or(0);
        let count = admit("streams", count.into(), MAX_STREAMS)?;
        let mut bytes = vec![0; count * DIRECTORY_ENTRY_BYTES];
        read_exact(source, "the minidump directory", offset.into(), &mut bytes)?;
        let stream = |entry: &[u8]| {
            Some(Stream {
                kind: u32_at(entry, 0)?,
                bytes: u32_at(entry, 4)?,
                offset: u32_at(entry, 8)?,
            })
        };
        Ok(Self {
            source,
            limits,
            streams: bytes
                .chunks_exact(DIRECTORY_ENTRY_BYTES)
                .filter_map(stream)
                .collect(),
        })
    }

    /// Content of a stream as far as it is in the file; empty when there is none.
    fn stream(&self, kind: u32) -> Result<Vec<u8>, DumpError> {
        let Some(stream) = self.streams.iter().find(|s| s.kind == kind) else {
            return Ok(Vec::new());
        };
        let there = self.source.len().saturating_sub(stream.offset.into());
        let len = admit(
            "bytes of a stream",
            there.min(stream.bytes.into()),
            self.limits.note_bytes,
        )?;
        let mut bytes = vec![0; len];
        read_exact(
            self.source,
            "a minidump stream",
            stream.offset.into(),
            &mut bytes,
        )?;
        Ok(bytes)
    }

    /// A stream that one can do without.
    fn optional(&self, kind: u32, warnings: &mut Vec<String>) -> Vec<u8> {
        self.stream(kind).unwrap_or_else(|error| {
            warnings.push(format!("Stream {kind} was not read: {error}."));
            Vec::new()
        })
    }

    /// What its streams say of a process with this memory.
    fn image(
        &self,
        arch: Arch,
        memory: Arc<dyn Memory>,
        protections: &Protections,
        warnings: &mut Vec<String>,
    ) -> Result<ProcessImage, DumpError> {
        let mut image = ProcessImage::new(Os::Windows, arch, memory);
        let misc = self.optional(MISC_INFO, warnings);
        // MINIDUMP_MISC_INFO: Flags1 at 4 (bit 0: the process id is valid), ProcessId at 8.
        image.pid = u32_at(&misc, 8).filter(|_| u32_at(&misc, 4).unwrap_or(0) & 1 != 0);
        image.address_map = protections.address_map();
        image.open_handles = open_handles(&self.optional(HANDLE_DATA, warnings));
        image.modules = self.modules(warnings)?;
        image.threads = self.threads(arch, warnings)?;
        image.peb = self.peb(&image);
        Ok(image)
    }

    fn arch(&self) -> Result<Arch, DumpError> {
        let system = self.stream(SYSTEM_INFO)?;
        match u16_at(&system, 0) {
            Some(ARCH_AMD64) => Ok(Arch::X64),
            Some(ARCH_ARM64) => Ok(Arch::Arm64),
            other => Err(DumpError::Machine {
                origin: self.source.origin().to_owned(),
                machine: other.map_or("unknown (no system information)".to_owned(), |a| {
                    format!("{a} (ProcessorArchitecture)")
                }),
            }),
        }
    }

    /// `MINIDUMP_MEMORY64_LIST`: count, offset of the first byte, then (start, bytes) in file order.
    fn memory64(&self, warnings: &mut Vec<String>) -> Result<Vec<Segment>, DumpError> {
        let list = self.stream(MEMORY64_LIST)?;
        let (Some(count), Some(mut offset)) = (u64_at(&list, 0), u64_at(&list, 8)) else {
            return Ok(Vec::new());
        };
        let count = admit("memory ranges", count, self.limits.memory_ranges)?;
        let mut segments = Vec::new();
        for entry in list[16..].chunks_exact(16).take(count) {
            if let (Some(start), Some(bytes)) = (u64_at(entry, 0), u64_at(entry, 8)) {
                segments.extend(segment(start, bytes, offset));
                // Saturates beyond any file; the segment is then clipped to nothing.
                offset = offset.saturating_add(bytes);
            }
        }
        shortfall("memory ranges", count, (list.len() - 16) / 16, warnings);
        Ok(segments)
    }

    /// `MINIDUMP_MEMORY_LIST`: count, then (start, bytes `u32`, offset `u32`).
    fn memory32(&self, warnings: &mut Vec<String>) -> Result<Vec<Segment>, DumpError> {
        let list = self.stream(MEMORY_LIST)?;
        let Some(count) = u32_at(&list, 0) else {
            return Ok(Vec::new());
        };
        let count = admit("memory ranges", count.into(), self.limits.memory_ranges)?;
        let entries = records::entries(&list, count, 16);
        shortfall("memory ranges", count, entries.len() / 16, warnings);
        let parsed = entries.chunks_exact(16).take(count).filter_map(|entry| {
            let (start, bytes, offset) = (u64_at(entry, 0)?, u32_at(entry, 8)?, u32_at(entry, 12)?);
            segment(start, bytes.into(), offset.into())
        });
        Ok(parsed.collect())
    }
}

/// `MINIDUMP_HANDLE_DATA_STREAM`: SizeOfHeader, SizeOfDescriptor, NumberOfDescriptors, of which no more than fit are believed.
fn open_handles(stream: &[u8]) -> Option<u64> {
    let header = u64::from(u32_at(stream, 0)?);
    let descriptor = u64::from(u32_at(stream, 4)?).max(1);
    let room = (stream.len() as u64).saturating_sub(header) / descriptor;
    Some(u64::from(u32_at(stream, 8)?).min(room))
}

fn segment(start: u64, bytes: u64, offset: u64) -> Option<Segment> {
    let end = start.checked_add(bytes)?;
    Some(Segment {
        region: Region {
            start,
            end,
            read: true,
            write: true,
            execute: false,
        },
        offset: Some(offset),
    })
}

/// Says when a list is shorter than its own count.
fn shortfall(what: &str, claimed: usize, there: usize, warnings: &mut Vec<String>) {
    if there < claimed {
        warnings.push(format!(
            "The list of {what} claims {claimed} entries; {there} could be read."
        ));
    }
}

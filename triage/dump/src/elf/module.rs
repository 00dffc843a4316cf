//! ELF and PE modules as they lie in the memory of a process.

use super::notes::notes;
use super::{
    DT_NULL, DT_SONAME, DT_STRTAB, EHDR_BYTES, NT_GNU_BUILD_ID, PHDR_BYTES, PT_DYNAMIC, PT_LOAD,
    PT_NOTE, ProgramHeader,
};
use crate::error::DumpError;
use crate::fields::{u16_at, u64_at};
use crate::image::{MappedFile, Module};
use crate::limits::{Limits, admit};
use crate::memory::{Memory, MemoryExt};
use crate::pe::PeHeaders;

/// Notes of a module are at most this long; real ones have a few hundred bytes.
const MODULE_NOTES_BYTES: u64 = 64 << 10;
/// Program headers of a module; real ones have about a dozen.
const MODULE_HEADERS: u16 = 256;

/// What the headers of a loaded ELF module say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElfModule {
    /// Lowest address that its headers ask for, before relocation.
    pub first_address: u64,
    /// Bytes from its first to its last loaded page, including zero-initialized data.
    pub extent: u64,
    /// GNU build id, or empty.
    pub build_id: Vec<u8>,
    /// `DT_SONAME`, when its dynamic section could be read.
    pub soname: Option<String>,
}

/// Reads the ELF headers at `base`; `None` when there are none or they are not in the dump.
#[must_use]
pub fn elf_module(memory: &dyn Memory, base: u64) -> Option<ElfModule> {
    let header: [u8; EHDR_BYTES] = memory.array(base)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = base.checked_add(u64_at(&header, 32)?)?;
    let count = u16_at(&header, 56)?.min(MODULE_HEADERS);
    let mut headers = Vec::new();
    for i in 0..u64::from(count) {
        let bytes: [u8; PHDR_BYTES] = match memory.array(table.checked_add(i * PHDR_BYTES as u64)?)
        {
            Some(bytes) => bytes,
            None => break,
        };
        headers.extend(ProgramHeader::parse(&bytes));
    }
    let loads = || headers.iter().filter(|h| h.kind == PT_LOAD);
    let first = loads().map(|h| h.address).min().unwrap_or(0) & !0xfff;
    let last = loads()
        .map(|h| h.address.saturating_add(h.memory_bytes))
        .max()
        .unwrap_or(0);
    let at = |address: u64| base.wrapping_add(address.wrapping_sub(first));
    let build_id = headers
        .iter()
        .filter(|h| h.kind == PT_NOTE && h.memory_bytes <= MODULE_NOTES_BYTES)
        .filter_map(|h| memory.bytes(at(h.address), h.memory_bytes as usize))
        .find_map(|bytes| build_id(&bytes))
        .unwrap_or_default();
    let soname = headers
        .iter()
        .find(|h| h.kind == PT_DYNAMIC)
        .and_then(|h| soname(memory, at(h.address), base, first));
    Some(ElfModule {
        first_address: first,
        extent: last.saturating_sub(first).saturating_add(0xfff) & !0xfff,
        build_id,
        soname,
    })
}

/// The GNU build id among the notes in `bytes`.
pub(crate) fn build_id(bytes: &[u8]) -> Option<Vec<u8>> {
    notes(bytes)
        .find(|n| n.owner == b"GNU" && n.kind == NT_GNU_BUILD_ID && n.content.len() <= 64)
        .map(|n| n.content.to_vec())
}

/// `DT_SONAME` by way of `DT_STRTAB`, which the loader has relocated on glibc and not on musl.
fn soname(memory: &dyn Memory, dynamic: u64, base: u64, first: u64) -> Option<String> {
    let (mut name, mut strings) = (None, None);
    for i in 0..512 {
        let entry: [u8; 16] = memory.array(dynamic.checked_add(16 * i)?)?;
        let (tag, value) = (u64_at(&entry, 0)?, u64_at(&entry, 8)?);
        match tag {
            DT_NULL => break,
            DT_SONAME => name = Some(value),
            DT_STRTAB => strings = Some(value),
            _ => {}
        }
    }
    let (name, strings) = (name?, strings?);
    let strings = if strings >= base {
        strings
    } else {
        base.checked_add(strings.checked_sub(first)?)?
    };
    let mut buf = [0; 256];
    let n = memory.read(strings.checked_add(name)?, &mut buf);
    let text = buf[..n].split(|&b| b == 0).next()?;
    (text.len() < n).then(|| String::from_utf8_lossy(text).into_owned())
}

/// Executables and libraries among the mapped files: entries with offset 0 that begin with an ELF or PE header.
///
/// Where the header page itself is not in the dump (gdb skips clean file pages), the file name decides.
///
/// # Errors
/// [`DumpError::TooMany`].
pub fn modules(
    memory: &dyn Memory,
    files: &[MappedFile],
    limits: &Limits,
) -> Result<Vec<Module>, DumpError> {
    let mut modules: Vec<Module> = Vec::new();
    let mut i = 0;
    while i < files.len() {
        let first = &files[i];
        i += 1;
        if first.offset != 0 || !looks_like_module(memory, first) {
            continue;
        }
        let pe = PeHeaders::in_memory(memory, first.start);
        let mut end = first.end;
        while let Some(next) = files.get(i).filter(|f| f.path == first.path) {
            if next.offset == 0 && !continues(memory, pe.as_ref(), first, next) {
                break;
            }
            end = end.max(next.end);
            i += 1;
        }
        admit("modules", modules.len() as u64 + 1, limits.modules)?;
        let parsed = elf_module(memory, first.start).unwrap_or_default();
        let size = (end - first.start).max(parsed.extent.min(1 << 40));
        modules.push(Module {
            base: first.start,
            size,
            path: first.path.clone(),
            build_id: parsed.build_id,
            version: None,
        });
    }
    Ok(modules)
}

/// Modules of a dump whose list of mapped files is missing: ELF headers at the start of a region, named by `DT_SONAME`.
///
/// # Errors
/// [`DumpError::TooMany`].
pub fn modules_by_scan(memory: &dyn Memory, limits: &Limits) -> Result<Vec<Module>, DumpError> {
    let mut modules: Vec<Module> = Vec::new();
    for region in memory.regions() {
        if modules
            .last()
            .is_some_and(|m| region.start < m.base.saturating_add(m.size))
        {
            continue;
        }
        let Some(parsed) = elf_module(memory, region.start) else {
            continue;
        };
        if parsed.extent == 0 {
            continue;
        }
        admit("modules", modules.len() as u64 + 1, limits.modules)?;
        modules.push(Module {
            base: region.start,
            size: parsed.extent.min(1 << 40),
            path: parsed.soname.unwrap_or_default().into(),
            build_id: parsed.build_id,
            version: None,
        });
    }
    Ok(modules)
}

fn looks_like_module(memory: &dyn Memory, file: &MappedFile) -> bool {
    match memory.array::<4>(file.start) {
        Some(_) => starts_module(memory, file.start),
        None => {
            let name = file.path.to_string_lossy();
            let name = name
                .strip_suffix(" (deleted)")
                .unwrap_or(&name)
                .to_ascii_lowercase();
            name.ends_with(".dll")
                || name.ends_with(".exe")
                || name.ends_with(".so")
                || name.contains(".so.")
        }
    }
}

/// Whether a mapping of file offset 0 belongs to the module that began at `first`.
///
/// The runtime maps an assembly section by section, and where sections share the file's first page with the header
/// that page is mapped again (offset 0) at the section's address: four mappings per assembly, three of them of
/// offset 0, in .NET Core 3.1. The same file may also be mapped flat a second time, which is another module.
fn continues(
    memory: &dyn Memory,
    pe: Option<&PeHeaders>,
    first: &MappedFile,
    next: &MappedFile,
) -> bool {
    match pe {
        Some(pe) => pe.places_section(next.start - first.start, next.offset),
        // A header page that gdb left out: what follows of the same file is taken to be the same module.
        None => memory.u8(first.start).is_none() || !starts_module(memory, next.start),
    }
}

/// True for an ELF header, or for `MZ` with a PE header.
fn starts_module(memory: &dyn Memory, address: u64) -> bool {
    memory
        .array::<4>(address)
        .is_some_and(|head| &head == b"\x7fELF" || PeHeaders::in_memory(memory, address).is_some())
}

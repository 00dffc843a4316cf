//! Module and thread records.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{MODULE_LIST, Minidump, THREAD_LIST, THREAD_NAMES, shortfall};
use crate::error::DumpError;
use crate::fields::{u16_at, u32_at, u64_at};
use crate::image::{Arch, Module, ProcessImage, Thread};
use crate::limits::admit;
use crate::memory::MemoryExt;

/// `sizeof(MINIDUMP_MODULE)`, packed to 4 bytes.
const MODULE_BYTES: usize = 108;
/// `sizeof(MINIDUMP_THREAD)`.
const THREAD_BYTES: usize = 48;
/// `sizeof(CONTEXT)` is 1232 on x64 and 912 on arm64; what we need lies in the first 272 bytes.
const CONTEXT_BYTES: usize = 272;
/// `dwSignature` of VS_FIXEDFILEINFO.
const FIXED_FILE_INFO: u32 = 0xfeef_04bd;

/// The entries of a list that begins with a 4-byte count. Some writers align the entries to 8 bytes, which shows only
/// in the stream being 4 bytes longer.
pub(super) fn entries(list: &[u8], count: usize, entry_bytes: usize) -> &[u8] {
    let padded = count
        .checked_mul(entry_bytes)
        .and_then(|n| n.checked_add(8));
    let skip = if padded == Some(list.len()) { 8 } else { 4 };
    list.get(skip..).unwrap_or_default()
}

impl Minidump<'_> {
    /// The modules. A name that cannot be read leaves an empty path.
    pub(super) fn modules(&self, warnings: &mut Vec<String>) -> Result<Vec<Module>, DumpError> {
        let list = self.optional(MODULE_LIST, warnings);
        let Some(count) = u32_at(&list, 0) else {
            warnings.push("The list of modules is missing.".to_owned());
            return Ok(Vec::new());
        };
        let count = admit("modules", count.into(), self.limits.modules)?;
        let entries = entries(&list, count, MODULE_BYTES);
        shortfall("modules", count, entries.len() / MODULE_BYTES, warnings);
        let records = entries.chunks_exact(MODULE_BYTES).take(count);
        let mut modules: Vec<Module> = records.filter_map(|r| self.module(r)).collect();
        modules.sort_by_key(|m| m.base);
        Ok(modules)
    }

    /// BaseOfImage 0, SizeOfImage 8, CheckSum 12, TimeDateStamp 16, ModuleNameRva 20, VersionInfo 24.
    fn module(&self, record: &[u8]) -> Option<Module> {
        let size = u32_at(record, 8)?;
        // VS_FIXEDFILEINFO: signature 0, product version MS 16 and LS 20.
        let signature = u32_at(record, 24)?;
        let (ms, ls) = (u32_at(record, 24 + 16)?, u32_at(record, 24 + 20)?);
        let version = [ms >> 16, ms & 0xffff, ls >> 16, ls & 0xffff].map(|v| v as u16);
        let stamp = u32_at(record, 16)?;
        Some(Module {
            base: u64_at(record, 0)?,
            size: size.into(),
            path: PathBuf::from(self.string(u32_at(record, 20)?.into()).unwrap_or_default()),
            build_id: [stamp.to_le_bytes(), size.to_le_bytes()].concat(),
            version: (signature == FIXED_FILE_INFO).then_some(version),
        })
    }

    /// The threads with their registers and, where the dump has them, names.
    pub(super) fn threads(
        &self,
        arch: Arch,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Thread>, DumpError> {
        let list = self.optional(THREAD_LIST, warnings);
        let Some(count) = u32_at(&list, 0) else {
            warnings
                .push("The list of threads is missing: stacks cannot be used as roots.".to_owned());
            return Ok(Vec::new());
        };
        let count = admit("threads", count.into(), self.limits.threads)?;
        let mut names = self.thread_names(warnings);
        let entries = entries(&list, count, THREAD_BYTES);
        shortfall("threads", count, entries.len() / THREAD_BYTES, warnings);
        let records = entries.chunks_exact(THREAD_BYTES).take(count);
        // ThreadId 0, ThreadContext (bytes, offset) 40.
        let thread = |record: &[u8]| {
            let os_id = u32_at(record, 0)?;
            let mut thread = Thread {
                os_id,
                name: names.remove(&os_id),
                ..Thread::default()
            };
            if u32_at(record, 40)? as usize >= CONTEXT_BYTES {
                self.context(u32_at(record, 44)?.into(), arch, &mut thread);
            }
            Some(thread)
        };
        Ok(records.filter_map(thread).collect())
    }

    /// The process environment block: what the thread environment blocks (Teb 16) of the dump point at, at 0x60 (winternl.h, 64 bits), and
    /// what names the base of a module as the program's at 0x10.
    pub(super) fn peb(&self, image: &ProcessImage) -> Option<u64> {
        let list = self.stream(THREAD_LIST).ok()?;
        let count = usize::try_from(u32_at(&list, 0)?).ok()?;
        let records = entries(&list, count, THREAD_BYTES).chunks_exact(THREAD_BYTES);
        let peb = |record: &[u8]| {
            let peb = image.memory.u64(u64_at(record, 16)?.checked_add(0x60)?)?;
            let program = image.memory.u64(peb.checked_add(0x10)?)?;
            let known = image.modules.iter().any(|m| m.base == program);
            known.then_some(peb)
        };
        // Of a thread that ended, the block may be anything; of hundreds of threads, one will do.
        records.take(count.min(64)).find_map(peb)
    }

    /// `CONTEXT` of winnt.h. x64: Rax 120 to R15 240 (Rsp 152), Rip 248. arm64: X0 to X30 from 8, Sp 256, Pc 264.
    fn context(&self, offset: u64, arch: Arch, thread: &mut Thread) {
        let mut context = [0; CONTEXT_BYTES];
        if self.source.read_at(offset, &mut context).unwrap_or(0) < CONTEXT_BYTES {
            return;
        }
        let (first, count, sp, ip) = match arch {
            Arch::X64 => (120, 17, 152, 248),
            Arch::Arm64 => (8, 33, 256, 264),
        };
        thread.registers = (0..count)
            .filter_map(|i| u64_at(&context, first + 8 * i))
            .collect();
        thread.sp = u64_at(&context, sp).unwrap_or(0);
        thread.ip = u64_at(&context, ip).unwrap_or(0);
    }

    /// `MINIDUMP_THREAD_NAME_LIST`: count, then (id `u32`, offset `u64`), packed.
    fn thread_names(&self, warnings: &mut Vec<String>) -> BTreeMap<u32, String> {
        let list = self.optional(THREAD_NAMES, warnings);
        let entries = list.get(4..).unwrap_or_default().chunks_exact(12);
        let name = |entry: &[u8]| Some((u32_at(entry, 0)?, self.string(u64_at(entry, 4)?)?));
        let most = usize::try_from(self.limits.threads).unwrap_or(usize::MAX);
        entries
            .take(most)
            .filter_map(name)
            .filter(|(_, name)| !name.is_empty())
            .collect()
    }

    /// `MINIDUMP_STRING`: length in bytes, UTF-16.
    fn string(&self, offset: u64) -> Option<String> {
        let mut length = [0; 4];
        (self.source.read_at(offset, &mut length).ok()? == 4).then_some(())?;
        let len = usize::try_from(u32::from_le_bytes(length)).ok()?;
        if len as u64 > 2 * self.limits.path_bytes {
            return None;
        }
        let mut bytes = vec![0; len];
        (self
            .source
            .read_at(offset.checked_add(4)?, &mut bytes)
            .ok()?
            == len)
            .then_some(())?;
        let units: Vec<u16> = bytes.chunks_exact(2).filter_map(|u| u16_at(u, 0)).collect();
        Some(String::from_utf16_lossy(&units))
    }
}

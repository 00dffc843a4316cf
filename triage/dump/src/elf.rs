//! ELF: the container of Linux cores and the shape of Linux modules.
//!
//! Field offsets are those of the System V ABI, "ELF-64 Object File Format", version 1.5, and of the kernel's
//! `include/uapi/linux/elf.h` and `elfcore.h`.

pub mod core;
pub mod module;
pub mod notes;

use crate::fields::{u32_at, u64_at};

/// Size of an ELF-64 file header, bytes.
pub const EHDR_BYTES: usize = 64;
/// Size of an ELF-64 program header, bytes.
pub const PHDR_BYTES: usize = 56;
/// Size of an ELF-64 section header, bytes.
pub const SHDR_BYTES: usize = 64;

/// `e_type` of a core.
pub const ET_CORE: u16 = 4;
/// `e_machine` of x86-64.
pub const EM_X86_64: u16 = 62;
/// `e_machine` of 64-bit ARM.
pub const EM_AARCH64: u16 = 183;
/// `e_phnum` when the real count lies in `sh_info` of section header 0.
pub const PN_XNUM: u16 = 0xffff;
/// Loadable segment.
pub const PT_LOAD: u32 = 1;
/// Dynamic linking information.
pub const PT_DYNAMIC: u32 = 2;
/// Notes.
pub const PT_NOTE: u32 = 4;
/// Executable.
pub const PF_X: u32 = 1;
/// Writable.
pub const PF_W: u32 = 2;
/// Readable.
pub const PF_R: u32 = 4;
/// Thread registers (`struct elf_prstatus`), owner `CORE`.
pub const NT_PRSTATUS: u32 = 1;
/// Process (`struct elf_prpsinfo`), owner `CORE`.
pub const NT_PRPSINFO: u32 = 3;
/// Auxiliary vector, owner `CORE`.
pub const NT_AUXV: u32 = 6;
/// Mapped files, owner `CORE` (`"FILE"`).
pub const NT_FILE: u32 = 0x4649_4c45;
/// `siginfo_t` of a thread, owner `CORE` (`"SIGI"`).
pub const NT_SIGINFO: u32 = 0x5349_4749;
/// Build id, owner `GNU`.
pub const NT_GNU_BUILD_ID: u32 = 3;
/// End of the dynamic section.
pub const DT_NULL: u64 = 0;
/// Address of the dynamic string table.
pub const DT_STRTAB: u64 = 5;
/// Offset of the library's own name in the string table.
pub const DT_SONAME: u64 = 14;
/// End of the auxiliary vector.
pub const AT_NULL: u64 = 0;
/// Address of the program headers of the executable.
pub const AT_PHDR: u64 = 3;

/// Owner of the notes that Leakhound adds to the cores it writes.
pub const LEAKHOUND_OWNER: &str = "LEAKHOUND";
/// Note of [`LEAKHOUND_OWNER`]: eight bytes of flags, of which [`FLAG_ZERO_TAILS`] is the first.
pub const NT_LEAKHOUND_FLAGS: u32 = 1;
/// The part of a segment beyond `p_filesz` was zero in the process (and is not merely "not dumped").
///
/// Without this flag such a tail is absent: createdump writes `p_filesz` 0 for file-backed code it skips
/// (seen in heap dumps of 3.1), the kernel shortens filtered mappings to their first page, and gdb writes no tails.
pub const FLAG_ZERO_TAILS: u64 = 1;
/// Note of [`LEAKHOUND_OWNER`]: names of threads. Repeated: thread id `u32`, length `u32`, UTF-8 bytes, padded to 4.
pub const NT_LEAKHOUND_THREAD_NAMES: u32 = 2;

/// One program header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramHeader {
    /// `PT_*`.
    pub kind: u32,
    /// `PF_*`.
    pub flags: u32,
    /// Offset in the file.
    pub offset: u64,
    /// Address.
    pub address: u64,
    /// Bytes in the file.
    pub file_bytes: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
}

impl ProgramHeader {
    /// Reads one from its 56 bytes; `None` when there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            kind: u32_at(bytes, 0)?,
            flags: u32_at(bytes, 4)?,
            offset: u64_at(bytes, 8)?,
            address: u64_at(bytes, 16)?,
            file_bytes: u64_at(bytes, 32)?,
            memory_bytes: u64_at(bytes, 40)?,
        })
    }
}

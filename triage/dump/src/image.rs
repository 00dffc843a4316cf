//! The one shape that every dump format and the live process are turned into.

use crate::memory::Memory;
use crate::module_files::{ModuleFile, ModuleFiles};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Operating system of the dumped process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Os {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}

/// Machine of the dumped process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// x86-64.
    X64,
    /// 64-bit ARM.
    Arm64,
}

/// A process as it stood at one moment.
pub struct ProcessImage {
    /// Operating system.
    pub os: Os,
    /// Machine.
    pub arch: Arch,
    /// Process id, when the dump says.
    pub pid: Option<u32>,
    /// The address space.
    pub memory: Arc<dyn Memory>,
    /// Loaded executables and libraries (ELF or PE), by base address.
    pub modules: Vec<Module>,
    /// Every file mapping (Linux NT_FILE or maps), sorted by start address.
    pub mapped_files: Vec<MappedFile>,
    /// What the system said of the whole address space, sorted (Windows, `VirtualQuery`); empty when the dump does not tell.
    pub address_map: Vec<AddressRange>,
    /// Open handles of the process (Windows), when the dump lists them.
    pub open_handles: Option<u64>,
    /// OS threads.
    pub threads: Vec<Thread>,
    /// Address of the process environment block (Windows).
    pub peb: Option<u64>,
    /// `AT_*` entries (Linux).
    pub auxv: BTreeMap<u64, u64>,
    /// What is odd about the container: truncated, overlapping, missing notes. One sentence each.
    pub warnings: Vec<String>,
    /// Files of the modules on this machine, when opening allowed to look for them.
    pub module_files: Option<Arc<ModuleFiles>>,
}

impl ProcessImage {
    /// An image with nothing but memory; the caller fills in what else it knows.
    #[must_use]
    pub fn new(os: Os, arch: Arch, memory: Arc<dyn Memory>) -> Self {
        Self {
            os,
            arch,
            pid: None,
            memory,
            modules: Vec::new(),
            mapped_files: Vec::new(),
            address_map: Vec::new(),
            open_handles: None,
            threads: Vec::new(),
            peb: None,
            auxv: BTreeMap::new(),
            warnings: Vec::new(),
            module_files: None,
        }
    }

    /// The proved file of `module` on this machine; `None` when there is none or looking was not allowed.
    #[must_use]
    pub fn module_file(&self, module: &Module) -> Option<ModuleFile> {
        self.module_files
            .as_ref()?
            .open(&*self.memory, &self.mapped_files, module)
    }
}

/// A loaded executable or library.
#[derive(Debug, Clone)]
pub struct Module {
    /// Address of its first byte (ELF header or `MZ`).
    pub base: u64,
    /// Bytes from the base to the end of its last mapping.
    pub size: u64,
    /// Path as the process knew it.
    pub path: PathBuf,
    /// GNU build id; for Windows modules time stamp and image size, four little-endian bytes each; or empty.
    pub build_id: Vec<u8>,
    /// Product version from VS_FIXEDFILEINFO (Windows), as four numbers.
    pub version: Option<[u16; 4]>,
}

impl Module {
    /// File name without its folder, whichever system's separator the path uses.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = self.path.to_str().unwrap_or_default();
        path.rsplit(['/', '\\']).next().unwrap_or(path)
    }
}

/// A file-backed mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedFile {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Offset in the file, bytes.
    pub offset: u64,
    /// Path as the process knew it.
    pub path: PathBuf,
}

/// A stretch of the address space that Windows knows as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// First address of the allocation that it is a part of.
    pub allocation: u64,
    /// Backed by memory or the page file; otherwise only reserved.
    pub committed: bool,
    /// What it is for.
    pub kind: AddressKind,
    /// Writable by the process.
    pub write: bool,
    /// Executable by the process.
    pub execute: bool,
}

/// `MEM_PRIVATE`, `MEM_MAPPED`, `MEM_IMAGE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressKind {
    /// Allocated by the process for itself.
    Private,
    /// A view of a file or of the page file.
    Mapped,
    /// A view of an executable image.
    Image,
}

/// An OS thread.
#[derive(Debug, Clone, Default)]
pub struct Thread {
    /// Kernel thread id.
    pub os_id: u32,
    /// Stack pointer.
    pub sp: u64,
    /// Instruction pointer.
    pub ip: u64,
    /// General purpose registers in the kernel's order (for conservative scanning).
    pub registers: Vec<u64>,
    /// Name (`comm`), when known.
    pub name: Option<String>,
}

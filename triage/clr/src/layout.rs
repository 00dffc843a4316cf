//! Layout: where things lie inside the runtime's own structures, by runtime family.
//!
//! What the runtime says about itself ([`crate::gc_vars`]) needs no table. The rest is here: one file per family, every entry
//! with the evidence it was taken from, and [`crate::runtime`] checks a table against the process before it believes it.
//! All numbers are byte offsets.

mod net10;
mod net31;
mod net8;
mod net9;

use leakhound_dump::{Arch, Os};

/// Offsets for one runtime family on one system.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Product version this serves: major and minor.
    pub version: (u16, u16),
    pub os: Os,
    pub arch: Arch,
    /// Seen right on real dumps. Tables computed from sources alone say `false`, and the report repeats it.
    pub proven: bool,
    pub dac: DacSlots,
    pub thread_store: ThreadStoreLayout,
    pub thread: ThreadLayout,
    pub module: ModuleLayout,
    pub app_domain: AppDomainLayout,
    pub token: TokenWord,
    pub statics: StaticsLayout,
}

/// Distances of entries in the table of variables from that of `g_gcDacGlobals`.
#[derive(Debug, Clone)]
pub(crate) struct DacSlots {
    pub thread_store: i32,
    pub free_method_table: i32,
    pub object_method_table: i32,
    pub string_method_table: i32,
    /// `g_global_alloc_context`, where the table has it.
    pub global_alloc_context: Option<i32>,
}

/// `ThreadStore`.
#[derive(Debug, Clone)]
pub(crate) struct ThreadStoreLayout {
    pub first_link: u64,
}

/// `Thread`.
#[derive(Debug, Clone)]
pub(crate) struct ThreadLayout {
    pub link: u64,
    pub os_id: u64,
    pub managed_id: u64,
    pub state: u64,
    pub preemptive_disabled: u64,
    pub frame: u64,
    /// Handle of the managed `System.Threading.Thread`.
    pub exposed_object: u64,
    pub alloc_context: AllocContextPlace,
    pub statics: u64,
}

/// Where a thread keeps the piece of gen0 it allocates from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AllocContextPlace {
    /// Inside of `Thread`.
    Inline(u64),
    /// Behind a pointer in `Thread`: the pointer's place, then the place behind it.
    Behind(u64, u64),
}

/// `Module` and what leads from it to its image.
#[derive(Debug, Clone)]
pub(crate) struct ModuleLayout {
    pub pe_assembly: u64,
    /// Places of the `PEImage` in the `PEAssembly` (or `PEFile`), the best first.
    pub pe_image: &'static [u64],
    /// Places of `PEImageLayout` pointers in the `PEImage`, the loaded one first.
    pub image_layouts: &'static [u64],
    /// The path in the `PEImage`: pointer to UTF-16 text.
    pub image_path: u64,
    pub type_def_map: u64,
    /// Hash of generic instances.
    pub instantiations: u64,
    pub instantiation_buckets: BucketShape,
}

/// Form of the hash of generic instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BucketShape {
    /// A plain array; its length is a field of the table.
    Plain,
    /// Three words lead: length, next (grown) array, seed of the end marks.
    Chained,
}

/// `AppDomain`: its list of assemblies, and the way from an entry to a `Module`.
#[derive(Debug, Clone)]
pub(crate) struct AppDomainLayout {
    pub assemblies: u64,
    /// Offsets to follow from a list entry, one dereference each.
    pub entry_to_module: &'static [u64],
}

/// Where a `MethodTable` keeps its TypeDef row id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenWord {
    /// 16 bits at 10; the module is a loader module or an optional slot (up to 8).
    Short,
    /// The upper 24 bits of the word at 8; the module at 24 is the defining one (from 9).
    Long,
}

/// How static fields are kept.
#[derive(Debug, Clone)]
pub(crate) enum StaticsLayout {
    /// One block per module: `DomainLocalModule` (up to 8).
    PerModule {
        /// `DomainLocalModule*` in `Module`.
        block: u64,
        /// Index of the module in the threads' tables, in `Module`.
        index: u64,
    },
    /// A record before each type's `AuxiliaryData` (from 9).
    PerType,
}

/// Every table, oldest first.
const TABLES: &[fn() -> Layout] = &[
    net31::linux_x64,
    net8::linux_x64,
    net9::linux_x64,
    net10::linux_x64,
];

/// Tables that may serve a runtime: those of its version, or of every version when that is unknown.
pub(crate) fn candidates(version: Option<(u16, u16)>, os: Os, arch: Arch) -> Vec<Layout> {
    let fits = |l: &Layout| l.os == os && l.arch == arch && version.is_none_or(|v| v == l.version);
    TABLES.iter().map(|table| table()).filter(fits).collect()
}

/// Versions that have a table, for messages.
pub(crate) fn supported() -> String {
    let names: Vec<String> = TABLES
        .iter()
        .map(|t| t())
        .map(|l| format!("{}.{}", l.version.0, l.version.1))
        .collect();
    names.join(", ")
}

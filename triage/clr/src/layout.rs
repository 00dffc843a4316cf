//! Layout: where things lie inside the runtime's own structures, by runtime family.
//!
//! What the runtime says about itself ([`crate::gc_vars`]) needs no table. The rest is here: one file per family, every entry
//! with the evidence it was taken from. [`choose()`] checks a table against the process before it believes it, lets the
//! runtime's own descriptor ([`descriptor`]) speak first, and finds by invariants ([`calibrate`]) what neither knows.
//! All numbers are byte offsets.

mod calibrate;
mod choose;
mod net10;
mod net31;
mod net5;
mod net6;
mod net7;
mod net8;
mod net9;

pub(crate) use choose::{Anchors, Chosen, Refusal, Scene, choose};

use leakhound_dump::{Arch, Os};
use serde::Serialize;

/// Where the offsets came from that a runtime is read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutSource {
    /// A table of this program, for this version.
    Table,
    /// The runtime's own contract descriptor, over such a table.
    Descriptor,
    /// Some or all were found in the process itself, by what must hold in any runtime.
    Calibrated,
}

/// An offset that nobody knows. Every address plus it overflows, and all sums here are checked: what hangs on it is absent.
pub(crate) const NOWHERE: u64 = u64::MAX;

/// The distance of a variable that nobody knows.
pub(crate) const NO_SLOT: i32 = i32::MIN;

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

impl Layout {
    /// Of which nothing is known yet.
    fn unknown(version: (u16, u16), os: Os, arch: Arch) -> Self {
        Self {
            version,
            os,
            arch,
            proven: false,
            dac: DacSlots {
                thread_store: NO_SLOT,
                free_method_table: NO_SLOT,
                object_method_table: NO_SLOT,
                string_method_table: NO_SLOT,
                global_alloc_context: None,
            },
            thread_store: ThreadStoreLayout {
                first_link: NOWHERE,
            },
            thread: ThreadLayout {
                link: NOWHERE,
                os_id: NOWHERE,
                managed_id: NOWHERE,
                state: NOWHERE,
                preemptive_disabled: NOWHERE,
                frame: NOWHERE,
                exposed_object: NOWHERE,
                alloc_context: AllocContextPlace::Inline(NOWHERE),
                statics: NOWHERE,
            },
            module: ModuleLayout {
                pe_assembly: NOWHERE,
                pe_image: &[],
                image_layouts: &[],
                image_path: NOWHERE,
                type_def_map: NOWHERE,
                instantiations: NOWHERE,
                instantiation_buckets: BucketShape::Chained,
            },
            app_domain: AppDomainLayout {
                assemblies: NOWHERE,
                entry_to_module: &[],
            },
            token: TokenWord::Long,
            statics: StaticsLayout::PerModule {
                block: NOWHERE,
                index: NOWHERE,
            },
        }
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    net31::windows_x64,
    net5::linux_x64,
    net5::windows_x64,
    net6::linux_x64,
    net6::windows_x64,
    net7::linux_x64,
    net7::windows_x64,
    net8::linux_x64,
    net8::windows_x64,
    net9::linux_x64,
    net9::windows_x64,
    net10::linux_x64,
    net10::windows_x64,
];

/// Tables that may serve a runtime: those of its version, or of every version when that is unknown, the proved ones first.
pub(crate) fn candidates(version: Option<(u16, u16)>, os: Os, arch: Arch) -> Vec<Layout> {
    let fits = |l: &Layout| l.os == os && l.arch == arch && version.is_none_or(|v| v == l.version);
    let mut tables: Vec<Layout> = TABLES.iter().map(|table| table()).filter(fits).collect();
    tables.sort_by_key(|table| !table.proven);
    tables
}

/// Versions that have a table, for messages: `8.0 (Linux X64), …`.
pub(crate) fn supported() -> String {
    let names: Vec<String> = TABLES
        .iter()
        .map(|t| t())
        .map(|l| format!("{}.{} ({:?} {:?})", l.version.0, l.version.1, l.os, l.arch))
        .collect();
    names.join(", ")
}

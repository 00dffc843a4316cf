//! .NET 10.
//!
//! Source: the contract descriptor of 10.0.9 (linux-x64), compared with real dumps of 10.0.9 and 10.0.13
//! (reference/clr-reader.md §1.4, §6 to §8, §13). Windows: the descriptor of 10.0.13 (win-x64), compared with its minidumps.

use super::*;

/// Linux x64.
pub(super) fn linux_x64() -> Layout {
    Layout {
        version: (10, 0),
        os: Os::Linux,
        arch: Arch::X64,
        proven: true,
        // inc/dacvars.h: 15, 19, 42, 45, 56; compared with the descriptor's globals.
        dac: DacSlots {
            thread_store: 15 - 19,
            free_method_table: 56 - 19,
            object_method_table: 42 - 19,
            string_method_table: 45 - 19,
            global_alloc_context: None,
        },
        // Descriptor: ThreadStore, Thread, RuntimeThreadLocals, EEAllocContext, GCAllocContext.
        thread_store: ThreadStoreLayout { first_link: 88 },
        thread: ThreadLayout {
            link: 112,
            os_id: 296,
            managed_id: 16,
            state: 0,
            preemptive_disabled: 4,
            frame: 8,
            exposed_object: 304,
            alloc_context: AllocContextPlace::Behind(32, 8),
            statics: 568,
        },
        // Descriptor: Module, PEAssembly, PEImage, PEImageLayout, EETypeHashTable.
        module: ModuleLayout {
            pe_assembly: 216,
            pe_image: &[8],
            image_layouts: &[128, 120],
            image_path: 16,
            type_def_map: 416,
            instantiations: 600,
            instantiation_buckets: BucketShape::Chained,
        },
        // Descriptor: AppDomain.DomainAssemblyList, Assembly.Module.
        app_domain: AppDomainLayout {
            assemblies: 576,
            entry_to_module: &[0, 16],
        },
        token: TokenWord::Long,
        statics: StaticsLayout::PerType,
    }
}

/// Windows x64: without PAL locks, and with the COM entries of the table of variables.
pub(super) fn windows_x64() -> Layout {
    Layout {
        os: Os::Windows,
        // inc/dacvars.h: 15, 19, 43, 46, 57.
        dac: DacSlots {
            thread_store: 15 - 19,
            free_method_table: 57 - 19,
            object_method_table: 43 - 19,
            string_method_table: 46 - 19,
            global_alloc_context: None,
        },
        thread_store: ThreadStoreLayout { first_link: 64 },
        thread: ThreadLayout {
            link: 120,
            os_id: 304,
            exposed_object: 312,
            statics: 592,
            ..linux_x64().thread
        },
        module: ModuleLayout {
            pe_assembly: 192,
            type_def_map: 344,
            instantiations: 528,
            ..linux_x64().module
        },
        app_domain: AppDomainLayout {
            assemblies: 408,
            entry_to_module: &[0, 16],
        },
        ..linux_x64()
    }
}

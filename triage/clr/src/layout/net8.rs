//! .NET 8.
//!
//! Source: found and verified on real dumps of 8.0.27 and 8.0.32 (linux-x64), statics, handles and threads included
//! (reference/clr-reader.md §1.4, §4, §6 to §8). Windows: calibrated on minidumps of 8.0.32 (win-x64) by the rules of §14.

use super::*;

/// Linux x64.
pub(super) fn linux_x64() -> Layout {
    Layout {
        version: (8, 0),
        os: Os::Linux,
        arch: Arch::X64,
        proven: true,
        // inc/dacvars.h: 16, 20, 36, 40, 43, 54.
        dac: DacSlots {
            thread_store: 16 - 20,
            free_method_table: 54 - 20,
            object_method_table: 40 - 20,
            string_method_table: 43 - 20,
            global_alloc_context: Some(36 - 20),
        },
        // vm/threads.h
        thread_store: ThreadStoreLayout { first_link: 160 },
        thread: ThreadLayout {
            link: 232,
            os_id: 424,
            managed_id: 32,
            state: 8,
            preemptive_disabled: 12,
            frame: 16,
            exposed_object: 432,
            alloc_context: AllocContextPlace::Inline(88),
            statics: 1080,
        },
        // vm/ceeload.h, vm/peassembly.h, vm/peimage.h
        module: ModuleLayout {
            pe_assembly: 272,
            pe_image: &[8],
            image_layouts: &[120, 112],
            image_path: 16,
            type_def_map: 752,
            instantiations: 968,
            instantiation_buckets: BucketShape::Chained,
        },
        // vm/appdomain.hpp: DomainAssembly -> Module
        app_domain: AppDomainLayout {
            assemblies: 2544,
            entry_to_module: &[24],
        },
        token: TokenWord::Short,
        // vm/appdomain.hpp: DomainLocalModule
        statics: StaticsLayout::PerModule {
            block: 1224,
            index: 1232,
        },
    }
}

/// Windows x64: without PAL locks, and with the COM entries of the table of variables.
pub(super) fn windows_x64() -> Layout {
    Layout {
        os: Os::Windows,
        // inc/dacvars.h: 16, 20, 36, 41, 44, 55.
        dac: DacSlots {
            thread_store: 16 - 20,
            free_method_table: 55 - 20,
            object_method_table: 41 - 20,
            string_method_table: 44 - 20,
            global_alloc_context: Some(36 - 20),
        },
        thread_store: ThreadStoreLayout { first_link: 64 },
        thread: ThreadLayout {
            link: 248,
            os_id: 440,
            exposed_object: 448,
            statics: 1120,
            ..linux_x64().thread
        },
        module: ModuleLayout {
            pe_assembly: 176,
            type_def_map: 368,
            instantiations: 584,
            ..linux_x64().module
        },
        app_domain: AppDomainLayout {
            assemblies: 1208,
            entry_to_module: &[24],
        },
        statics: StaticsLayout::PerModule {
            block: 744,
            index: 752,
        },
        ..linux_x64()
    }
}

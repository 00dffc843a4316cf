//! .NET Core 3.1.
//!
//! Source: dotnet/coreclr v3.1.23 headers compiled with clang and compared with real dumps of 3.1.23 (linux-x64), where every
//! compared offset agreed (reference/clr-reader.md §1.4, §4, §6 to §8). Windows: calibrated on
//! minidumps of 3.1.23 (win-x64) by the rules of §14.

use super::*;

/// Linux x64.
pub(super) fn linux_x64() -> Layout {
    Layout {
        version: (3, 1),
        os: Os::Linux,
        arch: Arch::X64,
        proven: true,
        // inc/dacvars.h: 16, 34, 53, 56, 68.
        dac: DacSlots {
            thread_store: 16 - 34,
            free_method_table: 68 - 34,
            object_method_table: 53 - 34,
            string_method_table: 56 - 34,
            global_alloc_context: None,
        },
        // vm/threads.h
        thread_store: ThreadStoreLayout { first_link: 168 },
        thread: ThreadLayout {
            link: 256,
            os_id: 456,
            managed_id: 36,
            state: 8,
            preemptive_disabled: 12,
            frame: 16,
            exposed_object: 464,
            alloc_context: AllocContextPlace::Inline(88),
            statics: 1080,
        },
        // vm/ceeload.h, vm/pefile.h, vm/peimage.h
        module: ModuleLayout {
            pe_assembly: 16,
            pe_image: &[16, 8],
            image_layouts: &[88, 80, 72],
            image_path: 16,
            type_def_map: 696,
            instantiations: 1024,
            instantiation_buckets: BucketShape::Plain,
        },
        // vm/appdomain.hpp: DomainAssembly -> Module
        app_domain: AppDomainLayout {
            assemblies: 2776,
            entry_to_module: &[32],
        },
        token: TokenWord::Short,
        // vm/appdomain.hpp: DomainLocalModule
        statics: StaticsLayout::PerModule {
            block: 1304,
            index: 1312,
        },
    }
}

/// Windows x64: without PAL locks, and with the COM entries of the table of variables.
pub(super) fn windows_x64() -> Layout {
    Layout {
        os: Os::Windows,
        // inc/dacvars.h: 16, 34, 55, 58, 70.
        dac: DacSlots {
            thread_store: 16 - 34,
            free_method_table: 70 - 34,
            object_method_table: 55 - 34,
            string_method_table: 58 - 34,
            global_alloc_context: None,
        },
        thread_store: ThreadStoreLayout { first_link: 64 },
        thread: ThreadLayout {
            link: 272,
            os_id: 472,
            exposed_object: 480,
            statics: 1120,
            ..linux_x64().thread
        },
        module: ModuleLayout {
            type_def_map: 280,
            instantiations: 608,
            ..linux_x64().module
        },
        app_domain: AppDomainLayout {
            assemblies: 1352,
            entry_to_module: &[32],
        },
        statics: StaticsLayout::PerModule {
            block: 784,
            index: 792,
        },
        ..linux_x64()
    }
}

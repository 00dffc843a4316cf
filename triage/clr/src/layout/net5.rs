//! .NET 5.
//!
//! Source: dotnet/runtime v5.0.2 headers (inc/dacvars.h, vm/threads.h, vm/ceeload.h, vm/peimage.h, vm/appdomain.hpp), structures laid
//! out by clang for Linux. Windows: the same with that system's locks (48 bytes instead of 144) and fields, as the tables of 3.1 and
//! 8, which were proved on both systems, differ. No dump has shown either yet.

use super::*;

/// Linux x64.
pub(super) fn linux_x64() -> Layout {
    Layout {
        version: (5, 0),
        os: Os::Linux,
        arch: Arch::X64,
        proven: false,
        // inc/dacvars.h: 17, 35, 54, 57, 69.
        dac: DacSlots {
            thread_store: 17 - 35,
            free_method_table: 69 - 35,
            object_method_table: 54 - 35,
            string_method_table: 57 - 35,
            global_alloc_context: None,
        },
        // vm/threads.h
        thread_store: ThreadStoreLayout { first_link: 160 },
        thread: ThreadLayout {
            link: 240,
            os_id: 432,
            managed_id: 32,
            state: 8,
            preemptive_disabled: 12,
            frame: 16,
            exposed_object: 440,
            alloc_context: AllocContextPlace::Inline(88),
            statics: 976,
        },
        // vm/ceeload.h, vm/pefile.h, vm/peimage.h
        module: ModuleLayout {
            pe_assembly: 16,
            pe_image: &[16, 8],
            image_layouts: &[104, 96, 88],
            image_path: 16,
            type_def_map: 664,
            instantiations: 992,
            instantiation_buckets: BucketShape::Plain,
        },
        // vm/appdomain.hpp: DomainAssembly -> Module
        app_domain: AppDomainLayout {
            assemblies: 2512,
            entry_to_module: &[32],
        },
        token: TokenWord::Short,
        // vm/appdomain.hpp: DomainLocalModule
        statics: StaticsLayout::PerModule {
            block: 1272,
            index: 1280,
        },
    }
}

/// Windows x64.
pub(super) fn windows_x64() -> Layout {
    Layout {
        os: Os::Windows,
        // One entry more behind SystemDomain: g_debuggerWordTLSIndex.
        dac: DacSlots {
            free_method_table: 70 - 35,
            object_method_table: 55 - 35,
            string_method_table: 58 - 35,
            ..linux_x64().dac
        },
        thread_store: ThreadStoreLayout { first_link: 64 },
        // m_pTEB and m_pRCWStack lie before the link.
        thread: ThreadLayout {
            link: 256,
            os_id: 448,
            exposed_object: 456,
            statics: 1016,
            ..linux_x64().thread
        },
        // Four locks before the maps, five before the statics.
        module: ModuleLayout {
            type_def_map: 280,
            instantiations: 608,
            ..linux_x64().module
        },
        // Not computed: calibration finds it.
        app_domain: AppDomainLayout {
            assemblies: NOWHERE,
            entry_to_module: &[32],
        },
        statics: StaticsLayout::PerModule {
            block: 792,
            index: 800,
        },
        ..linux_x64()
    }
}

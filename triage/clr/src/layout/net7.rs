//! .NET 7.
//!
//! Source: dotnet/runtime around the fork of release/7.0: vm/ceeload.h with `ModuleBase` and `PEAssembly`, still with
//! `m_moduleRef`; sizes of locks and maps as in 8, whose tables were proved on both systems. `Module::m_pSimpleName` at 256 is what
//! the eBPF profiler of OpenTelemetry reads in 7 (interpreter/dotnet/data.go); 8 has it at 264. `Thread` as in 8. inc/dacvars.h:
//! as in 6 without `g_pByReferenceClass`. What no source in reach told is left to calibration. No dump has shown any of it yet.

use super::*;

/// Linux x64.
pub(super) fn linux_x64() -> Layout {
    Layout {
        version: (7, 0),
        os: Os::Linux,
        arch: Arch::X64,
        proven: false,
        // inc/dacvars.h: distances, for the number of thread-pool entries before them is not certain.
        dac: DacSlots {
            thread_store: -18,
            free_method_table: 33,
            object_method_table: 19,
            string_method_table: 22,
            global_alloc_context: None,
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
            statics: NOWHERE,
        },
        // vm/ceeload.h, vm/peassembly.h, vm/peimage.h
        module: ModuleLayout {
            pe_assembly: 264,
            pe_image: &[8],
            image_layouts: &[120, 112],
            image_path: 16,
            type_def_map: 752,
            instantiations: 1000,
            instantiation_buckets: BucketShape::Chained,
        },
        app_domain: AppDomainLayout {
            assemblies: NOWHERE,
            entry_to_module: &[24],
        },
        token: TokenWord::Short,
        statics: StaticsLayout::PerModule {
            block: NOWHERE,
            index: NOWHERE,
        },
    }
}

/// Windows x64.
pub(super) fn windows_x64() -> Layout {
    Layout {
        os: Os::Windows,
        // One entry more behind SystemDomain: g_debuggerWordTLSIndex.
        dac: DacSlots {
            free_method_table: 34,
            object_method_table: 20,
            string_method_table: 23,
            ..linux_x64().dac
        },
        thread_store: ThreadStoreLayout { first_link: 64 },
        // m_pTEB and m_pRCWStack lie before the link.
        thread: ThreadLayout {
            link: 248,
            os_id: 440,
            exposed_object: 448,
            ..linux_x64().thread
        },
        // One lock of 48 bytes instead of 144 in ModuleBase, three more before the maps.
        module: ModuleLayout {
            pe_assembly: 168,
            type_def_map: 368,
            instantiations: 616,
            ..linux_x64().module
        },
        ..linux_x64()
    }
}

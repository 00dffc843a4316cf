//! .NET 6.
//!
//! Source: dotnet/runtime between the fork of release/6.0 and the months before it: inc/dacvars.h with `g_metadataUpdatesApplied`,
//! vm/ceeload.h without fragile images but still with `PEFile`; sizes of locks and maps from the tables of 5 and 8, which agree on
//! them. `Thread` as in 5: `m_pIBCInfo`, which 7 dropped, is in both. `Module::m_pSimpleName` at 8 is what the eBPF profiler of
//! OpenTelemetry reads in 6 (interpreter/dotnet/data.go). What no source in reach told is left to calibration. No dump has shown
//! any of it yet.

use super::*;

/// Linux x64.
pub(super) fn linux_x64() -> Layout {
    Layout {
        version: (6, 0),
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
            statics: NOWHERE,
        },
        // vm/ceeload.h: without m_pDllMain and m_symbolFormat, 16 bytes less than in 5 before the maps, and 8 less behind them.
        module: ModuleLayout {
            pe_assembly: 16,
            pe_image: &[16, 8],
            image_layouts: &[104, 96, 88],
            image_path: 16,
            type_def_map: 648,
            instantiations: 968,
            instantiation_buckets: BucketShape::Plain,
        },
        app_domain: AppDomainLayout {
            assemblies: NOWHERE,
            entry_to_module: &[32],
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
            ..linux_x64().thread
        },
        // Four locks of 48 bytes instead of 144.
        module: ModuleLayout {
            type_def_map: 264,
            instantiations: 584,
            ..linux_x64().module
        },
        ..linux_x64()
    }
}

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
    let before = net5::linux_x64();
    Layout {
        version: (6, 0),
        // vm/threads.h: no source told how many fields lie before the thread's statics.
        thread: ThreadLayout {
            statics: NOWHERE,
            ..before.thread
        },
        // vm/ceeload.h: without m_pDllMain and m_symbolFormat, 16 bytes less than in 5 before the maps, and 8 less behind them.
        module: ModuleLayout {
            type_def_map: 648,
            instantiations: 968,
            ..before.module
        },
        app_domain: AppDomainLayout {
            assemblies: NOWHERE,
            ..before.app_domain
        },
        statics: StaticsLayout::PerModule {
            block: NOWHERE,
            index: NOWHERE,
        },
        ..before
    }
}

/// Windows x64.
pub(super) fn windows_x64() -> Layout {
    let before = net5::windows_x64();
    Layout {
        version: (6, 0),
        thread: ThreadLayout {
            statics: NOWHERE,
            ..before.thread
        },
        // Four locks of 48 bytes instead of 144.
        module: ModuleLayout {
            type_def_map: 264,
            instantiations: 584,
            ..before.module
        },
        statics: linux_x64().statics,
        ..before
    }
}

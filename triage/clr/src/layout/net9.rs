//! .NET 9.
//!
//! Source: the contract descriptor of 9.0.5 (linux-x64) and real dumps of 9.0.1 and 9.0.5 for what it leaves out
//! (reference/clr-reader.md §1.4, §6 to §8, §13).

use super::*;

/// Linux x64.
pub(super) fn linux_x64() -> Layout {
    Layout {
        version: (9, 0),
        os: Os::Linux,
        arch: Arch::X64,
        proven: true,
        // inc/dacvars.h: 16, 20, 43, 46, 57; compared with the descriptor's globals.
        dac: DacSlots {
            thread_store: 16 - 20,
            free_method_table: 57 - 20,
            object_method_table: 43 - 20,
            string_method_table: 46 - 20,
            global_alloc_context: None,
        },
        // Descriptor: ThreadStore, Thread, RuntimeThreadLocals, GCAllocContext.
        thread_store: ThreadStoreLayout { first_link: 160 },
        thread: ThreadLayout {
            link: 112,
            os_id: 296,
            managed_id: 16,
            state: 0,
            preemptive_disabled: 4,
            frame: 8,
            exposed_object: 304,
            alloc_context: AllocContextPlace::Behind(32, 0),
            // ThreadLocalDataPtr, from dumps: the 9.0 descriptor lacks it.
            statics: 928,
        },
        // Descriptor: Module; PEAssembly and PEImage from dumps.
        module: ModuleLayout {
            pe_assembly: 280,
            pe_image: &[8],
            image_layouts: &[120, 112],
            image_path: 16,
            type_def_map: 624,
            instantiations: 808,
            instantiation_buckets: BucketShape::Chained,
        },
        // vm/appdomain.hpp, from dumps: DomainAssembly -> Module
        app_domain: AppDomainLayout {
            assemblies: 1824,
            entry_to_module: &[16],
        },
        token: TokenWord::Long,
        statics: StaticsLayout::PerType,
    }
}

/// Windows x64, computed: between 8 and 10, both proved on both systems, a lock went from 144 to 72 bytes on Linux and stayed
/// 48 on Windows, which tells how many of them lie before a field. What that leaves open is calibrated. No dump has shown it.
pub(super) fn windows_x64() -> Layout {
    Layout {
        os: Os::Windows,
        proven: false,
        // One entry more behind SystemDomain: g_debuggerWordTLSIndex, in 8 and in 10.
        dac: DacSlots {
            free_method_table: 58 - 20,
            object_method_table: 44 - 20,
            string_method_table: 47 - 20,
            ..linux_x64().dac
        },
        // One lock before, as in 8.
        thread_store: ThreadStoreLayout { first_link: 64 },
        // m_pTEB lies before the link, as in 10, where Linux has the same offsets.
        thread: ThreadLayout {
            link: 120,
            os_id: 304,
            exposed_object: 312,
            statics: NOWHERE,
            ..linux_x64().thread
        },
        // One lock in ModuleBase, two more before the maps.
        module: ModuleLayout {
            pe_assembly: 184,
            type_def_map: 336,
            instantiations: 520,
            ..linux_x64().module
        },
        app_domain: AppDomainLayout {
            assemblies: NOWHERE,
            ..linux_x64().app_domain
        },
        ..linux_x64()
    }
}

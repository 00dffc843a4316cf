//! .NET 8.
//!
//! Source: found and verified on real dumps of 8.0.27 and 8.0.32 (linux-x64), statics, handles and threads included
//! (reference/clr-reader.md §1.4, §4, §6 to §8).

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

//! .NET Core 3.1.
//!
//! Source: dotnet/coreclr v3.1.23 headers compiled with clang and compared with real dumps of 3.1.23 (linux-x64), where every
//! compared offset agreed (reference/clr-reader.md §1.4, §4, §6 to §8).

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

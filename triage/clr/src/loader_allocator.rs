//! What collectible classes are kept by (up to 8): their statics lie in slots of a managed `System.Reflection.LoaderAllocator`.
//!
//! Source: vm/loaderallocator.inl (`GetHandleValueFastPhase2`), vm/appdomain.hpp and vm/threadstatics.h
//! (`CollectibleDynamicEntry`). A module names its native allocator, and that one holds a handle of the managed one; both places
//! differ by version, the type of the object proves them.

use crate::method_table::could_be;
use crate::runtime::Runtime;
use leakhound_dump::MemoryExt;
use std::sync::PoisonError;

impl Runtime {
    /// The object behind a `LOADERHANDLE` of a module's allocator.
    pub(crate) fn loader_handle(&self, module: u64, handle: u64) -> Option<u64> {
        let allocator = self.loader_allocator(module)?;
        let slots = self.instance_field(self.type_of(allocator)?, "m_slots")?;
        let slots = self.read_reference(allocator, &slots)?;
        let index = (handle >> 1).checked_sub(1).filter(|_| handle & 1 == 0)?;
        if index >= u64::from(self.array_length(slots)?) {
            return None;
        }
        self.memory
            .u64(slots.checked_add(16 + index * 8)?)
            .filter(|o| could_be(*o))
    }

    fn loader_allocator(&self, module: u64) -> Option<u64> {
        let known = self
            .loader_allocators
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&module)
            .copied();
        known.unwrap_or_else(|| {
            let found = self.find_loader_allocator(module);
            self.loader_allocators
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(module, found);
            found
        })
    }

    fn find_loader_allocator(&self, module: u64) -> Option<u64> {
        /// `Module::m_loaderAllocator`, or in 3.1 `Assembly::m_pLoaderAllocator` at 64 behind `Module::m_pAssembly` at 48; the
        /// handle lies at 680 of 3.1's allocator.
        const MODULE_BYTES: u64 = 1_024;
        const ALLOCATOR_BYTES: u64 = 1_536;
        const ASSEMBLY_AT_MOST: u64 = 64;
        const ASSEMBLY_BYTES: u64 = 128;
        let words = |at: u64, bytes: u64| {
            (0..bytes)
                .step_by(8)
                .filter_map(move |offset| self.memory.u64(at.checked_add(offset)?))
                .filter(|word| could_be(*word))
        };
        let managed = |native: u64| {
            words(native, ALLOCATOR_BYTES).find_map(|handle| {
                let object = self.memory.u64(handle).filter(|o| could_be(*o))?;
                let info = self.type_info(self.type_of(object)?)?;
                (info.name == "System.Reflection.LoaderAllocator").then_some(object)
            })
        };
        words(module, MODULE_BYTES).find_map(managed).or_else(|| {
            words(module, ASSEMBLY_AT_MOST)
                .find_map(|assembly| words(assembly, ASSEMBLY_BYTES).find_map(managed))
        })
    }
}

//! Dictionaries of the framework, read by the names of their fields.
//!
//! `Dictionary<TKey, TValue>` has had the fields `_entries` and `_count`, and its entries `next`, `key` and `value`, in every version
//! from 3.1 to 10 (System.Private.CoreLib, Dictionary.cs).

use crate::limits;
use crate::runtime::Runtime;
use leakhound_dump::MemoryExt;

/// Where an entry keeps its key and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DictionaryEntry {
    pub key: u64,
    pub value: u64,
}

impl Runtime {
    /// Entries in use of a `Dictionary<TKey, TValue>`; `None` when the object is not one.
    pub(crate) fn dictionary_entries(&self, object: u64) -> Option<Vec<DictionaryEntry>> {
        let id = self.type_of(object)?;
        let (entries, count) = (
            self.instance_field(id, "_entries")?,
            self.instance_field(id, "_count")?,
        );
        let array = self.read_reference(object, &entries)?;
        if array == 0 {
            return Some(Vec::new());
        }
        let array_type = self.type_of(array)?;
        let stride = u64::from(self.type_info(array_type)?.component_size);
        let entry = self.element_type(array_type)?;
        // Fields of a struct are told as if it lay in a box; in an array it has no first word.
        let offset = |name: &str| {
            let field = self.instance_field(entry, name)?;
            u64::from(field.offset)
                .checked_sub(8)
                .filter(|at| *at < stride)
        };
        let (next, key, value) = (offset("next")?, offset("key")?, offset("value")?);
        let count = u32::try_from(self.read_i32(object, &count)?).ok()?;
        let count = count
            .min(self.array_length(array)?)
            .min(limits::DICTIONARY_ENTRIES);
        let mut found = Vec::new();
        for i in 0..u64::from(count) {
            let at = array.checked_add(16 + i * stride)?;
            // Free entries are chained by numbers below -1.
            if self.memory.u32(at + next)?.cast_signed() >= -1 {
                found.push(DictionaryEntry {
                    key: at + key,
                    value: at + value,
                });
            }
        }
        Some(found)
    }

    /// The object in a static field of a class of System.Private.CoreLib.
    pub(crate) fn core_static(&self, namespace: &str, class: &str, field: &str) -> Option<u64> {
        let table = self.core_table(namespace, class)?;
        let table = crate::method_table::MethodTable::read_loaded(&*self.memory, table)?;
        let (storage, fields) = self.static_storage(&table)?;
        let field = fields
            .iter()
            .find(|f| f.is_static && !f.thread_static && !f.in_image && f.raw_name == field)?;
        self.memory
            .u64(storage.checked_add(field.offset.into())?)
            .filter(|o| crate::method_table::could_be(*o))
    }

    /// Method table of a class of the core library; `None` when it is not loaded.
    pub(crate) fn core_table(&self, namespace: &str, class: &str) -> Option<u64> {
        let modules = self.modules.all();
        let core = modules
            .iter()
            .find(|m| m.name == "System.Private.CoreLib.dll")?;
        let metadata = core.metadata.as_ref()?;
        let rid = (1..=metadata.type_def_count()).find(|rid| {
            metadata
                .type_def(*rid)
                .is_some_and(|t| t.name == class && t.namespace == namespace)
        })?;
        core.type_defs
            .get(rid as usize)
            .copied()
            .filter(|table| *table != 0)
    }
}

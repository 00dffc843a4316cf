//! `[ThreadStatic]` fields: one slot for each thread that used them.
//!
//! Source: vm/threadstatics.h of each family; reference/clr-reader.md §8.5.

use crate::fields::{Field, FieldKind};
use crate::layout::StaticsLayout;
use crate::method_table::{MethodTable, could_be};
use crate::runtime::Runtime;
use crate::threads::ManagedThread;
use leakhound_dump::MemoryExt;
use serde::Serialize;

/// A thread's own value of a static field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThreadStaticField {
    /// `Namespace.Type.field`.
    pub name: String,
    /// The same with the type's short name.
    pub short_name: String,
    /// Managed id of the thread.
    pub managed_thread_id: u32,
    /// Address of its slot.
    pub slot: u64,
    /// The object in it; never 0.
    pub object: u64,
    /// The field is a struct, and the object its box.
    pub boxed_struct: bool,
}

impl Runtime {
    /// Thread-static references that are not null, of all threads.
    #[must_use]
    pub fn thread_statics(&self) -> Vec<ThreadStaticField> {
        let mut all = Vec::new();
        for table in self.loaded_types() {
            let fields = self.thread_static_fields(&table);
            if fields.is_empty() {
                continue;
            }
            let mut owner = None;
            for thread in &self.threads {
                let Some(storage) = self.thread_storage(&table, thread) else {
                    continue;
                };
                for field in &fields {
                    let Some(slot) = storage.checked_add(field.offset.into()) else {
                        continue;
                    };
                    let Some(object) = self.memory.u64(slot).filter(|o| could_be(*o)) else {
                        continue;
                    };
                    let owner = owner.get_or_insert_with(|| self.owner_of_statics(&table));
                    let (name, short_name) = owner.name(field);
                    all.push(ThreadStaticField {
                        name,
                        short_name,
                        managed_thread_id: thread.managed_id,
                        slot,
                        object,
                        boxed_struct: field.kind == FieldKind::Struct,
                    });
                }
            }
        }
        all.sort_by(|a, b| {
            a.name
                .cmp(&b.name)
                .then(a.managed_thread_id.cmp(&b.managed_thread_id))
        });
        all
    }

    fn thread_static_fields(&self, table: &MethodTable) -> Vec<Field> {
        let dynamic = matches!(self.layout.statics, StaticsLayout::PerModule { .. })
            .then(|| self.dynamic_statics(table))
            .flatten();
        let fields = match dynamic {
            Some((_, list)) => self
                .module_of_table(table)
                .map(|m| self.field_list(table, &m, list))
                .unwrap_or_default(),
            None => self.own_fields(table),
        };
        fields
            .into_iter()
            .filter(|f| f.thread_static && !matches!(f.kind, FieldKind::Primitive { .. }))
            .collect()
    }

    /// What field offsets count from: the thread's storage object for the class.
    fn thread_storage(&self, table: &MethodTable, thread: &ManagedThread) -> Option<u64> {
        let memory = &*self.memory;
        let own = thread.address.checked_add(self.layout.thread.statics)?;
        match self.layout.statics {
            StaticsLayout::PerType => {
                // ThreadStaticsInfo: 40 bytes before the auxiliary data; the index of the references is its second word.
                let index = memory.u32(table.auxiliary.checked_sub(36)?)?;
                let data = memory.u64(own).filter(|d| could_be(*d))?;
                let (kind, number) = (index >> 24, u64::from(index & 0xFF_FFFF));
                match kind {
                    // Element `number - 2` of an object[] holds the storage; offsets count from the storage object itself.
                    0 => {
                        let array = memory.u64(data.checked_add(8)?).filter(|a| could_be(*a))?;
                        let element = number
                            .checked_sub(2)
                            .filter(|n| *n < u64::from(memory.u32(array + 8).unwrap_or(0)))?;
                        memory
                            .u64(array.checked_add(16 + element * 8)?)
                            .filter(|o| could_be(*o))
                    }
                    // Collectible classes: an array of handles.
                    1 => {
                        let count = u64::from(memory.u32(data.checked_add(4)?)?);
                        let handles = memory
                            .u64(data.checked_add(16)?)
                            .filter(|h| could_be(*h) && number < count)?;
                        let handle = memory
                            .u64(handles.checked_add(number * 8)?)
                            .filter(|h| could_be(*h))?;
                        memory.u64(handle).filter(|o| could_be(*o))
                    }
                    _ => None,
                }
            }
            StaticsLayout::PerModule { index, .. } => {
                // ThreadLocalBlock: table of the modules' blocks at 0, its length at 8.
                let module = memory.u64(table.module.checked_add(index)?)?;
                let (blocks, count) = (memory.u64(own)?, memory.u64(own.checked_add(8)?)?);
                if module >= count.min(crate::limits::CLASS_TABLE) {
                    return None;
                }
                let block = memory
                    .u64(blocks.checked_add(module * 8)?)
                    .filter(|b| could_be(*b))?;
                let place = match self.dynamic_statics(table) {
                    None if table.has_dynamic_statics() => return None,
                    None => block.checked_add(16)?,
                    Some((id, _)) => self.class_entry(block, block.checked_add(8)?, id)?,
                };
                if table.is_collectible(false) {
                    let module = self.module_of_table(table)?;
                    let array = self.loader_handle(module.address, memory.u64(place)?)?;
                    return array.checked_add(16);
                }
                // A handle of an object[]; offsets count from its first element.
                let handle = memory.u64(place).filter(|h| could_be(*h))?;
                memory.u64(handle).filter(|o| could_be(*o))?.checked_add(16)
            }
        }
    }
}

//! Static fields: every reference slot with its name.
//!
//! Source: vm/appdomain.hpp `DomainLocalModule` (up to 8), vm/methodtable.h `DynamicStaticsInfo` (from 9);
//! reference/clr-reader.md §8. Static structs lie in boxes: their slot holds a reference too.

use crate::completeness::Problem;
use crate::fields::{Field, FieldKind};
use crate::layout::StaticsLayout;
use crate::limits;
use crate::method_table::{MethodTable, could_be};
use crate::modules::{self, Module};
use crate::names::Spelling;
use crate::runtime::Runtime;
use leakhound_dump::MemoryExt;
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;

/// A static field that holds a reference, or the box of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StaticField {
    /// `Namespace.Type.field`.
    pub name: String,
    /// The same with the type's short name.
    pub short_name: String,
    /// Address of its slot.
    pub slot: u64,
    /// The object in it; 0 for null.
    pub object: u64,
    /// The field is a struct, and the object its box.
    pub boxed_struct: bool,
    /// Method table of the class.
    #[serde(skip)]
    pub owner: u64,
}

impl Runtime {
    /// Every static reference field of every initialized class, generic instances included; null ones too.
    #[must_use]
    pub fn statics(&self) -> Vec<StaticField> {
        let mut all = Vec::new();
        let mut slots = HashSet::new();
        for table in self.loaded_types() {
            let Some((storage, fields)) = self.static_storage(&table) else {
                continue;
            };
            let held = fields
                .iter()
                .filter(|f| f.is_static && !f.thread_static && !f.in_image);
            let held = held.filter(|f| !matches!(f.kind, FieldKind::Primitive { .. }));
            let mut owner = None;
            for field in held {
                let Some(slot) = storage
                    .checked_add(field.offset.into())
                    .filter(|s| s % 8 == 0)
                else {
                    continue;
                };
                let Some(object) = self.memory.u64(slot) else {
                    self.log.count(Problem::DamagedStatics);
                    continue;
                };
                if !slots.insert(slot) || (object != 0 && !could_be(object)) {
                    continue;
                }
                let (full, short) = owner.get_or_insert_with(|| self.owner_names(&table));
                all.push(StaticField {
                    name: format!("{full}.{}", field.name),
                    short_name: format!("{short}.{}", field.name),
                    slot,
                    object,
                    boxed_struct: field.kind == FieldKind::Struct,
                    owner: table.address,
                });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name).then(a.slot.cmp(&b.slot)));
        all
    }

    pub(crate) fn owner_names(&self, table: &MethodTable) -> (String, String) {
        let name = self.type_name(table.address);
        (name.spell(Spelling::Full), name.spell(Spelling::Short))
    }

    /// Every loaded class of every module: definitions and generic instances.
    pub(crate) fn loaded_types(&self) -> Vec<MethodTable> {
        let mut tables = Vec::new();
        let mut seen = HashSet::new();
        for module in self.modules.all() {
            let room = limits::TYPES.saturating_sub(seen.len());
            let instances = modules::instantiations(
                &*self.memory,
                &self.layout,
                module.address,
                room,
                &self.log,
            );
            for handle in module.type_defs.iter().copied().chain(instances) {
                // Bit 1 marks pointers, references and the like, which have no statics.
                if handle & 2 != 0
                    || !could_be(handle)
                    || seen.len() >= limits::TYPES
                    || !seen.insert(handle)
                {
                    continue;
                }
                match MethodTable::read_loaded(&*self.memory, handle) {
                    Some(table) if !table.is_array() => tables.push(table),
                    Some(_) => {}
                    None => self.log.count(Problem::DamagedStatics),
                }
            }
        }
        tables
    }

    /// Start of a class's static references and its fields; `None` when it has none or was never initialized.
    fn static_storage(&self, table: &MethodTable) -> Option<(u64, Vec<Field>)> {
        match self.layout.statics {
            StaticsLayout::PerType => {
                let references = self.memory.u64(self.statics_record(table)?)? & !1;
                could_be(references).then(|| (references, self.own_fields(table)))
            }
            StaticsLayout::PerModule { block, .. } => {
                let block = self
                    .memory
                    .u64(table.module.checked_add(block)?)
                    .filter(|b| could_be(*b))?;
                let (place, fields) = match self.dynamic_statics(table) {
                    None => (block.checked_add(32)?, self.own_fields(table)),
                    Some((id, list)) => {
                        let entry =
                            self.class_entry(block.checked_add(8)?, block.checked_add(16)?, id)?;
                        let module: Arc<Module> = self.module_of_table(table)?;
                        (entry, self.field_list(table, &module, list))
                    }
                };
                let references = self.memory.u64(place)?;
                could_be(references).then_some((references, fields))
            }
        }
    }

    /// `DynamicStaticsInfo`, right before the auxiliary data: references at 0, other values at 8; bit 0: not initialized yet.
    fn statics_record(&self, table: &MethodTable) -> Option<u64> {
        const HAS_DYNAMIC_STATICS: u32 = 2;
        (table.flags2 & HAS_DYNAMIC_STATICS != 0).then(|| table.auxiliary.checked_sub(24))?
    }

    /// `GenericsStaticsInfo` (up to 8): the class's number in its module's table, and its own field descriptors.
    pub(crate) fn dynamic_statics(&self, table: &MethodTable) -> Option<(u64, u64)> {
        if !table.has_dynamic_statics() {
            return None;
        }
        let info = table.optional_members()?;
        let (list, id) = (
            self.memory.u64(info)?,
            self.memory.u64(info.checked_add(8)?)?,
        );
        could_be(list).then_some((id, list))
    }

    /// Entry of a class in a table of 16-byte records; `None` when it has no statics there yet.
    pub(crate) fn class_entry(&self, table_at: u64, count_at: u64, id: u64) -> Option<u64> {
        let (table, count) = (self.memory.u64(table_at)?, self.memory.u64(count_at)?);
        if id >= count.min(limits::CLASS_TABLE) {
            return None;
        }
        self.memory
            .u64(table.checked_add(id.checked_mul(16)?)?)
            .filter(|e| could_be(*e))
    }
}

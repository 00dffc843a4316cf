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
use crate::names::{Generated, Spelling, TypeName, generated};
use crate::runtime::Runtime;
use leakhound_dump::{MemoryExt, Os};
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

/// A class with static fields: its full and its short name.
pub(crate) struct StaticsOwner {
    names: (String, String),
    made: Option<MadeByCompiler>,
}

/// What is told of a class that the compiler made instead of its own name.
struct MadeByCompiler {
    owner: (String, String),
    generated: Generated,
    methods: Vec<String>,
}

impl StaticsOwner {
    /// Full and short name of a field: `Namespace.Type.field`, or what a field that the compiler made up holds.
    pub fn name(&self, field: &Field) -> (String, String) {
        let cached = self.made.as_ref().and_then(|made| {
            let methods: Vec<&str> = made.methods.iter().map(String::as_str).collect();
            let cached = generated::cached(&made.generated, &field.raw_name, &methods)?;
            Some((cached.write(&made.owner.0), cached.write(&made.owner.1)))
        });
        cached.unwrap_or_else(|| {
            (
                format!("{}.{}", self.names.0, field.name),
                format!("{}.{}", self.names.1, field.name),
            )
        })
    }
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
                let owner = owner.get_or_insert_with(|| self.owner_of_statics(&table));
                let (name, short_name) = owner.name(field);
                all.push(StaticField {
                    name,
                    short_name,
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

    /// How the static fields of a class are named.
    pub(crate) fn owner_of_statics(&self, table: &MethodTable) -> StaticsOwner {
        let name = self.type_name(table.address);
        let spell = |name: &TypeName| (name.spell(Spelling::Full), name.spell(Spelling::Short));
        let made = name.made_inside().map(|(owner, generated)| MadeByCompiler {
            owner: spell(&owner),
            generated: generated.clone(),
            methods: self.method_names(table),
        });
        StaticsOwner {
            names: spell(&name),
            made,
        }
    }

    fn method_names(&self, table: &MethodTable) -> Vec<String> {
        let read = || {
            let module = self.module_of_table(table)?;
            let metadata = module.metadata.as_ref()?;
            let methods = metadata
                .methods_of(self.type_def_of(table)?)
                .take(limits::FIELDS)
                .filter_map(|row| metadata.method_name(row));
            Some(methods.map(str::to_owned).collect())
        };
        read().unwrap_or_default()
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
    pub(crate) fn static_storage(&self, table: &MethodTable) -> Option<(u64, Vec<Field>)> {
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
                    None if table.has_dynamic_statics() => return None,
                    None => (block.checked_add(32)?, self.own_fields(table)),
                    Some((id, list)) => {
                        let entry =
                            self.class_entry(block.checked_add(8)?, block.checked_add(16)?, id)?;
                        let module: Arc<Module> = self.module_of_table(table)?;
                        let fields = self.field_list(table, &module, list);
                        if table.is_collectible(false) {
                            let handle = self.memory.u64(entry)?;
                            let array = self.loader_handle(module.address, handle)?;
                            return Some((array.checked_add(16)?, fields));
                        }
                        (entry, fields)
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

    /// Of a class whose statics lie apart from its module's (up to 8): its number in the module's table, and its field descriptors.
    ///
    /// Generic instances have a `GenericsStaticsInfo` with both. Classes of collectible and of emitted modules keep the number in
    /// `EEClassOptionalFields::m_cbModuleDynamicID` (vm/class.h): at 16 on Linux; Windows has fields of COM before it.
    pub(crate) fn dynamic_statics(&self, table: &MethodTable) -> Option<(u64, u64)> {
        /// vm/methodtable.h, `enum_flag_StaticsMask_Generics`.
        const GENERIC: u32 = 4;
        if !table.has_dynamic_statics() {
            return None;
        }
        let (list, id) = if table.flags & GENERIC != 0 {
            let info = table.optional_members()?;
            let id = self.memory.u64(info.checked_add(8)?)?;
            (self.memory.u64(info)?, id)
        } else {
            let class = table.class(&*self.memory)?;
            let optional = self
                .memory
                .u64(class.checked_add(8)?)
                .filter(|o| could_be(*o) && self.layout.os == Os::Linux)?;
            let id = self.memory.u32(optional.checked_add(16)?)?;
            (self.memory.u64(class.checked_add(24)?)?, u64::from(id))
        };
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

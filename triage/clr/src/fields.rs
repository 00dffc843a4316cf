//! Fields of classes: names, places, kinds.
//!
//! Source: vm/field.h, `FieldDesc` (16 bytes in every version); reference/clr-reader.md §8.1.

use crate::completeness::Problem;
use crate::limits;
use crate::method_table::MethodTable;
use crate::modules::Module;
use crate::names::generated;
use crate::runtime::Runtime;
use crate::shapes::TypeId;
use leakhound_dump::MemoryExt;
use serde::Serialize;

/// What a field holds (`CorElementType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// A reference.
    Reference,
    /// A struct, in place. Static ones lie in a box of their own.
    Struct,
    /// A number, character, truth value or pointer of this many bytes.
    Primitive {
        /// Its size.
        bytes: u8,
    },
}

/// A field as the runtime lays it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Name as it was written: properties bear their own name, not that of their backing field.
    pub name: String,
    /// Name as metadata has it.
    pub raw_name: String,
    /// What it holds.
    pub kind: FieldKind,
    /// For instance fields: bytes from the object's address. For static ones: bytes from their storage's start.
    pub offset: u32,
    /// Static.
    #[serde(rename = "static")]
    pub is_static: bool,
    /// Static, one for each thread.
    pub thread_static: bool,
    /// Static, in the image itself (`RVA`).
    #[serde(skip)]
    pub(crate) in_image: bool,
}

impl FieldKind {
    fn of(element_type: u32) -> Self {
        match element_type {
            0x02 | 0x04 | 0x05 => Self::Primitive { bytes: 1 },
            0x03 | 0x06 | 0x07 => Self::Primitive { bytes: 2 },
            0x08 | 0x09 | 0x0C => Self::Primitive { bytes: 4 },
            0x0A | 0x0B | 0x0D | 0x0F | 0x18 | 0x19 | 0x1B => Self::Primitive { bytes: 8 },
            0x11 => Self::Struct,
            _ => Self::Reference,
        }
    }
}

impl Runtime {
    /// Instance fields of a type, base classes first.
    #[must_use]
    pub fn instance_fields(&self, id: TypeId) -> Vec<Field> {
        let mut fields = Vec::new();
        for base in self.base_types(id).into_iter().rev() {
            let own = self
                .shapes
                .table(base)
                .map(|table| self.own_fields(&table))
                .unwrap_or_default();
            fields.extend(own.into_iter().filter(|f| !f.is_static));
        }
        fields
    }

    /// One instance field by either of its names. The most derived class wins.
    #[must_use]
    pub fn instance_field(&self, id: TypeId, name: &str) -> Option<Field> {
        self.instance_fields(id)
            .into_iter()
            .rev()
            .find(|f| f.raw_name == name || f.name == name)
    }

    /// The word of a reference field, or of any other of eight bytes.
    #[must_use]
    pub fn read_reference(&self, object: u64, field: &Field) -> Option<u64> {
        self.memory.u64(object.checked_add(field.offset.into())?)
    }

    /// The value of a 32-bit field.
    #[must_use]
    pub fn read_i32(&self, object: u64, field: &Field) -> Option<i32> {
        #[expect(clippy::cast_possible_wrap, reason = "the field is signed")]
        self.memory
            .u32(object.checked_add(field.offset.into())?)
            .map(|v| v as i32)
    }

    /// Fields that a class itself defines. For instances of generics these are the canonical ones.
    pub(crate) fn own_fields(&self, table: &MethodTable) -> Vec<Field> {
        let read = || {
            let class = table.class(&*self.memory)?;
            let list = self
                .memory
                .u64(class.checked_add(24)?)
                .filter(|l| *l != 0)?;
            let module = self.module_of_table(table)?;
            Some(self.field_list(table, &module, list))
        };
        read().unwrap_or_default()
    }

    /// Fields from a list of descriptors: as long as they name the same class and a row of its own.
    pub(crate) fn field_list(&self, table: &MethodTable, module: &Module, list: u64) -> Vec<Field> {
        let mut fields = Vec::new();
        let Some((metadata, rid)) = module.metadata.as_ref().zip(self.type_def_of(table)) else {
            return fields;
        };
        let rows = metadata.fields_of(rid);
        for i in 0..limits::FIELDS.min(rows.len()) as u64 {
            let Some(bytes) = list
                .checked_add(i * 16)
                .and_then(|at| self.memory.array::<16>(at))
            else {
                self.log.count(Problem::DamagedModule);
                break;
            };
            let owner = u64::from_le_bytes(bytes[..8].try_into().unwrap_or_default());
            let first = u32::from_le_bytes(bytes[8..12].try_into().unwrap_or_default());
            let second = u32::from_le_bytes(bytes[12..].try_into().unwrap_or_default());
            let row = first & 0xFF_FFFF;
            let own = owner == table.canonical() || owner == table.address;
            if !own || !rows.contains(&row) {
                break;
            }
            let Some(raw_name) = metadata.field_name(row) else {
                continue;
            };
            let is_static = first >> 24 & 1 != 0;
            let offset = second & 0x07FF_FFFF;
            fields.push(Field {
                name: generated::field(raw_name).to_owned(),
                raw_name: raw_name.to_owned(),
                kind: FieldKind::of(second >> 27),
                // Instance offsets count from behind the object's first word.
                offset: if is_static { offset } else { offset + 8 },
                is_static,
                thread_static: first >> 25 & 1 != 0,
                in_image: first >> 26 & 1 != 0,
            });
        }
        fields
    }
}

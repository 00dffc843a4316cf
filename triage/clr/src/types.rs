//! Types: names, kinds, and what leads from a method table to its definition.

use crate::completeness::Problem;
use crate::layout::TokenWord;
use crate::limits;
use crate::metadata::Metadata;
use crate::method_table::{MethodTable, could_be};
use crate::modules::Module;
use crate::names::{Generated, Part, Spelling, TypeName, generated};
use crate::runtime::Runtime;
use crate::shapes::TypeId;
use leakhound_dump::MemoryExt;
use serde::Serialize;
use std::sync::Arc;

/// A type as a report shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypeInfo {
    /// Its number.
    pub id: TypeId,
    /// Full name as C# writes it, with `System.String` for `string`; compiler-generated classes bear the name of their method.
    pub name: String,
    /// The same without namespaces.
    pub short_name: String,
    /// As the runtime stores it.
    pub raw_name: String,
    /// Address of its method table.
    pub method_table: u64,
    /// File name of its module; empty for arrays of unnamed types and free blocks.
    pub module: String,
    /// Bytes of an object without elements.
    pub base_size: u32,
    /// Bytes of one element; 0 when objects have none.
    pub component_size: u16,
    /// Objects hold references.
    pub has_references: bool,
    /// Objects have a finalizer.
    pub finalizable: bool,
    /// Lives in a collectible load context.
    pub collectible: bool,
    /// An array.
    pub array: bool,
    /// `System.String`.
    pub string: bool,
    /// A box around a value.
    pub value_type: bool,
    /// The type of free blocks.
    pub free: bool,
}

impl Runtime {
    /// What is known about a type.
    #[must_use]
    pub fn type_info(&self, id: TypeId) -> Option<Arc<TypeInfo>> {
        let cached = |infos: &Vec<Option<Arc<TypeInfo>>>| infos.get(id.index()).cloned().flatten();
        if let Some(info) = cached(
            &self
                .type_infos
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        ) {
            return Some(info);
        }
        let table = self.shapes.table(id)?;
        let info = Arc::new(self.describe(id, &table));
        let mut infos = self
            .type_infos
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if infos.len() <= id.index() {
            infos.resize(self.shapes.len().max(id.index() + 1), None);
        }
        infos[id.index()] = Some(Arc::clone(&info));
        Some(info)
    }

    /// Address of a type's method table. Ids are given in the order of discovery, which differs from walk to walk; what is shown
    /// in an order that must not differ is ordered by this.
    #[must_use]
    pub fn table_of(&self, id: TypeId) -> u64 {
        self.shapes.table(id).map_or(0, |table| table.address)
    }

    /// Number of types met so far; ids are below it.
    #[must_use]
    pub fn type_count(&self) -> usize {
        self.shapes.len()
    }

    /// The base class.
    #[must_use]
    pub fn base_type(&self, id: TypeId) -> Option<TypeId> {
        let parent = self.shapes.table(id)?.parent;
        (parent != 0).then(|| self.shapes.resolve(parent).map(|s| s.id))?
    }

    /// The type itself and its base classes up to `System.Object`.
    #[must_use]
    pub fn base_types(&self, id: TypeId) -> Vec<TypeId> {
        let mut chain = vec![id];
        while let Some(parent) = chain.last().and_then(|t| self.base_type(*t)) {
            if chain.len() >= limits::BASE_CLASSES || chain.contains(&parent) {
                break;
            }
            chain.push(parent);
        }
        chain
    }

    /// Element type of an array.
    #[must_use]
    pub fn element_type(&self, id: TypeId) -> Option<TypeId> {
        let table = self.shapes.table(id).filter(MethodTable::is_array)?;
        (table.slot1 & 2 == 0).then(|| self.shapes.resolve(table.slot1).map(|s| s.id))?
    }

    /// Type arguments of a generic instance; pointers and other types that no object has are left out.
    #[must_use]
    pub fn type_arguments(&self, id: TypeId) -> Vec<TypeId> {
        let table = self.shapes.table(id);
        let handles = table.map(|table| self.generic_arguments(&table));
        let handles = handles.unwrap_or_default().into_iter();
        handles
            .filter(|handle| handle & 2 == 0)
            .filter_map(|handle| self.type_of_table(handle))
            .collect()
    }

    /// Type of the object at an address.
    #[must_use]
    pub fn type_of(&self, object: u64) -> Option<TypeId> {
        Some(self.shapes.resolve(self.memory.u64(object)?)?.id)
    }

    /// Bytes of the object at an address, header and padding included.
    #[must_use]
    pub fn object_bytes(&self, object: u64) -> Option<u64> {
        let shape = self.shapes.resolve(self.memory.u64(object)?)?;
        let count = self.memory.u32(object.checked_add(8)?)?;
        Some(shape.size(count))
    }

    /// Number of the type with a method table.
    #[must_use]
    pub fn type_of_table(&self, method_table: u64) -> Option<TypeId> {
        Some(self.shapes.resolve(method_table)?.id)
    }

    /// The module that defines a type.
    #[must_use]
    pub fn module_of(&self, id: TypeId) -> Option<Arc<Module>> {
        self.module_of_table(&self.shapes.table(id)?)
    }

    fn describe(&self, id: TypeId, table: &MethodTable) -> TypeInfo {
        let name = self.type_name(table.address);
        let module = if id == TypeId::FREE {
            None
        } else {
            self.module_of_table(table)
        };
        TypeInfo {
            id,
            name: name.spell(Spelling::Full),
            short_name: name.spell(Spelling::Short),
            raw_name: name.spell(Spelling::Raw),
            method_table: table.address,
            module: module.map(|m| m.name.clone()).unwrap_or_default(),
            base_size: table.base_size,
            component_size: table.component_size(),
            has_references: table.has_references(),
            finalizable: table.has_finalizer(),
            collectible: table.is_collectible(self.layout.token == TokenWord::Long),
            array: table.is_array(),
            string: table.address == self.string_table,
            value_type: table.is_value_type(),
            free: id == TypeId::FREE,
        }
    }

    pub(crate) fn module_of_table(&self, table: &MethodTable) -> Option<Arc<Module>> {
        let mut address = table.module;
        if table.is_array() {
            // An array belongs where its innermost element does.
            let mut inner = *table;
            for _ in 0..limits::TYPE_NAME_DEPTH {
                if !inner.is_array() {
                    break;
                }
                inner = MethodTable::read(&*self.memory, inner.slot1)?;
            }
            return if inner.is_array() {
                None
            } else {
                self.module_of_table(&inner)
            };
        }
        if self.layout.token == TokenWord::Short && table.is_generic() {
            // vm/methodtable.h, GetModule: the canonical table may carry the defining module in an optional slot.
            let canonical = MethodTable::read(&*self.memory, table.canonical())?;
            address = match canonical.multipurpose_slot(0x10) {
                Some(slot) => self.memory.u64(slot)?,
                None => canonical.module,
            };
        }
        self.modules
            .get(&*self.memory, &self.layout, address, &self.log)
    }

    /// Row id of a type's definition.
    pub(crate) fn type_def_of(&self, table: &MethodTable) -> Option<u32> {
        match self.layout.token {
            TokenWord::Long => Some(table.flags2 >> 8),
            // All ones: the real row id is elsewhere, in modules with more than 65,534 types.
            TokenWord::Short => Some(table.flags2 >> 16).filter(|rid| *rid != 0xFFFF),
        }
        .filter(|rid| *rid != 0)
    }

    /// The name behind a type handle.
    pub(crate) fn type_name(&self, handle: u64) -> TypeName {
        self.type_name_within(handle, 0, &mut { limits::TYPE_NAME_NODES })
    }

    /// `nodes` is how many more types the whole name may be made of.
    fn type_name_within(&self, handle: u64, depth: usize, nodes: &mut usize) -> TypeName {
        if depth > limits::TYPE_NAME_DEPTH || *nodes == 0 {
            return TypeName::Text("…".into());
        }
        *nodes -= 1;
        if handle & 2 != 0 {
            return self.type_desc_name(handle & !2, depth, nodes);
        }
        if handle == self.free_table {
            return TypeName::Text("Free".into());
        }
        let Some(table) = MethodTable::read(&*self.memory, handle) else {
            return TypeName::Text(format!("unreadable type {handle:#x}"));
        };
        if table.is_array() {
            let element = Box::new(self.type_name_within(table.slot1, depth + 1, nodes));
            return TypeName::Array {
                element,
                rank: table.rank(),
                bounds: table.has_bounds(),
            };
        }
        let arguments = self
            .generic_arguments(&table)
            .into_iter()
            .map(|a| self.type_name_within(a, depth + 1, nodes))
            .collect();
        let module = self.module_of_table(&table);
        let rid = self.type_def_of(&table);
        let named = module
            .as_deref()
            .and_then(|m| definition_name(m.metadata.as_ref()?, rid?));
        let emitted = module.as_ref().is_some_and(|m| m.image == 0);
        let named = match named {
            None if emitted => self.emitted_name(table.address),
            named => named,
        };
        match named {
            Some((namespace, parts)) => TypeName::Named {
                namespace,
                parts,
                arguments,
            },
            None => {
                // Whoever emitted the type let go of its builder: nothing that a dump could hold was lost.
                if !emitted {
                    self.log.count(Problem::UnnamedType);
                }
                let module = module.map_or("unknown".into(), |m| m.name.clone());
                TypeName::Text(format!("{module}!{:#010x}", 0x0200_0000 | rid.unwrap_or(0)))
            }
        }
    }

    /// vm/typedesc.h: pointers, references, type variables, function pointers.
    fn type_desc_name(&self, at: u64, depth: usize, nodes: &mut usize) -> TypeName {
        // Behind a template or the exposed object's handle; in 5 to 8 there is neither.
        let mut argument = |at: u64| {
            let handle = [16, 8].into_iter().find_map(|offset| {
                self.memory
                    .u64(at.checked_add(offset)?)
                    .filter(|handle| self.is_type_handle(*handle))
            })?;
            Some(Box::new(self.type_name_within(handle, depth + 1, nodes)))
        };
        match self.memory.u32(at).map(|flags| flags & 0xFF) {
            Some(0x0F) => argument(at).map(TypeName::Pointer),
            Some(0x10) => argument(at).map(TypeName::ByRef),
            Some(0x14 | 0x1D) => argument(at).map(|element| {
                let template = self.array_template(at);
                TypeName::Array {
                    element,
                    rank: template.as_ref().map_or(1, MethodTable::rank),
                    bounds: template.as_ref().is_some_and(MethodTable::has_bounds),
                }
            }),
            Some(0x1B) => Some(self.function_pointer_name(at, depth, nodes)),
            Some(0x13 | 0x1E) => Some(TypeName::Text("T".into())),
            _ => None,
        }
        .unwrap_or_else(|| TypeName::Text(format!("unreadable type {at:#x}")))
    }

    /// A method table, or the tagged address of a description whose kind is known.
    fn is_type_handle(&self, handle: u64) -> bool {
        if handle & 3 == 2 {
            let kind = self.memory.u32(handle & !2).map(|flags| flags & 0xFF);
            return could_be(handle & !2)
                && matches!(kind, Some(0x0F | 0x10 | 0x13 | 0x14 | 0x1B | 0x1D | 0x1E));
        }
        MethodTable::read_loaded(&*self.memory, handle).is_some()
    }

    /// `FnPtrTypeDesc`: number of arguments, calling convention, then the types, what it returns first. The words before them grew:
    /// nothing in 3.1, the exposed object's handle and the loader's module since.
    fn function_pointer_name(&self, at: u64, depth: usize, nodes: &mut usize) -> TypeName {
        let handles = [(24, 32), (16, 24), (4, 16)]
            .into_iter()
            .find_map(|(count, first)| {
                let count = at.checked_add(count).and_then(|at| self.memory.u32(at))?;
                if count >= u32::from(limits::GENERIC_ARGUMENTS) {
                    return None;
                }
                (0..=u64::from(count))
                    .map(|i| {
                        self.memory
                            .u64(at.checked_add(first + i * 8)?)
                            .filter(|handle| self.is_type_handle(*handle))
                    })
                    .collect::<Option<Vec<u64>>>()
            });
        match handles.as_deref() {
            Some([result, arguments @ ..]) => TypeName::Function(
                arguments
                    .iter()
                    .chain([result])
                    .map(|handle| self.type_name_within(*handle, depth + 1, nodes))
                    .collect(),
            ),
            _ => TypeName::Text("delegate*".into()),
        }
    }

    /// The method table of an array type that 3.1 stores as an `ArrayTypeDesc`: `m_TemplateMT`, absolute or, in precompiled
    /// images, relative to its own place. Only it knows the rank.
    fn array_template(&self, at: u64) -> Option<MethodTable> {
        let place = at.checked_add(8)?;
        let word = self.memory.u64(place)?;
        [word, place.wrapping_add(word)]
            .into_iter()
            .filter_map(|table| MethodTable::read_valid(&*self.memory, table))
            .find(MethodTable::is_array)
    }

    /// Type handles of a generic instance's arguments.
    fn generic_arguments(&self, table: &MethodTable) -> Vec<u64> {
        let read = || {
            // PerInstInfo: an array of dictionaries, the last one is the type's own; the counts lie right before it.
            let dictionaries = Some(table.slot1).filter(|d| could_be(*d))?;
            let dictionary_count = self.memory.u16(dictionaries - 4)?;
            let argument_count = self.memory.u16(dictionaries - 2)?;
            if dictionary_count == 0 || argument_count > limits::GENERIC_ARGUMENTS {
                return None;
            }
            let own = self
                .memory
                .u64(dictionaries.checked_add(8 * (u64::from(dictionary_count) - 1))?)?;
            (0..u64::from(argument_count))
                .map(|i| self.memory.u64(own.checked_add(8 * i)?))
                .collect()
        };
        if table.is_generic_instance() {
            read().unwrap_or_default()
        } else {
            Vec::new()
        }
    }
}

/// Namespace and chain of nested classes of a definition, outermost first.
fn definition_name(metadata: &Metadata, rid: u32) -> Option<(String, Vec<Part>)> {
    let mut parts = Vec::new();
    let mut at = rid;
    loop {
        let definition = metadata.type_def(at)?;
        let generated = generated::may_be(definition.name).then(|| {
            let fields: Vec<&str> = metadata
                .fields_of(at)
                .take(limits::FIELDS)
                .filter_map(|f| metadata.field_name(f))
                .collect();
            let methods: Vec<&str> = metadata
                .methods_of(at)
                .take(limits::FIELDS)
                .filter_map(|m| metadata.method_name(m))
                .collect();
            Generated::of(
                definition.name,
                &fields,
                &methods,
                &metadata.generic_parameters(at),
            )
        });
        parts.push(Part {
            name: definition.name.to_owned(),
            generated: generated.flatten(),
        });
        match metadata.enclosing(at) {
            Some(outer) if parts.len() < limits::NESTED_CLASSES => at = outer,
            _ => {
                parts.reverse();
                return Some((definition.namespace.to_owned(), parts));
            }
        }
    }
}

//! Names of types that were emitted at run time (`System.Reflection.Emit`).
//!
//! Their metadata lives in the runtime's own editable tables, whose shape is private to it. But who emits types mostly keeps their
//! builders (proxies and mappers cache the module that they add to), and a builder knows name and result: `m_strName`,
//! `m_strNameSpace`, `m_DeclaringType`, `m_bakedRuntimeType`, and in that `RuntimeType.m_handle` (System.Private.CoreLib:
//! TypeBuilder.cs in 3.1 to 7, RuntimeTypeBuilder.cs from 8, RuntimeType in RtType.cs). A builder that was let go of may be dead and
//! still lie in the heap; its words are good until something else lies there, and then they are no builder's any more.

use crate::fields::Field;
use crate::limits;
use crate::names::{Generated, Part, generated};
use crate::runtime::Runtime;
use crate::shapes::TypeId;
use std::collections::HashMap;

/// The builder's class, by version.
const BUILDERS: [&str; 2] = ["RuntimeTypeBuilder", "TypeBuilder"];
/// Its namespace.
const NAMESPACE: &str = "System.Reflection.Emit";
/// UTF-16 units of a name that are read.
const NAME_UNITS: usize = 1_024;

/// Emitted types by the address of their method table.
#[derive(Debug, Default)]
pub(crate) struct Emitted {
    names: HashMap<u64, (String, Vec<Part>)>,
}

/// Where a builder keeps what is asked of it.
struct Places {
    name: Field,
    namespace: Field,
    outer: Field,
    baked: Field,
}

impl Runtime {
    /// Namespace and chain of nested classes of an emitted type. The first question walks the heap, once.
    pub(crate) fn emitted_name(&self, method_table: u64) -> Option<(String, Vec<Part>)> {
        let emitted = self.emitted.get_or_init(|| self.find_emitted());
        emitted.names.get(&method_table).cloned()
    }

    /// On this thread alone: somebody who waits for the result inside of a parallel walk would wait for himself.
    fn find_emitted(&self) -> Emitted {
        let mut found = Emitted::default();
        let builders: Vec<(TypeId, Places)> = BUILDERS
            .into_iter()
            .filter_map(|class| self.type_of_table(self.core_table(NAMESPACE, class)?))
            .filter_map(|id| Some((id, self.places(id)?)))
            .collect();
        if builders.is_empty() {
            return found;
        }
        let walker = self.walker();
        let mut tools = walker.tools();
        for range in &self.ranges {
            // What is damaged is told by the walk that somebody asked for.
            walker.walk_part(
                range,
                walker.start_of(range),
                range.end,
                &mut tools,
                |object| {
                    let builder = builders.iter().find(|(id, _)| *id == object.type_id);
                    if let Some((_, places)) = builder
                        && found.names.len() < limits::EMITTED_TYPES
                        && let Some((table, name)) = self.built(object.address, places)
                    {
                        found.names.insert(table, name);
                    }
                },
            );
        }
        found
    }

    fn places(&self, builder: TypeId) -> Option<Places> {
        let field = |name: &str| self.instance_field(builder, name);
        Some(Places {
            name: field("m_strName")?,
            namespace: field("m_strNameSpace")?,
            outer: field("m_DeclaringType")?,
            baked: field("m_bakedRuntimeType")?,
        })
    }

    fn built(&self, builder: u64, places: &Places) -> Option<(u64, (String, Vec<Part>))> {
        let baked = self.read_reference(builder, &places.baked)?;
        let handle = self.instance_field(self.type_of(baked)?, "m_handle")?;
        let table = self.read_reference(baked, &handle)?;
        let text = |object: u64, field: &Field| {
            self.string_text(self.read_reference(object, field)?, NAME_UNITS)
        };
        let mut parts = Vec::new();
        let mut at = builder;
        let outermost = loop {
            let name = text(at, &places.name)?;
            parts.push(Part {
                generated: generated::may_be(&name)
                    .then(|| Generated::of(&name, &[], &[], &[]))
                    .flatten(),
                name,
            });
            match self.read_reference(at, &places.outer) {
                Some(outer) if outer != 0 && parts.len() < limits::NESTED_CLASSES => at = outer,
                _ => break at,
            }
        };
        parts.reverse();
        let namespace = text(outermost, &places.namespace).unwrap_or_default();
        Some((table, (namespace, parts)))
    }
}

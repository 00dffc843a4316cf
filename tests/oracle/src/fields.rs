//! Static and thread-static references, class by class, with the debugging library's offsets and bases.

use crate::metadata::FieldNames;
use crate::sos::Dac;
use crate::sos::answers::{FieldData, ModuleData};
use crate::testimony::{Static, ThreadStatic};
use anyhow::Result;
use leakhound_dump::{Memory, MemoryExt};
use std::collections::{BTreeMap, BTreeSet};

/// CorElementType of structs: such a static lies in a box, and its slot holds a reference.
const STRUCT: i32 = 0x11;
/// CorElementType of references.
const REFERENCES: [i32; 5] = [0x0E, 0x12, 0x14, 0x1C, 0x1D];
/// Fields of one class, 16 bits in the runtime.
const MOST_FIELDS: usize = 1 << 16;

/// What was found, and what the library has no answer to.
#[derive(Debug, Default)]
pub struct Fields {
    pub statics: Vec<Static>,
    pub thread_statics: Vec<ThreadStatic>,
    /// Classes with static references whose place the library cannot tell: instances of generic ones, up to 8.
    pub unanswered: BTreeSet<u64>,
}

/// A static field of a class.
struct Found {
    name: String,
    data: FieldData,
}

/// Asks about all classes.
pub fn read(dac: &Dac, memory: &dyn Memory, classes: &BTreeSet<u64>) -> Result<Fields> {
    let threads = dac.threads()?;
    let mut modules: BTreeMap<u64, Option<(ModuleData, FieldNames)>> = BTreeMap::new();
    let mut fields = Fields::default();
    for class in classes {
        // The library knows no data of a table that is being loaded: the class has no statics yet.
        let Ok(table) = dac.method_table(*class) else {
            continue;
        };
        if table.is_free != 0 || table.module == 0 {
            continue;
        }
        let module = modules.entry(table.module).or_insert_with(|| {
            Some((
                dac.module(table.module).ok()?,
                dac.field_names(table.module).ok()?,
            ))
        });
        let Some((module, names)) = module else {
            continue;
        };
        let found = static_fields(dac, names, *class, table.parent)?;
        let (of_threads, of_class): (Vec<_>, Vec<_>) =
            found.iter().partition(|field| field.data.thread_local != 0);
        if table.dynamic != 0 && !dac.knows_static_bases() {
            if !found.is_empty() {
                fields.unanswered.insert(*class);
            }
            continue;
        }
        if !of_class.is_empty() {
            let base = if dac.knows_static_bases() {
                dac.static_base(*class)?
            } else {
                dac.module_statics(table.module)?
            };
            for field in of_class {
                let Some(slot) = base.map(|base| base + u64::from(field.data.offset)) else {
                    continue;
                };
                if let Some(object) = memory.u64(slot) {
                    fields.statics.push(Static {
                        owner: *class,
                        field: field.name.clone(),
                        slot,
                        object,
                        is_struct: field.data.kind == STRUCT,
                    });
                }
            }
        }
        if of_threads.is_empty() {
            continue;
        }
        for (address, thread) in &threads {
            let base = if dac.knows_static_bases() {
                dac.thread_static_base(*class, *address)?
            } else {
                dac.thread_module_statics(*address, module.module_index)?
            };
            for field in &of_threads {
                let Some(slot) = base.map(|base| base + u64::from(field.data.offset)) else {
                    continue;
                };
                if let Some(object) = memory.u64(slot).filter(|object| *object != 0) {
                    fields.thread_statics.push(ThreadStatic {
                        owner: *class,
                        field: field.name.clone(),
                        thread: thread.managed_id,
                        slot,
                        object,
                    });
                }
            }
        }
    }
    Ok(fields)
}

/// Static references of a class, thread-static ones included.
fn static_fields(dac: &Dac, names: &FieldNames, class: u64, parent: u64) -> Result<Vec<Found>> {
    let counts = dac.field_counts(class)?;
    let inherited = if parent == 0 {
        0
    } else {
        dac.field_counts(parent)?.instance
    };
    let all = usize::from(counts.instance.saturating_sub(inherited)) + usize::from(counts.statics);
    let mut found = Vec::new();
    let mut at = counts.first;
    for _ in 0..all.min(MOST_FIELDS) {
        if at == 0 {
            break;
        }
        let data = dac.field(at)?;
        at = data.next;
        if data.is_static == 0 || !(data.kind == STRUCT || REFERENCES.contains(&data.kind)) {
            continue;
        }
        let field = names.get(data.token)?;
        if !field.in_image {
            found.push(Found {
                name: field.name,
                data,
            });
        }
    }
    Ok(found)
}

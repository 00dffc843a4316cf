//! A sample of the types that objects have: what calibration tries its guesses on.

use super::super::Scene;
use crate::method_table::{MethodTable, could_be};
use leakhound_dump::MemoryExt;
use std::collections::{BTreeMap, HashMap};

/// Objects that are looked at in one range, and in all.
const OBJECTS: (usize, usize) = (20_000, 400_000);
/// Types that are enough.
const TYPES: usize = 4_096;

/// Types met in a heap.
pub(super) struct Sample {
    /// Classes that are neither generic nor arrays, by the module word in their method tables: up to 8 and since, and for
    /// these alone, that is the module that defines them.
    pub plain: BTreeMap<u64, Vec<MethodTable>>,
}

impl Sample {
    /// Walks the start of every range up to the first word that is no object: an allocation context, most likely.
    pub fn take(scene: &Scene<'_>, free: &MethodTable) -> Self {
        let memory = scene.memory;
        let mut known: HashMap<u64, Option<MethodTable>> =
            HashMap::from([(free.address, Some(*free))]);
        let mut left = OBJECTS.1;
        for range in scene.ranges {
            let mut at = range.start;
            for _ in 0..OBJECTS.0.min(left) {
                let Some(header) = memory.array::<16>(at) else {
                    break;
                };
                let word =
                    |i: usize| u64::from_le_bytes(header[i..i + 8].try_into().unwrap_or_default());
                let address = word(0) & !7;
                let Some(table) = *known
                    .entry(address)
                    .or_insert_with(|| MethodTable::read_valid(memory, address))
                else {
                    break;
                };
                left = left.saturating_sub(1);
                let count = if table.has_components() {
                    word(8) & 0xFFFF_FFFF
                } else {
                    0
                };
                let bytes = u64::from(table.base_size) + u64::from(table.component_size()) * count;
                at = at.saturating_add(((bytes + 7) & !7).max(24));
                if at >= range.end || known.len() > TYPES {
                    break;
                }
            }
        }
        // Base classes have no objects, but modules.
        let mut tables: BTreeMap<u64, MethodTable> = BTreeMap::new();
        let mut open: Vec<MethodTable> = known
            .into_values()
            .flatten()
            .filter(|t| t.address != free.address)
            .collect();
        while let Some(table) = open.pop() {
            if tables.len() <= TYPES && tables.insert(table.address, table).is_none() {
                open.extend(MethodTable::read_loaded(memory, table.parent));
            }
        }
        let mut plain: BTreeMap<u64, Vec<MethodTable>> = BTreeMap::new();
        for table in tables.into_values() {
            if !table.is_array()
                && !table.is_generic()
                && !table.has_components()
                && could_be(table.module)
            {
                plain.entry(table.module).or_default().push(table);
            }
        }
        Self { plain }
    }

    /// Addresses of the modules, those with most types first.
    pub fn modules(&self) -> Vec<u64> {
        let mut modules: Vec<(usize, u64)> = self
            .plain
            .iter()
            .map(|(module, tables)| (tables.len(), *module))
            .collect();
        modules.sort_unstable_by(|a, b| b.cmp(a));
        modules.into_iter().map(|(_, module)| module).collect()
    }
}

impl Scene<'_> {
    /// The valid type of the object at an address in the heap.
    pub(super) fn object_type(&self, address: u64) -> Option<MethodTable> {
        if !could_be(address) || !self.in_heap(address) {
            return None;
        }
        MethodTable::read_valid(self.memory, self.memory.u64(address)? & !7)
    }

    /// Objects can lie at an address.
    pub(super) fn in_heap(&self, address: u64) -> bool {
        let after = self.ranges.partition_point(|r| r.start <= address);
        after
            .checked_sub(1)
            .is_some_and(|i| address < self.ranges[i].end)
    }
}

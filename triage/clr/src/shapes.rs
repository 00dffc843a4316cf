//! Shapes: what the walk needs to know about a type, and nothing more.
//!
//! One table for all threads gives each method table a small number; one cache for each thread answers without a lock.

use crate::limits;
use crate::method_table::{MethodTable, could_be};
use leakhound_dump::Memory;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

/// Number of a type within one [`crate::Runtime`]: dense, from 0, in the order of discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TypeId(pub u32);

impl TypeId {
    /// The type of free blocks.
    pub const FREE: Self = Self(0);

    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Size rule of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub id: TypeId,
    pub base_size: u32,
    pub component_size: u16,
}

impl Shape {
    /// Bytes of an object with this many elements, as the heap rounds them.
    #[inline]
    pub fn size(&self, count: u32) -> u64 {
        let raw = u64::from(self.base_size) + u64::from(self.component_size) * u64::from(count);
        ((raw + 7) & !7).max(24)
    }
}

/// Every type met so far.
pub(crate) struct ShapeTable {
    memory: Arc<dyn Memory>,
    known: RwLock<Known>,
}

struct Known {
    tables: Vec<MethodTable>,
    ids: HashMap<u64, u32>,
}

impl ShapeTable {
    /// Starts with the type of free blocks as number 0.
    pub fn new(memory: Arc<dyn Memory>, free: MethodTable) -> Self {
        let ids = HashMap::from([(free.address, 0)]);
        Self {
            memory,
            known: RwLock::new(Known {
                tables: vec![free],
                ids,
            }),
        }
    }

    /// Number of types met so far.
    pub fn len(&self) -> usize {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .tables
            .len()
    }

    /// The method table of a type.
    pub fn table(&self, id: TypeId) -> Option<MethodTable> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .tables
            .get(id.index())
            .copied()
    }

    /// The number of a method table, after proving that it is one.
    pub fn resolve(&self, address: u64) -> Option<Shape> {
        let address = address & !7;
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(id) = known.ids.get(&address) {
                return Some(shape(*id, &known.tables[*id as usize]));
            }
        }
        let table = MethodTable::read_valid(&*self.memory, address)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known.ids.get(&address) {
            return Some(shape(*id, &known.tables[*id as usize]));
        }
        if known.tables.len() >= limits::TYPES {
            return None;
        }
        let id = u32::try_from(known.tables.len()).ok()?;
        known.tables.push(table);
        known.ids.insert(address, id);
        Some(shape(id, &table))
    }
}

fn shape(id: u32, table: &MethodTable) -> Shape {
    Shape {
        id: TypeId(id),
        base_size: table.base_size,
        component_size: table.component_size(),
    }
}

/// One thread's answers: open addressing over (address and component size, base size and number).
pub(crate) struct ShapeCache<'a> {
    table: &'a ShapeTable,
    slots: Vec<Slot>,
    used: usize,
    rejected: HashSet<u64>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// Address in the low 48 bits, component size in the upper 16; 0: empty.
    key: u64,
    base_size: u32,
    id: u32,
}

const ADDRESS_MASK: u64 = (1 << 48) - 1;

impl<'a> ShapeCache<'a> {
    pub fn new(table: &'a ShapeTable) -> Self {
        Self {
            table,
            slots: vec![Slot::default(); 1 << 12],
            used: 0,
            rejected: HashSet::new(),
        }
    }

    /// The shape behind an object's first word (mark bits and all); `None` when that is no method table.
    #[inline]
    pub fn get(&mut self, word: u64) -> Option<Shape> {
        self.known(word).or_else(|| self.miss(word & !7))
    }

    /// As [`Self::get`], of types that this thread has met before.
    #[inline]
    pub fn known(&self, word: u64) -> Option<Shape> {
        let address = word & !7;
        let mask = self.slots.len() - 1;
        let mut at = Self::hash(address) & mask;
        loop {
            let slot = self.slots[at];
            if slot.key & ADDRESS_MASK == address && slot.key != 0 {
                let component_size = (slot.key >> 48) as u16;
                return Some(Shape {
                    id: TypeId(slot.id),
                    base_size: slot.base_size,
                    component_size,
                });
            }
            if slot.key == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn hash(address: u64) -> usize {
        (address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
    }

    #[cold]
    fn miss(&mut self, address: u64) -> Option<Shape> {
        if !could_be(address) || address > ADDRESS_MASK || self.rejected.contains(&address) {
            return None;
        }
        let Some(shape) = self.table.resolve(address) else {
            if self.rejected.len() < limits::REJECTED_WORDS {
                self.rejected.insert(address);
            }
            return None;
        };
        if self.used * 2 >= self.slots.len() {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![Slot::default(); old.len() * 2];
            old.into_iter()
                .filter(|s| s.key != 0)
                .for_each(|s| self.put(s));
        }
        self.used += 1;
        self.put(Slot {
            key: address | u64::from(shape.component_size) << 48,
            base_size: shape.base_size,
            id: shape.id.0,
        });
        Some(shape)
    }

    fn put(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = Self::hash(slot.key & ADDRESS_MASK) & mask;
        while self.slots[at].key != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}

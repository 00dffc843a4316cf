//! Well-known objects, read as a person would: how many elements a collection holds and has room for, what a timer calls, where
//! an asynchronous method waits.
//!
//! Everything goes by the names of fields, which metadata gives for every runtime version; where a name is unknown the shape says
//! nothing. One file per shape, one line in `COLLECTIONS`.

mod array_pool;
mod blocking_collection;
mod channel;
mod concurrent_bag;
mod concurrent_dictionary;
mod concurrent_queue;
mod concurrent_stack;
mod conditional_weak_table;
mod db_context;
pub mod delegate;
mod dictionary;
mod exception;
mod execution_context;
mod hash_set;
pub mod http;
mod immutable;
mod lazy;
mod linked_list;
mod list;
mod memory_cache;
mod memory_stream;
mod priority_queue;
mod queue;
pub mod registration;
mod runtime_caching;
mod sorted;
pub mod state_machine;
mod string_builder;
mod thread_local;
mod thread_pool;
pub mod timer;
pub mod token_source;

use leakhound_clr::{Field, FieldKind, Runtime, TypeId};
use leakhound_dump::MemoryExt;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// What a collection says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Elements in it.
    pub count: u64,
    /// Elements that its storage has room for; equal to `count` where there is no such thing.
    pub capacity: u64,
    /// Bytes of the room for one element.
    pub slot_bytes: u64,
    /// Bytes that wait in it to be used again; 0 where it is not for that.
    pub idle_bytes: u64,
}

impl Reading {
    /// A collection whose storage is one object per element: it wastes nothing.
    #[must_use]
    pub fn linked(count: u64) -> Self {
        Self {
            count,
            capacity: count,
            ..Self::default()
        }
    }

    /// Bytes reserved for elements that are not there.
    #[must_use]
    pub fn wasted_bytes(&self) -> u64 {
        self.capacity
            .saturating_sub(self.count)
            .saturating_mul(self.slot_bytes)
    }
}

/// What kind of collection it is, for rules about backlogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Things are kept in it.
    Keeps,
    /// Things pass through it: who puts in is faster than who takes out when it is long.
    Queues,
    /// No collection, but something that holds things on behalf of others: told of whatever its size.
    Holds,
}

/// A shape: the types it reads and how.
pub struct Shape {
    /// Full names of type definitions, without type arguments.
    pub types: &'static [&'static str],
    /// What it is for.
    pub usage: Use,
    /// Reads one object; `None` when it is not laid out as expected.
    pub read: fn(&View<'_, '_>) -> Option<Reading>,
}

/// Every collection shape.
const COLLECTIONS: &[&Shape] = &[
    &list::SHAPE,
    &list::STACK,
    &queue::SHAPE,
    &priority_queue::SHAPE,
    &dictionary::SHAPE,
    &hash_set::SHAPE,
    &sorted::SET,
    &sorted::LIST,
    &linked_list::SHAPE,
    &concurrent_dictionary::SHAPE,
    &concurrent_queue::SHAPE,
    &concurrent_bag::SHAPE,
    &concurrent_stack::SHAPE,
    &blocking_collection::SHAPE,
    &channel::UNBOUNDED,
    &channel::BOUNDED,
    &channel::SINGLE_READER,
    &immutable::SHAPE,
    &conditional_weak_table::SHAPE,
    &memory_stream::SHAPE,
    &string_builder::SHAPE,
    &memory_cache::SHAPE,
    &thread_pool::GLOBAL,
    &thread_pool::LOCAL,
    &runtime_caching::SHAPE,
    &lazy::SHAPE,
    &thread_local::SHAPE,
    &execution_context::SHAPE,
    &array_pool::SHARED,
    &array_pool::OWN,
    &http::SHAPE,
];

/// Shapes whose derived types are read as they are.
const BASES: &[&Shape] = &[&db_context::SHAPE, &token_source::SHAPE];

/// The longest chain of links that is counted by hand.
const LINKS: u64 = 10_000_000;

/// Characters of a string that is read for a name.
const TEXT: usize = 256;

/// Reads well-known objects of one runtime; remembers where fields lie. One for each thread.
pub struct Reader<'a> {
    runtime: &'a Runtime,
    fields: RefCell<HashMap<(u32, &'static str), Option<Field>>>,
}

impl<'a> Reader<'a> {
    /// A reader that knows nothing yet.
    #[must_use]
    pub fn new(runtime: &'a Runtime) -> Self {
        Self {
            runtime,
            fields: RefCell::default(),
        }
    }

    /// The runtime it reads.
    #[must_use]
    pub fn runtime(&self) -> &'a Runtime {
        self.runtime
    }

    /// The object at an address, when its type can be told.
    #[must_use]
    pub fn view(&self, address: u64) -> Option<View<'_, 'a>> {
        let id = self.runtime.type_of(address)?;
        Some(View {
            reader: self,
            address,
            id,
        })
    }

    /// The object at an address whose type is known.
    #[must_use]
    pub fn view_as(&self, address: u64, id: TypeId) -> View<'_, 'a> {
        View {
            reader: self,
            address,
            id,
        }
    }

    fn field(&self, id: TypeId, name: &'static str) -> Option<Field> {
        self.fields
            .borrow_mut()
            .entry((id.0, name))
            .or_insert_with(|| self.runtime.instance_field(id, name))
            .clone()
    }
}

/// One object with its type.
#[derive(Clone, Copy)]
pub struct View<'r, 'a> {
    reader: &'r Reader<'a>,
    /// Its address.
    pub address: u64,
    /// Its type.
    pub id: TypeId,
}

impl<'r, 'a> View<'r, 'a> {
    /// What is known about its type.
    #[must_use]
    pub fn info(&self) -> Option<Arc<leakhound_clr::TypeInfo>> {
        self.reader.runtime.type_info(self.id)
    }

    /// Whether the type has such a field.
    #[must_use]
    pub fn has(&self, name: &'static str) -> bool {
        self.reader.field(self.id, name).is_some()
    }

    /// A whole number of 1, 4 or 8 bytes.
    #[must_use]
    pub fn int(&self, name: &'static str) -> Option<i64> {
        let field = self.reader.field(self.id, name)?;
        let at = self.address.checked_add(field.offset.into())?;
        let memory = self.reader.runtime.memory();
        #[expect(clippy::cast_possible_wrap, reason = "the fields are signed")]
        match field.kind {
            FieldKind::Primitive { bytes: 1 } => memory.u8(at).map(i64::from),
            FieldKind::Primitive { bytes: 4 } => memory.u32(at).map(|v| i64::from(v as i32)),
            FieldKind::Primitive { bytes: 8 } => memory.u64(at).map(|v| v as i64),
            _ => None,
        }
    }

    /// A number that counts something.
    #[must_use]
    pub fn count(&self, name: &'static str) -> Option<u64> {
        u64::try_from(self.int(name)?).ok()
    }

    /// The first of several names that there is, as a number that counts something.
    #[must_use]
    pub fn count_of(&self, names: &[&'static str]) -> Option<u64> {
        names.iter().find_map(|name| self.count(name))
    }

    /// The address in a reference field; 0 for null.
    #[must_use]
    pub fn address_in(&self, name: &'static str) -> Option<u64> {
        let field = self.reader.field(self.id, name)?;
        (field.kind == FieldKind::Reference)
            .then(|| self.reader.runtime.read_reference(self.address, &field))?
    }

    /// The object in a reference field; `None` for null too.
    #[must_use]
    pub fn object(&self, name: &'static str) -> Option<View<'r, 'a>> {
        self.address_in(name)
            .filter(|address| *address != 0)
            .and_then(|address| self.reader.view(address))
    }

    /// The first of several names that there is.
    #[must_use]
    pub fn object_of(&self, names: &[&'static str]) -> Option<View<'r, 'a>> {
        names.iter().find_map(|name| self.object(name))
    }

    /// Address of a field's own bytes.
    #[must_use]
    pub fn place(&self, name: &'static str) -> Option<u64> {
        let field = self.reader.field(self.id, name)?;
        self.address.checked_add(field.offset.into())
    }

    /// Elements of an array.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.info()
            .filter(|info| info.array)
            .and_then(|_| self.reader.runtime.array_length(self.address))
            .map(u64::from)
    }

    /// Bytes of one element of an array.
    #[must_use]
    pub fn element_bytes(&self) -> u64 {
        self.info().map_or(0, |info| u64::from(info.component_size))
    }

    /// Objects in an array of references, at most `most`; empty places are left out.
    #[must_use]
    pub fn elements(&self, most: usize) -> Option<Vec<Self>> {
        let references = self.reader.runtime.array_references(self.address, most)?;
        let there = references.into_iter().filter(|address| *address != 0);
        there.map(|address| self.reader.view(address)).collect()
    }

    /// Size of the object.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.reader.runtime.object_bytes(self.address)
    }

    /// Content of a string, cut where no name is longer.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.info().filter(|info| info.string)?;
        self.reader.runtime.string_text(self.address, TEXT)
    }

    /// Length and element size of the array in a field; an absent array has no room.
    #[must_use]
    pub fn room(&self, name: &'static str) -> Option<(u64, u64)> {
        match self.address_in(name)? {
            0 => Some((0, 0)),
            address => {
                let array = self.reader.view(address)?;
                Some((array.length()?, array.element_bytes()))
            }
        }
    }

    /// `count` elements in the array of a field.
    #[must_use]
    pub fn reading(&self, count: u64, array: &'static str) -> Option<Reading> {
        let (capacity, slot_bytes) = self.room(array)?;
        (count <= capacity).then_some(Reading {
            count,
            capacity,
            slot_bytes,
            ..Reading::default()
        })
    }

    /// Follows a chain of links from the object in `first` and counts it; `None` when it is longer than anybody's chain.
    #[must_use]
    pub fn chain(&self, first: &'static str, next: &'static str) -> Option<u64> {
        let mut at = self.address_in(first)?;
        let mut links = 0;
        while at != 0 {
            links += 1;
            if links > LINKS {
                return None;
            }
            at = self.reader.view(at)?.address_in(next)?;
        }
        Some(links)
    }

    /// Reads it as the collection that it is.
    #[must_use]
    pub fn collection(&self) -> Option<Reading> {
        let shape = shape_of(&self.info()?.raw_name)?;
        (shape.read)(self)
    }
}

/// The shape of a type, or of the one that it derives from.
#[must_use]
pub fn shape_of_type(runtime: &Runtime, id: TypeId) -> Option<&'static Shape> {
    let info = runtime.type_info(id)?;
    if info.array || info.string || info.value_type {
        return None;
    }
    shape_of(&info.raw_name).or_else(|| {
        runtime.base_types(id).into_iter().find_map(|base| {
            let base = runtime.type_info(base)?;
            BASES
                .iter()
                .copied()
                .find(|shape| shape.types.contains(&base.raw_name.as_str()))
        })
    })
}

/// The shape of a type by its raw name: `System.Collections.Generic.List`1[System.String]`.
#[must_use]
pub fn shape_of(raw_name: &str) -> Option<&'static Shape> {
    if raw_name.ends_with("[]") {
        return None;
    }
    let definition = raw_name.split('[').next().unwrap_or_default();
    COLLECTIONS
        .iter()
        .copied()
        .find(|shape| shape.types.contains(&definition))
}

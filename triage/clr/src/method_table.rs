//! `MethodTable`: what every object's first word points at.
//!
//! Source: vm/methodtable.h of 3.1 to 10, reference/clr-reader.md §4. The shape of its first 64 bytes did not change; what
//! the type token and the module word mean did ([`crate::layout::TokenWord`]).

use leakhound_dump::{Memory, MemoryExt};

const HAS_COMPONENT_SIZE: u32 = 0x8000_0000;
const CONTAINS_POINTERS: u32 = 0x0100_0000;
const HAS_FINALIZER: u32 = 0x0010_0000;
const CATEGORY_ARRAY_MASK: u32 = 0x000C_0000;
const CATEGORY_ARRAY: u32 = 0x0008_0000;
const CATEGORY_SZ_ARRAY: u32 = 0x0002_0000;
const GENERICS_MASK: u32 = 0x30;
const GENERICS_TYPICAL: u32 = 0x30;

/// The fixed part of a method table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MethodTable {
    pub address: u64,
    pub flags: u32,
    pub base_size: u32,
    /// The word at 8: `wFlags2` and the token (up to 8), `MTFlags2` (from 9).
    pub flags2: u32,
    pub virtual_count: u16,
    pub parent: u64,
    /// The word at 24: loader module (up to 8) or defining module (from 9).
    pub module: u64,
    /// The word at 32: writeable data or `AuxiliaryData`.
    pub auxiliary: u64,
    class_or_canonical: u64,
    /// The word at 48: dictionaries, element type or an optional slot.
    pub slot1: u64,
    /// The word at 56: interface map or an optional slot.
    pub slot2: u64,
}

impl MethodTable {
    /// Reads the fixed part; proves nothing.
    pub fn read(memory: &dyn Memory, address: u64) -> Option<Self> {
        if !could_be(address) {
            return None;
        }
        let bytes: [u8; 64] = memory.array(address)?;
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        Some(Self {
            address,
            flags: half(0),
            base_size: half(4),
            flags2: half(8),
            virtual_count: u16::from_le_bytes([bytes[12], bytes[13]]),
            parent: word(16),
            module: word(24),
            auxiliary: word(32),
            class_or_canonical: word(40),
            slot1: word(48),
            slot2: word(56),
        })
    }

    /// Reads and proves it: its class points back at its canonical method table, in every version.
    pub fn read_loaded(memory: &dyn Memory, address: u64) -> Option<Self> {
        let table = Self::read(memory, address)?;
        let canonical = table.canonical();
        let class = if canonical == address {
            table.class_or_canonical
        } else {
            Self::read(memory, canonical)?.class_or_canonical
        };
        // A canonical table leads to a class, never to a third table.
        (class & 3 == 0 && class != 0 && memory.u64(class.checked_add(16)?)? == canonical)
            .then_some(table)
    }

    /// As [`Self::read_loaded`], of a type that objects can have: those of interfaces have no size.
    pub fn read_valid(memory: &dyn Memory, address: u64) -> Option<Self> {
        Self::read_loaded(memory, address).filter(|t| (16..=1 << 30).contains(&t.base_size))
    }

    /// The method table that holds the class: itself, or the one shared by instances over references.
    /// The tag was 2 up to 5 and is 1 since; neither ever meant anything else.
    pub fn canonical(&self) -> u64 {
        if matches!(self.class_or_canonical & 3, 1 | 2) {
            self.class_or_canonical & !3
        } else {
            self.address
        }
    }

    /// Address of the `EEClass`.
    pub fn class(&self, memory: &dyn Memory) -> Option<u64> {
        let canonical = self.canonical();
        let word = if canonical == self.address {
            self.class_or_canonical
        } else {
            memory.u64(canonical.checked_add(40)?)?
        };
        (word != 0 && word & 3 == 0).then_some(word)
    }

    /// Bytes of one element of an array or string; 0 for other objects.
    pub fn component_size(&self) -> u16 {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is the size")]
        if self.flags & HAS_COMPONENT_SIZE != 0 {
            self.flags as u16
        } else {
            0
        }
    }

    /// Objects have a length word.
    pub fn has_components(&self) -> bool {
        self.flags & HAS_COMPONENT_SIZE != 0
    }

    /// Objects hold references.
    pub fn has_references(&self) -> bool {
        self.flags & CONTAINS_POINTERS != 0
    }

    /// Objects have a finalizer.
    pub fn has_finalizer(&self) -> bool {
        self.flags & HAS_FINALIZER != 0
    }

    /// An array of any rank.
    pub fn is_array(&self) -> bool {
        self.flags & CATEGORY_ARRAY_MASK == CATEGORY_ARRAY
    }

    /// A value type, so that an object of it is a box.
    pub fn is_value_type(&self) -> bool {
        self.flags & CATEGORY_ARRAY_MASK == 0x0004_0000
    }

    /// Number of dimensions of an array; only multi-dimensional ones carry bounds (8 bytes each).
    pub fn rank(&self) -> u32 {
        if self.flags & CATEGORY_SZ_ARRAY != 0 {
            1
        } else {
            (self.base_size.saturating_sub(24) / 8).clamp(1, 32)
        }
    }

    /// An array with bounds; `T[*]` when its rank is 1.
    pub fn has_bounds(&self) -> bool {
        self.is_array() && self.flags & CATEGORY_SZ_ARRAY == 0
    }

    /// A generic instance (not the definition itself).
    pub fn is_generic_instance(&self) -> bool {
        !self.has_components() && !matches!(self.flags & GENERICS_MASK, 0 | GENERICS_TYPICAL)
    }

    /// Generic at all.
    pub fn is_generic(&self) -> bool {
        !self.has_components() && self.flags & GENERICS_MASK != 0
    }

    /// Lives in a collectible load context. The bit moved in 9.
    pub fn is_collectible(&self, modern: bool) -> bool {
        self.flags & if modern { 0x0020_0000 } else { 0x1000_0000 } != 0
    }

    /// Statics kept apart from the module's block (up to 8).
    pub fn has_dynamic_statics(&self) -> bool {
        !self.has_components() && self.flags & 6 != 0
    }

    /// Looks like the runtime's own table for free blocks.
    pub fn is_free_pattern(&self) -> bool {
        self.flags & 0x8000_FFFF == 0x8000_0001
            && self.base_size == 24
            && self.class_or_canonical == 0
            && self.parent == 0
    }

    /// Looks like that of strings: two bytes for each character, and one that ends the text.
    pub fn is_string_pattern(&self) -> bool {
        self.base_size == 22 && self.component_size() == 2
    }
}

/// A canonical, aligned, non-null user address.
pub(crate) fn could_be(address: u64) -> bool {
    address.is_multiple_of(8) && (0x1_0000..1 << 57).contains(&address)
}

impl MethodTable {
    /// Address of an optional "multipurpose" slot (up to 8): 1 dictionaries, 2 interfaces, 4 dispatch, 8 non-virtual slots,
    /// 0x10 module override. `None` when the table has no such slot.
    ///
    /// vm/methodtable.h, `MultipurposeSlotOffset`: two slots lie in the fixed part, the others behind the vtable indirections.
    pub fn multipurpose_slot(&self, flag: u32) -> Option<u64> {
        if self.flags2 & flag == 0 {
            return None;
        }
        self.address
            .checked_add(self.slot_offset(self.flags2 & (flag - 1)))
    }

    /// Address behind all multipurpose slots: the first optional member.
    pub fn optional_members(&self) -> Option<u64> {
        // Virtual methods are reached through chunks of eight.
        let indirections = 8 * u64::from(self.virtual_count).div_ceil(8);
        let n = slot_index(self.flags2 & 0x1F);
        let slots_end = if n < 2 { 64 } else { 64 + 8 * (n - 2) };
        self.address.checked_add(slots_end + indirections)
    }

    fn slot_offset(&self, earlier: u32) -> u64 {
        match slot_index(earlier) {
            0 => 48,
            1 => 56,
            n => 64 + 8 * (n - 2) + 8 * u64::from(self.virtual_count).div_ceil(8),
        }
    }
}

/// How many slots lie before: an interface map alone keeps its own place and leaves the first one free.
fn slot_index(mask: u32) -> u64 {
    let count = u64::from(mask.count_ones());
    if mask & 3 == 2 && count == 1 {
        0
    } else {
        count
    }
}

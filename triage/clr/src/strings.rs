//! Strings and arrays, read with caps.
//!
//! Their layout never changed: a length at 8; characters at 12, elements of one-dimensional arrays at 16.

use crate::limits;
use crate::runtime::Runtime;
use leakhound_dump::MemoryExt;

impl Runtime {
    /// Length of a string in UTF-16 units.
    #[must_use]
    pub fn string_length(&self, object: u64) -> Option<u32> {
        (self.memory.u64(object)? & !7 == self.string_table)
            .then(|| self.memory.u32(object.checked_add(8)?))?
    }

    /// Text of a string, at most `max_units` UTF-16 units of it (and never more than [`limits::STRING_UNITS`]).
    #[must_use]
    pub fn string_text(&self, object: u64, max_units: usize) -> Option<String> {
        let length = self.string_length(object)? as usize;
        let bytes = self.memory.bytes(
            object.checked_add(12)?,
            length.min(max_units).min(limits::STRING_UNITS) * 2,
        )?;
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|u| u16::from_le_bytes([u[0], u[1]]))
            .collect();
        Some(String::from_utf16_lossy(&units))
    }

    /// Number of elements of an array, whatever its rank.
    #[must_use]
    pub fn array_length(&self, object: u64) -> Option<u32> {
        let table = self.shapes.table(self.type_of(object)?)?;
        table
            .is_array()
            .then(|| self.memory.u32(object.checked_add(8)?))?
    }

    /// References in a one-dimensional array of references, at most `most`.
    #[must_use]
    pub fn array_references(&self, object: u64, most: usize) -> Option<Vec<u64>> {
        let table = self.shapes.table(self.type_of(object)?)?;
        if !table.is_array()
            || table.has_bounds()
            || table.component_size() != 8
            || !table.has_references()
        {
            return None;
        }
        let count = (self.memory.u32(object.checked_add(8)?)? as usize)
            .min(most)
            .min(limits::ARRAY_ELEMENTS as usize);
        let bytes = self.memory.bytes(object.checked_add(16)?, count * 8)?;
        Some(
            bytes
                .chunks_exact(8)
                .map(|w| u64::from_le_bytes(w.try_into().unwrap_or_default()))
                .collect(),
        )
    }
}

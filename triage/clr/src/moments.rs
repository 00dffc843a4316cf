//! Moments that lie in the heap: fields of type `DateTime` and `DateTimeOffset`, told by their signatures, and tick counts.
//!
//! `DateTime` is one `ulong`: ticks of 100 ns since the year 1 in the low 62 bits, its kind in the upper two
//! (System.Private.CoreLib, DateTime.cs: 0 unspecified, 1 UTC, 2 and 3 local). `DateTimeOffset` is a `DateTime` in UTC, written with
//! kind 0, and the offset in minutes beside it; the runtime chooses their order (both 3.1 to 10).

use crate::fields::{Field, FieldKind};
use crate::metadata::Metadata;
use crate::runtime::Runtime;
use crate::shapes::TypeId;
use leakhound_dump::MemoryExt;

/// Ticks at the start of 1970.
const UNIX_TICKS: u64 = 621_355_968_000_000_000;
const TICKS_PER_MS: u64 = 10_000;
/// Moments outside of these are none that a service wrote down: 1990 and 2100.
const EARLIEST_MS: i64 = 631_152_000_000;
const LATEST_MS: i64 = 4_102_444_800_000;

/// A field that holds a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MomentField {
    /// Its name, as it was written.
    pub name: String,
    offset: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    DateTime,
    DateTimeOffset,
    /// A `long` that is called ticks.
    Ticks,
}

/// Milliseconds since 1970 of a `DateTime` as it lies in memory; `None` for a local time, whose offset it does not tell, and for
/// what is no moment of our time.
#[must_use]
pub fn date_time_ms(raw: u64) -> Option<i64> {
    const KIND_SHIFT: u32 = 62;
    match raw >> KIND_SHIFT {
        0 | 1 => ticks_ms(raw & ((1 << KIND_SHIFT) - 1)),
        _ => None,
    }
}

fn ticks_ms(ticks: u64) -> Option<i64> {
    let ms = i64::try_from(ticks.checked_sub(UNIX_TICKS)? / TICKS_PER_MS).ok()?;
    (EARLIEST_MS..LATEST_MS).contains(&ms).then_some(ms)
}

impl Runtime {
    /// Instance fields of a type that hold moments, base classes first.
    #[must_use]
    pub fn moment_fields(&self, id: TypeId) -> Vec<MomentField> {
        let mut found = Vec::new();
        for base in self.base_types(id).into_iter().rev() {
            let Some(table) = self.shapes.table(base) else {
                continue;
            };
            let read = || {
                let module = self.module_of_table(&table)?;
                let metadata = module.metadata.as_ref()?;
                let rows = metadata.fields_of(self.type_def_of(&table)?);
                let own = self.own_fields(&table);
                let fields = own.iter().filter(|field| !field.is_static);
                let moments = fields.filter_map(|field| {
                    let row = rows
                        .clone()
                        .find(|row| metadata.field_name(*row) == Some(&field.raw_name))?;
                    let kind = kind_of(field, metadata, metadata.field_signature(row)?)?;
                    Some(MomentField {
                        name: field.name.clone(),
                        offset: field.offset,
                        kind,
                    })
                });
                Some(moments.collect::<Vec<_>>())
            };
            found.extend(read().unwrap_or_default());
        }
        found
    }

    /// Milliseconds since 1970; `None` when the field holds no moment of our time.
    #[must_use]
    pub fn read_moment(&self, object: u64, field: &MomentField) -> Option<i64> {
        let at = object.checked_add(field.offset.into())?;
        let word = |at: u64| self.memory.u64(at);
        match field.kind {
            Kind::DateTime => date_time_ms(word(at)?),
            Kind::DateTimeOffset => {
                date_time_ms(word(at)?).or_else(|| date_time_ms(word(at.checked_add(8)?)?))
            }
            Kind::Ticks => ticks_ms(word(at)?),
        }
    }
}

/// By the field's signature (ECMA-335 II.23.2.4).
fn kind_of(field: &Field, metadata: &Metadata, signature: &[u8]) -> Option<Kind> {
    const FIELD: u8 = 0x06;
    const LONG: u8 = 0x0A;
    const VALUE_TYPE: u8 = 0x11;
    let [FIELD, element, token @ ..] = signature else {
        return None;
    };
    if *element == LONG {
        return field
            .raw_name
            .to_ascii_lowercase()
            .contains("ticks")
            .then_some(Kind::Ticks);
    }
    if *element != VALUE_TYPE || field.kind != FieldKind::Struct {
        return None;
    }
    let token = compressed(token)?;
    let (namespace, name) = match token & 3 {
        0 => {
            let definition = metadata.type_def(token >> 2)?;
            (definition.namespace, definition.name)
        }
        1 => metadata.type_ref(token >> 2)?,
        _ => return None,
    };
    match (namespace, name) {
        ("System", "DateTime") => Some(Kind::DateTime),
        ("System", "DateTimeOffset") => Some(Kind::DateTimeOffset),
        _ => None,
    }
}

/// A compressed unsigned number (ECMA-335 II.23.2).
fn compressed(bytes: &[u8]) -> Option<u32> {
    let first = u32::from(*bytes.first()?);
    let byte = |at: usize| bytes.get(at).copied().map(u32::from);
    match first {
        0..0x80 => Some(first),
        0x80..0xC0 => Some((first & 0x3F) << 8 | byte(1)?),
        _ => Some((first & 0x1F) << 24 | byte(1)? << 16 | byte(2)? << 8 | byte(3)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_time_is_ticks_with_its_kind_on_top() {
        // 2026-01-02 03:04:05 UTC
        let ticks = UNIX_TICKS + 1_767_323_045_000 * TICKS_PER_MS;
        assert_eq!(date_time_ms(ticks), Some(1_767_323_045_000));
        assert_eq!(date_time_ms(ticks | 1 << 62), Some(1_767_323_045_000));
        assert_eq!(date_time_ms(ticks | 2 << 62), None, "local");
        assert_eq!(date_time_ms(ticks | 3 << 62), None, "local, ambiguous");
        assert_eq!(date_time_ms(0), None, "default(DateTime)");
        assert_eq!(
            date_time_ms(3_155_378_975_999_999_999),
            None,
            "DateTime.MaxValue"
        );
        assert_eq!(date_time_ms(u64::MAX), None);
    }

    #[test]
    fn compressed_numbers_have_one_two_or_four_bytes() {
        assert_eq!(compressed(&[0x03]), Some(3));
        assert_eq!(compressed(&[0xAE, 0x57]), Some(0x2E57));
        assert_eq!(compressed(&[0xC0, 0x00, 0x40, 0x00]), Some(0x4000));
        assert_eq!(compressed(&[0xC0, 0x00]), None);
        assert_eq!(compressed(&[]), None);
    }
}

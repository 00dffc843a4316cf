//! ECMA-335 metadata, as much of it as names need: types, nesting, fields, methods and generic parameters.
//!
//! Reads from a private copy of the bytes; every offset is checked, a row that does not exist is `None`.

mod tables;

use crate::limits;
use std::collections::HashMap;
use tables::{Columns, Table, Tables};

/// One module's metadata.
pub struct Metadata {
    bytes: Vec<u8>,
    strings: (usize, usize),
    blobs: (usize, usize),
    guids: (usize, usize),
    tables: Tables,
    nested: HashMap<u32, u32>,
}

/// A row of the TypeDef table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeDef<'a> {
    /// Namespace; empty for nested types.
    pub namespace: &'a str,
    /// Name with its arity suffix.
    pub name: &'a str,
    /// Attribute flags.
    pub flags: u32,
}

/// Why bytes are not metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The root signature is not `BSJB`.
    #[error("metadata: no BSJB signature at its start (found {found:#010x})")]
    Signature {
        /// The first four bytes.
        found: u32,
    },
    /// A part lies outside of the bytes.
    #[error("metadata: {part} at offset {offset} ends outside of the {len} bytes there are")]
    Truncated {
        /// Which part.
        part: &'static str,
        /// Where it starts.
        offset: usize,
        /// Bytes there are.
        len: usize,
    },
    /// A needed stream is missing.
    #[error("metadata: there is no {stream} stream")]
    NoStream {
        /// Name of the stream.
        stream: &'static str,
    },
}

impl Metadata {
    /// Parses the root, the stream headers and the table sizes.
    ///
    /// # Errors
    /// When the bytes are not metadata or end too early.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, MetadataError> {
        let len = bytes.len();
        let cut = |part, offset| MetadataError::Truncated { part, offset, len };
        let signature = u32_at(&bytes, 0).ok_or(cut("root", 0))?;
        if signature != 0x424A_5342 {
            return Err(MetadataError::Signature { found: signature });
        }
        let version_len = u32_at(&bytes, 12).ok_or(cut("version length", 12))? as usize;
        let header = 16usize
            .checked_add(version_len)
            .filter(|h| *h < len)
            .ok_or(cut("version", 16))?;
        let stream_count = u16_at(&bytes, header + 2).ok_or(cut("stream count", header))?;
        let mut at = header + 4;
        let (mut strings, mut blobs, mut guids, mut rows) = (None, (0, 0), (0, 0), None);
        for _ in 0..stream_count.min(16) {
            let offset = u32_at(&bytes, at).ok_or(cut("stream header", at))? as usize;
            let size = u32_at(&bytes, at + 4).ok_or(cut("stream header", at))? as usize;
            let name = c_string(&bytes, at + 8, 32).ok_or(cut("stream name", at))?;
            let part = (offset.min(len), size.min(len.saturating_sub(offset)));
            match name {
                "#Strings" => strings = Some(part),
                "#Blob" => blobs = part,
                "#GUID" => guids = part,
                "#~" | "#-" => rows = Some(part),
                _ => {}
            }
            at += 8 + (name.len() + 4) / 4 * 4;
        }
        let strings = strings.ok_or(MetadataError::NoStream { stream: "#Strings" })?;
        let rows = rows.ok_or(MetadataError::NoStream { stream: "#~" })?;
        let tables = Tables::parse(&bytes, rows.0).ok_or(cut("table sizes", rows.0))?;
        let mut metadata = Self {
            bytes,
            strings,
            blobs,
            guids,
            tables,
            nested: HashMap::new(),
        };
        metadata.nested = metadata.read_nesting();
        Ok(metadata)
    }

    /// Bytes it takes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never true of parsed metadata.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn read_nesting(&self) -> HashMap<u32, u32> {
        let mut nested = HashMap::new();
        for row in 1..=self.tables.rows(Table::NestedClass).min(limits::TYPE_DEFS) {
            if let Some(columns) = self.row(Table::NestedClass, row) {
                nested.insert(columns.get(0), columns.get(1));
            }
        }
        nested
    }

    fn row(&self, table: Table, row: u32) -> Option<Columns> {
        self.tables.row(&self.bytes, table, row)
    }

    /// Number of type definitions.
    #[must_use]
    pub fn type_def_count(&self) -> u32 {
        self.tables.rows(Table::TypeDef)
    }

    /// A type definition by its row id (from 1).
    #[must_use]
    pub fn type_def(&self, rid: u32) -> Option<TypeDef<'_>> {
        let columns = self.row(Table::TypeDef, rid)?;
        Some(TypeDef {
            flags: columns.get(0),
            name: self.string(columns.get(1))?,
            namespace: self.string(columns.get(2))?,
        })
    }

    /// Namespace and name of a type of another module, by its row id (from 1).
    #[must_use]
    pub fn type_ref(&self, rid: u32) -> Option<(&str, &str)> {
        let columns = self.row(Table::TypeRef, rid)?;
        Some((self.string(columns.get(2))?, self.string(columns.get(1))?))
    }

    /// The type a nested type lies in.
    #[must_use]
    pub fn enclosing(&self, rid: u32) -> Option<u32> {
        self.nested.get(&rid).copied()
    }

    /// Row ids of the fields that a type defines.
    #[must_use]
    pub fn fields_of(&self, rid: u32) -> std::ops::Range<u32> {
        self.list(rid, 4, Table::Field)
    }

    /// Row ids of the methods that a type defines.
    #[must_use]
    pub fn methods_of(&self, rid: u32) -> std::ops::Range<u32> {
        self.list(rid, 5, Table::MethodDef)
    }

    fn list(&self, rid: u32, column: usize, table: Table) -> std::ops::Range<u32> {
        let end = self.tables.rows(table).saturating_add(1);
        let Some(start) = self.row(Table::TypeDef, rid).map(|c| c.get(column)) else {
            return 0..0;
        };
        let next = self
            .row(Table::TypeDef, rid.saturating_add(1))
            .map_or(end, |c| c.get(column));
        start.min(end)..next.min(end).max(start.min(end))
    }

    /// Name of a field.
    #[must_use]
    pub fn field_name(&self, rid: u32) -> Option<&str> {
        self.string(self.row(Table::Field, rid)?.get(1))
    }

    /// Attribute flags of a field.
    #[must_use]
    pub fn field_flags(&self, rid: u32) -> Option<u32> {
        Some(self.row(Table::Field, rid)?.get(0))
    }

    /// Name of a method.
    #[must_use]
    pub fn method_name(&self, rid: u32) -> Option<&str> {
        self.string(self.row(Table::MethodDef, rid)?.get(3))
    }

    /// Names of a type's own generic parameters, in order.
    #[must_use]
    pub fn generic_parameters(&self, type_rid: u32) -> Vec<&str> {
        // The owner column is a coded index with one tag bit: 0 type, 1 method. The table is sorted by it.
        let wanted = type_rid << 1;
        let rows = self.tables.rows(Table::GenericParam);
        let owner = |row: u32| {
            self.row(Table::GenericParam, row)
                .map_or(u32::MAX, |c| c.get(2))
        };
        let (mut low, mut high) = (1u32, rows.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            if owner(middle) < wanted {
                low = middle + 1
            } else {
                high = middle
            }
        }
        let mut names = Vec::new();
        while low <= rows
            && owner(low) == wanted
            && names.len() < usize::from(limits::GENERIC_ARGUMENTS)
        {
            names.extend(
                self.row(Table::GenericParam, low)
                    .and_then(|c| self.string(c.get(3))),
            );
            low += 1;
        }
        names
    }

    /// Name and culture-free version of the assembly that this module is the manifest of.
    #[must_use]
    pub fn assembly(&self) -> Option<(&str, [u16; 4])> {
        let columns = self.row(Table::Assembly, 1)?;
        #[expect(clippy::cast_possible_truncation, reason = "two-byte columns")]
        let part = |i| columns.get(i) as u16;
        Some((
            self.string(columns.get(7))?,
            [part(1), part(2), part(3), part(4)],
        ))
    }

    /// Name of the module with its extension.
    #[must_use]
    pub fn module_name(&self) -> Option<&str> {
        self.string(self.row(Table::Module, 1)?.get(1))
    }

    /// The module version id.
    #[must_use]
    pub fn mvid(&self) -> Option<[u8; 16]> {
        let index = self.row(Table::Module, 1)?.get(2) as usize;
        let at = self
            .guids
            .0
            .checked_add(index.checked_sub(1)?.checked_mul(16)?)?;
        (at + 16 <= self.guids.0 + self.guids.1)
            .then(|| self.bytes.get(at..at + 16)?.try_into().ok())?
    }

    /// Bytes of the blob at an offset of the blob stream.
    #[must_use]
    pub fn blob(&self, offset: u32) -> Option<&[u8]> {
        let at = self.blobs.0.checked_add(offset as usize)?;
        let end = self.blobs.0 + self.blobs.1;
        let first = *self.bytes.get(at)?;
        let (skip, len) = match first {
            0..0x80 => (1, u32::from(first)),
            0x80..0xC0 => (
                2,
                u32::from(first & 0x3F) << 8 | u32::from(*self.bytes.get(at + 1)?),
            ),
            _ => (
                4,
                u32::from_be_bytes(self.bytes.get(at..at + 4)?.try_into().ok()?) & 0x1FFF_FFFF,
            ),
        };
        let start = at + skip;
        let stop = start.checked_add(len as usize)?;
        (stop <= end).then(|| self.bytes.get(start..stop))?
    }

    /// Signature of a field.
    #[must_use]
    pub fn field_signature(&self, rid: u32) -> Option<&[u8]> {
        self.blob(self.row(Table::Field, rid)?.get(2))
    }

    fn string(&self, offset: u32) -> Option<&str> {
        let at = self.strings.0.checked_add(offset as usize)?;
        let end = (self.strings.0 + self.strings.1).min(self.bytes.len());
        if at >= end {
            return None;
        }
        c_string(&self.bytes[..end], at, limits::NAME_BYTES)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn c_string(bytes: &[u8], at: usize, limit: usize) -> Option<&str> {
    let rest = bytes.get(at..)?;
    let rest = &rest[..rest.len().min(limit)];
    let end = rest.iter().position(|b| *b == 0)?;
    std::str::from_utf8(&rest[..end]).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Metadata with one module, three types (the third nested in the second), two fields and a generic parameter.
    pub(crate) fn sample() -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut add = |s: &str| {
            let at = strings.len() as u16;
            strings.extend_from_slice(s.as_bytes());
            strings.push(0);
            at
        };
        let (module, outer, inner, ns, f1, f2, t) = (
            add("Shop.dll"),
            add("Cart`1"),
            add("Line"),
            add("Shop"),
            add("_items"),
            add("<Name>k__BackingField"),
            add("T"),
        );
        let mut rows: Vec<u8> = Vec::new();
        let mut put = |values: &[u16]| {
            values
                .iter()
                .for_each(|v| rows.extend_from_slice(&v.to_le_bytes()))
        };
        put(&[0, module, 1, 0, 0]);
        put(&[0, 0, 0, 0, 0, 1, 1]);
        put(&[1, 0, outer, ns, 0, 1, 1]);
        put(&[2, 0, inner, 0, 0, 2, 1]);
        put(&[1, f1, 0]);
        put(&[1, f2, 0]);
        put(&[3, 2]);
        put(&[0, 0, 2 << 1, t]);
        let mut tables = vec![0, 0, 0, 0, 2, 0, 0, 1];
        let valid: u64 = 1 | 1 << 2 | 1 << 4 | 1 << 0x29 | 1 << 0x2A;
        tables.extend_from_slice(&valid.to_le_bytes());
        tables.extend_from_slice(&0u64.to_le_bytes());
        for count in [1u32, 3, 2, 1, 1] {
            tables.extend_from_slice(&count.to_le_bytes());
        }
        tables.extend_from_slice(&rows);
        let mut out = Vec::new();
        out.extend_from_slice(&0x424A_5342u32.to_le_bytes());
        out.extend_from_slice(&[1, 0, 1, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&4u32.to_le_bytes());
        out.extend_from_slice(b"v4\0\0");
        out.extend_from_slice(&[0, 0, 3, 0]);
        let headers = out.len() + (8 + 4) + (8 + 12) + (8 + 8);
        let (tables_at, strings_at) = (headers, headers + tables.len());
        let guid_at = strings_at + strings.len();
        for (at, size, name) in [
            (tables_at, tables.len(), &b"#~\0\0"[..]),
            (strings_at, strings.len(), b"#Strings\0\0\0\0"),
            (guid_at, 16, b"#GUID\0\0\0"),
        ] {
            out.extend_from_slice(&(at as u32).to_le_bytes());
            out.extend_from_slice(&(size as u32).to_le_bytes());
            out.extend_from_slice(name);
        }
        out.extend_from_slice(&tables);
        out.extend_from_slice(&strings);
        out.extend_from_slice(&[7; 16]);
        out
    }

    #[test]
    fn types_fields_nesting_and_generic_parameters_are_read() {
        let metadata = Metadata::parse(sample()).unwrap();
        assert_eq!(metadata.type_def_count(), 3);
        assert_eq!(
            metadata.type_def(2).unwrap(),
            TypeDef {
                namespace: "Shop",
                name: "Cart`1",
                flags: 1
            }
        );
        assert_eq!(metadata.enclosing(3), Some(2));
        assert_eq!(metadata.fields_of(2), 1..2);
        assert_eq!(metadata.fields_of(3), 2..3);
        assert_eq!(metadata.field_name(2), Some("<Name>k__BackingField"));
        assert_eq!(metadata.generic_parameters(2), ["T"]);
        assert_eq!(metadata.generic_parameters(3), Vec::<&str>::new());
        assert_eq!(metadata.module_name(), Some("Shop.dll"));
        assert_eq!(metadata.mvid(), Some([7; 16]));
        assert_eq!(metadata.type_def(4), None);
    }

    #[test]
    fn bytes_that_are_no_metadata_are_refused_with_what_was_found() {
        let error = Metadata::parse(vec![1; 64]).err().unwrap();
        assert_eq!(error, MetadataError::Signature { found: 0x0101_0101 });
    }

    proptest! {
        #[test]
        fn damaged_metadata_never_panics(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), cut in any::<prop::sample::Index>()) {
            let mut bytes = sample();
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(metadata) = Metadata::parse(bytes) {
                for rid in 0..8 {
                    let _ = (metadata.type_def(rid), metadata.enclosing(rid), metadata.generic_parameters(rid));
                    for field in metadata.fields_of(rid).take(16) {
                        let _ = (metadata.field_name(field), metadata.field_signature(field));
                    }
                }
                let _ = (metadata.mvid(), metadata.assembly(), metadata.module_name());
            }
        }
    }
}

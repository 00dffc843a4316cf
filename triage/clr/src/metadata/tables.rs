//! The table stream: which tables there are, how wide their columns are, and one row at a time.

/// Tables that are read by name; the numbers are those of ECMA-335 II.22.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// The module itself.
    Module = 0x00,
    /// Types of other modules.
    TypeRef = 0x01,
    /// Type definitions.
    TypeDef = 0x02,
    /// Fields.
    Field = 0x04,
    /// Methods.
    MethodDef = 0x06,
    /// The assembly.
    Assembly = 0x20,
    /// Which type lies in which.
    NestedClass = 0x29,
    /// Generic parameters.
    GenericParam = 0x2A,
}

/// Width of a column (ECMA-335 II.24.2.6).
#[derive(Clone, Copy)]
enum Column {
    Fixed(u8),
    String,
    Guid,
    Blob,
    /// Row id of one table.
    Index(u8),
    /// Coded index: tag bits and the tables it may lead to.
    Coded(u8, &'static [u8]),
}
use Column::{Blob, Coded, Fixed, Guid, Index, String};

const TYPE_DEF_OR_REF: Column = Coded(2, &[0x02, 0x01, 0x1B]);
const HAS_CONSTANT: Column = Coded(2, &[0x04, 0x08, 0x17]);
const HAS_CUSTOM_ATTRIBUTE: Column = Coded(
    5,
    &[
        0x06, 0x04, 0x01, 0x02, 0x08, 0x09, 0x0A, 0x00, 0x0E, 0x17, 0x14, 0x11, 0x1A, 0x1B, 0x20,
        0x23, 0x26, 0x27, 0x28, 0x2A, 0x2C, 0x2B,
    ],
);
const HAS_FIELD_MARSHAL: Column = Coded(1, &[0x04, 0x08]);
const HAS_DECL_SECURITY: Column = Coded(2, &[0x02, 0x06, 0x20]);
const MEMBER_REF_PARENT: Column = Coded(3, &[0x02, 0x01, 0x1A, 0x06, 0x1B]);
const HAS_SEMANTICS: Column = Coded(1, &[0x14, 0x17]);
const METHOD_DEF_OR_REF: Column = Coded(1, &[0x06, 0x0A]);
const MEMBER_FORWARDED: Column = Coded(1, &[0x04, 0x06]);
const IMPLEMENTATION: Column = Coded(2, &[0x26, 0x23, 0x27]);
const CUSTOM_ATTRIBUTE_TYPE: Column = Coded(3, &[0x06, 0x0A]);
const RESOLUTION_SCOPE: Column = Coded(2, &[0x00, 0x1A, 0x23, 0x01]);
const TYPE_OR_METHOD_DEF: Column = Coded(1, &[0x02, 0x06]);

/// Columns of each table, in the order of ECMA-335 II.22 (with the pointer tables of the `#-` form).
const SCHEMA: [&[Column]; 0x2D] = [
    &[Fixed(2), String, Guid, Guid, Guid], // 00 Module
    &[RESOLUTION_SCOPE, String, String],   // 01 TypeRef
    &[
        Fixed(4),
        String,
        String,
        TYPE_DEF_OR_REF,
        Index(0x04),
        Index(0x06),
    ], // 02 TypeDef
    &[Index(0x04)],                        // 03 FieldPtr
    &[Fixed(2), String, Blob],             // 04 Field
    &[Index(0x06)],                        // 05 MethodPtr
    &[Fixed(4), Fixed(2), Fixed(2), String, Blob, Index(0x08)], // 06 MethodDef
    &[Index(0x08)],                        // 07 ParamPtr
    &[Fixed(2), Fixed(2), String],         // 08 Param
    &[Index(0x02), TYPE_DEF_OR_REF],       // 09 InterfaceImpl
    &[MEMBER_REF_PARENT, String, Blob],    // 0A MemberRef
    &[Fixed(2), HAS_CONSTANT, Blob],       // 0B Constant
    &[HAS_CUSTOM_ATTRIBUTE, CUSTOM_ATTRIBUTE_TYPE, Blob], // 0C CustomAttribute
    &[HAS_FIELD_MARSHAL, Blob],            // 0D FieldMarshal
    &[Fixed(2), HAS_DECL_SECURITY, Blob],  // 0E DeclSecurity
    &[Fixed(2), Fixed(4), Index(0x02)],    // 0F ClassLayout
    &[Fixed(4), Index(0x04)],              // 10 FieldLayout
    &[Blob],                               // 11 StandAloneSig
    &[Index(0x02), Index(0x14)],           // 12 EventMap
    &[Index(0x14)],                        // 13 EventPtr
    &[Fixed(2), String, TYPE_DEF_OR_REF],  // 14 Event
    &[Index(0x02), Index(0x17)],           // 15 PropertyMap
    &[Index(0x17)],                        // 16 PropertyPtr
    &[Fixed(2), String, Blob],             // 17 Property
    &[Fixed(2), Index(0x06), HAS_SEMANTICS], // 18 MethodSemantics
    &[Index(0x02), METHOD_DEF_OR_REF, METHOD_DEF_OR_REF], // 19 MethodImpl
    &[String],                             // 1A ModuleRef
    &[Blob],                               // 1B TypeSpec
    &[Fixed(2), MEMBER_FORWARDED, String, Index(0x1A)], // 1C ImplMap
    &[Fixed(4), Index(0x04)],              // 1D FieldRVA
    &[Fixed(4), Fixed(4)],                 // 1E EncLog
    &[Fixed(4)],                           // 1F EncMap
    &[
        Fixed(4),
        Fixed(2),
        Fixed(2),
        Fixed(2),
        Fixed(2),
        Fixed(4),
        Blob,
        String,
        String,
    ], // 20 Assembly
    &[Fixed(4)],                           // 21 AssemblyProcessor
    &[Fixed(4), Fixed(4), Fixed(4)],       // 22 AssemblyOS
    &[
        Fixed(2),
        Fixed(2),
        Fixed(2),
        Fixed(2),
        Fixed(4),
        Blob,
        String,
        String,
        Blob,
    ], // 23 AssemblyRef
    &[Fixed(4), Index(0x23)],              // 24 AssemblyRefProcessor
    &[Fixed(4), Fixed(4), Fixed(4), Index(0x23)], // 25 AssemblyRefOS
    &[Fixed(4), String, Blob],             // 26 File
    &[Fixed(4), Fixed(4), String, String, IMPLEMENTATION], // 27 ExportedType
    &[Fixed(4), Fixed(4), String, IMPLEMENTATION], // 28 ManifestResource
    &[Index(0x02), Index(0x02)],           // 29 NestedClass
    &[Fixed(2), Fixed(2), TYPE_OR_METHOD_DEF, String], // 2A GenericParam
    &[METHOD_DEF_OR_REF, Blob],            // 2B MethodSpec
    &[Index(0x2A), TYPE_DEF_OR_REF],       // 2C GenericParamConstraint
];

const MAX_COLUMNS: usize = 9;

/// One row's columns, widened to 32 bits.
pub struct Columns {
    values: [u32; MAX_COLUMNS],
}

impl Columns {
    /// A column by its position; columns past the last are 0.
    pub fn get(&self, column: usize) -> u32 {
        self.values.get(column).copied().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Default)]
struct Shape {
    rows: u32,
    start: usize,
    row_bytes: usize,
    widths: [u8; MAX_COLUMNS],
}

/// Where each table lies.
pub struct Tables {
    shapes: [Shape; SCHEMA.len()],
}

impl Tables {
    /// Reads the header of the table stream at `at`.
    pub fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        let heap_sizes = *bytes.get(at.checked_add(6)?)?;
        let valid = u64::from_le_bytes(bytes.get(at + 8..at + 16)?.try_into().ok()?);
        let mut cursor = at + 24;
        let mut rows = [0u32; 64];
        for (table, count) in rows.iter_mut().enumerate() {
            if valid >> table & 1 == 1 {
                *count = super::u32_at(bytes, cursor)?;
                cursor += 4;
            }
        }
        // Bit 6 says that a four-byte word of extra data follows the row counts.
        if heap_sizes & 0x40 != 0 {
            cursor += 4;
        }
        let wide = |bit: u8| if heap_sizes & bit != 0 { 4 } else { 2 };
        let mut shapes = [Shape::default(); SCHEMA.len()];
        for (table, columns) in SCHEMA.iter().enumerate() {
            let shape = &mut shapes[table];
            shape.rows = rows[table];
            shape.start = cursor;
            for (i, column) in columns.iter().enumerate() {
                shape.widths[i] = match *column {
                    Fixed(width) => width,
                    String => wide(1),
                    Guid => wide(2),
                    Blob => wide(4),
                    Index(to) => {
                        if rows[usize::from(to)] < 1 << 16 {
                            2
                        } else {
                            4
                        }
                    }
                    Coded(bits, to) => {
                        let largest = to.iter().map(|t| rows[usize::from(*t)]).max().unwrap_or(0);
                        if u64::from(largest) < 1u64 << (16 - bits) {
                            2
                        } else {
                            4
                        }
                    }
                };
                shape.row_bytes += usize::from(shape.widths[i]);
            }
            cursor = cursor.checked_add((shape.rows as usize).checked_mul(shape.row_bytes)?)?;
        }
        // A count that claims more rows than there are bytes: keep what can exist.
        for shape in &mut shapes {
            let room = bytes.len().saturating_sub(shape.start) / shape.row_bytes.max(1);
            shape.rows = shape.rows.min(u32::try_from(room).unwrap_or(u32::MAX));
        }
        Some(Self { shapes })
    }

    /// Number of rows.
    pub fn rows(&self, table: Table) -> u32 {
        self.shapes[table as usize].rows
    }

    /// One row by its id (from 1).
    pub fn row(&self, bytes: &[u8], table: Table, row: u32) -> Option<Columns> {
        let shape = &self.shapes[table as usize];
        if row == 0 || row > shape.rows {
            return None;
        }
        let mut at = shape.start + (row as usize - 1) * shape.row_bytes;
        let raw = bytes.get(at..at + shape.row_bytes)?;
        let mut values = [0; MAX_COLUMNS];
        at = 0;
        for (value, width) in values.iter_mut().zip(shape.widths) {
            *value = match width {
                0 => break,
                2 => u32::from(u16::from_le_bytes([raw[at], raw[at + 1]])),
                _ => u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]),
            };
            at += usize::from(width);
        }
        Some(Columns { values })
    }
}

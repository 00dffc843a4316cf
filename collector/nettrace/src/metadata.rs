//! What explains events: the provider, the name, and the fields of the payload.

use crate::Error;
use crate::cursor::Cursor;
use crate::limits::{MAX_DEPTH, MAX_FIELDS};

/// The event by which providers tell the values of their counters.
const COUNTERS: &str = "EventCounters";

/// How a field is written (`System.TypeCode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// So many bytes that mean nothing here.
    Bytes(usize),
    Single,
    Double,
    Text,
}

/// A field that holds no others; the fields of an object lie one after the other in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: String,
    pub kind: Type,
}

/// An event about counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub provider: String,
    pub fields: Vec<Field>,
}

/// Reads what a `MetadataBlock` says of one event: its number, and what it is if it is about counters.
pub(crate) fn read(mut from: Cursor<'_>) -> Result<(u32, Option<Definition>), Error> {
    let id = from.u32()?;
    let provider = from.text()?;
    from.u32()?; // number of the event
    let name = from.text()?;
    if name != COUNTERS {
        return Ok((id, None));
    }
    from.take(8)?; // keywords
    from.u32()?; // version
    from.u32()?; // level
    let mut fields = Vec::new();
    read_fields(&mut from, &mut fields, 0)?;
    Ok((id, Some(Definition { provider, fields })))
}

fn read_fields(from: &mut Cursor<'_>, out: &mut Vec<Field>, depth: usize) -> Result<(), Error> {
    let count = from.u32()?;
    for _ in 0..count {
        let code = from.u32()?;
        let kind = match code {
            1 if depth == MAX_DEPTH => {
                return Err(too_large("fields inside of fields", depth + 1, MAX_DEPTH));
            }
            1 => {
                read_fields(from, out, depth + 1)?;
                from.skip_text()?; // name of the object
                continue;
            }
            // A yes or no is four bytes here.
            3 | 9 | 10 => Type::Bytes(4),
            5 | 6 => Type::Bytes(1),
            4 | 7 | 8 => Type::Bytes(2),
            11 | 12 | 16 => Type::Bytes(8),
            13 => Type::Single,
            14 => Type::Double,
            15 | 17 => Type::Bytes(16),
            18 => Type::Text,
            _ => return Err(Error::Damaged("a field is of no known type")),
        };
        if out.len() == MAX_FIELDS {
            return Err(too_large(
                "an event with fields",
                MAX_FIELDS + 1,
                MAX_FIELDS,
            ));
        }
        out.push(Field {
            name: from.text()?,
            kind,
        });
    }
    Ok(())
}

fn too_large(what: &'static str, found: usize, limit: usize) -> Error {
    Error::TooLarge {
        what,
        found: found as u64,
        limit: limit as u64,
    }
}

//! The descriptor's text: compact JSON, of types with fields and of globals.

use crate::limits;
use leakhound_dump::Memory;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a text says, checked in shape and cut to limits.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    /// Offsets by type and field; the size of a type, if it says, as the field `!`.
    pub types: BTreeMap<String, BTreeMap<String, u64>>,
    /// Globals that are variables, as indices of the header's pointers.
    pub globals: BTreeMap<String, usize>,
    /// Descriptors that this one leads to: indices of pointers to their addresses.
    pub parts: Vec<usize>,
}

#[derive(Deserialize)]
struct Raw {
    version: u64,
    #[serde(default)]
    types: BTreeMap<String, BTreeMap<String, Value>>,
    #[serde(default)]
    globals: BTreeMap<String, Value>,
    #[serde(default, rename = "subDescriptors")]
    parts: BTreeMap<String, Value>,
}

/// What every text of a runtime begins with.
const START: &[u8] = b"{\"version\":";
const CHUNK: usize = 1 << 16;

impl Text {
    /// Reads a text; `None` when it is none, or claims more than a runtime has. Nested deeper than 128 it is none either.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > limits::DESCRIPTOR_BYTES {
            return None;
        }
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        let raw: Raw = serde_json::from_slice(&bytes[..end]).ok()?;
        let fields: usize = raw.types.values().map(BTreeMap::len).sum();
        let names = raw.types.len() + raw.globals.len() + raw.parts.len() + fields;
        // Version 0 is the only one there is; another may mean something else by all of this.
        if raw.version != 0 || names == 0 || names > limits::DESCRIPTOR_NAMES {
            return None;
        }
        let types = raw.types.into_iter().map(|(name, fields)| {
            let offsets = fields
                .into_iter()
                .filter_map(|(field, offset)| Some((field, offset_of(&offset)?)));
            (name, offsets.collect())
        });
        let globals = raw.globals.into_iter();
        Some(Self {
            types: types.collect(),
            globals: globals
                .filter_map(|(name, value)| Some((name, pointer(&value)?)))
                .collect(),
            parts: raw.parts.values().filter_map(pointer).collect(),
        })
    }
}

/// `8`, or `[8, "type"]`. Structures of a runtime are small.
fn offset_of(value: &Value) -> Option<u64> {
    let number = value.get(0).unwrap_or(value).as_u64()?;
    (number <= limits::STRUCTURE_BYTES).then_some(number)
}

/// `[3]` or `[[3], "pointer"]`. Numbers and texts are written as they are.
fn pointer(value: &Value) -> Option<usize> {
    let index = match value {
        Value::Array(both) if both.len() == 2 => &both[0],
        _ => value,
    };
    match index {
        Value::Array(index) if index.len() == 1 => usize::try_from(index[0].as_u64()?).ok(),
        _ => None,
    }
}

/// The first text in an image that can be read.
pub(super) fn search(memory: &dyn Memory, image: &Range<u64>) -> Option<Text> {
    let end = image
        .end
        .min(image.start.saturating_add(limits::RUNTIME_DATA_BYTES));
    let mut buf = vec![0; CHUNK + START.len()];
    let mut at = image.start;
    // A text is copied out a few times at most, whatever the image is full of.
    let mut tries = 16;
    while at < end {
        let got = memory.read(at, &mut buf);
        for (i, window) in buf[..got].windows(START.len()).enumerate() {
            if window == START && tries > 0 {
                tries -= 1;
                let mut text = vec![0; limits::DESCRIPTOR_BYTES];
                let there = memory.read(at.saturating_add(i as u64), &mut text);
                text.truncate(there);
                if let Some(found) = Text::parse(&text) {
                    return Some(found);
                }
            }
        }
        at = if got < buf.len() {
            (at.saturating_add(got as u64) & !0xFFF).checked_add(0x1000)?
        } else {
            at.checked_add(CHUNK as u64)?
        };
    }
    None
}

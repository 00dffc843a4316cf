//! Live strings, and how many bytes repeat a content that another string has already.

use super::rows::{int, row, text};
use super::survey::Survey;
use crate::child::Strings;
use crate::notify::scrub;
use leakhound_clr::Runtime;
use leakhound_dump::Memory;
use leakhound_rules::FactSheet;
use rayon::prelude::*;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// Contents that a sheet names.
const KEEP: usize = 25;
/// Characters of a content that are shown.
const SHOWN_CHARACTERS: usize = 80;
/// Objects per piece of parallel work.
const PIECE: u32 = 1 << 16;
/// Different contents that are told apart; beyond them repetition is no longer counted.
const CONTENTS: usize = 16 << 20;
/// Longer strings are compared by their beginning and their length.
const HASHED_BYTES: usize = 1 << 20;
/// Offset of the first character (object.h, `StringObject`): method table, length, text.
const TEXT_OFFSET: u64 = 12;

#[derive(Debug, Clone, Copy)]
struct Content {
    count: u64,
    bytes_each: u64,
    sample: u32,
}

#[derive(Default)]
struct Tally {
    count: u64,
    bytes: u64,
    contents: HashMap<(u64, u32), Content>,
    full: bool,
}

/// Writes `strings.*` and `duplicate_strings`.
pub fn write(survey: &Survey<'_>, strings: Strings, sheet: &mut FactSheet) {
    let objects = &survey.objects;
    let Some(string_type) = (0u32..).take(survey.runtime.type_count()).find(|id| {
        survey
            .runtime
            .type_info(leakhound_clr::TypeId(*id))
            .is_some_and(|info| info.string)
    }) else {
        return;
    };
    let tally = objects
        .pieces(PIECE)
        .into_par_iter()
        .fold(
            || (Tally::default(), Vec::new()),
            |(mut tally, mut buffer), piece| {
                for object in piece {
                    if objects.type_ids()[object as usize] == string_type && survey.is_live(object)
                    {
                        add(survey, object, &mut tally, &mut buffer);
                    }
                }
                (tally, buffer)
            },
        )
        .map(|(tally, _)| tally)
        .reduce(Tally::default, merge);

    sheet.int("strings.count", tally.count);
    sheet.int("strings.bytes", tally.bytes);
    let wasted = |c: &Content| (c.count - 1) * c.bytes_each;
    sheet.int(
        "strings.duplicate_bytes",
        tally.contents.values().map(wasted).sum(),
    );
    if tally.full {
        sheet.completeness.problems.push(format!(
            "More than {CONTENTS} different strings: repetition is counted among the first ones only."
        ));
    }
    let mut order: Vec<(&(u64, u32), &Content)> =
        tally.contents.iter().filter(|(_, c)| c.count > 1).collect();
    order.sort_unstable_by_key(|(key, c)| (std::cmp::Reverse(wasted(c)), **key));
    let rows = order
        .into_iter()
        .take(KEEP)
        .map(|((hash, length), content)| {
            row([
                (
                    "value",
                    text(shown(
                        survey.runtime,
                        strings,
                        survey.objects.address(content.sample),
                        *hash,
                        *length,
                    )),
                ),
                ("length", int(u64::from(*length))),
                ("count", int(content.count)),
                ("wasted", int(wasted(content))),
            ])
        });
    sheet
        .lists
        .insert("duplicate_strings".to_owned(), rows.collect());
}

fn add(survey: &Survey<'_>, object: u32, tally: &mut Tally, buffer: &mut Vec<u8>) {
    let address = survey.objects.address(object);
    let bytes = survey.objects.size(object);
    tally.count += 1;
    tally.bytes += bytes;
    let Some(length) = survey.runtime.string_length(address) else {
        return;
    };
    let wanted = (length as usize).saturating_mul(2).min(HASHED_BYTES);
    buffer.resize(wanted, 0);
    let memory: &dyn Memory = &**survey.runtime.memory();
    if memory.read(address + TEXT_OFFSET, buffer) != wanted {
        return;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(buffer);
    let key = (hasher.finish(), length);
    if let Some(content) = tally.contents.get_mut(&key) {
        content.count += 1;
    } else if tally.contents.len() < CONTENTS {
        tally.contents.insert(
            key,
            Content {
                count: 1,
                bytes_each: bytes,
                sample: object,
            },
        );
    } else {
        tally.full = true;
    }
}

fn merge(mut a: Tally, mut b: Tally) -> Tally {
    if a.contents.len() < b.contents.len() {
        std::mem::swap(&mut a, &mut b);
    }
    a.count += b.count;
    a.bytes += b.bytes;
    a.full |= b.full;
    for (key, content) in b.contents {
        if let Some(mine) = a.contents.get_mut(&key) {
            mine.count += content.count;
            mine.sample = mine.sample.min(content.sample);
        } else if a.contents.len() < CONTENTS {
            a.contents.insert(key, content);
        } else {
            a.full = true;
        }
    }
    a
}

/// What may leave the node of the string at `address`: by default length and hash, otherwise a shortened, scrubbed text.
pub(crate) fn shown(
    runtime: &Runtime,
    strings: Strings,
    address: u64,
    hash: u64,
    length: u32,
) -> String {
    match strings {
        Strings::Hashed => format!("{length} characters, #{:08x}", hash >> 32),
        Strings::Scrubbed => {
            let content = runtime
                .string_text(address, SHOWN_CHARACTERS)
                .unwrap_or_default();
            let more = if (length as usize) > SHOWN_CHARACTERS {
                "…"
            } else {
                ""
            };
            format!("\"{}{more}\"", scrub::text(&content))
        }
    }
}

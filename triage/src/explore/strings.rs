//! `strings`: contents of strings, and how often each one is there.

use super::table::{Cell, Column, ColumnKind, Table};
use super::{ExploreError, Query, Scene, View};
use crate::child::Strings;
use crate::facts::strings::shown;
use leakhound_clr::{Object, Runtime};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) const VIEW: View = View {
    name: "strings",
    about: "contents of strings, alive or dead, and what their repetition costs",
    argument: None,
    columns: &[
        Column::new("value", ColumnKind::Name),
        Column::new("length", ColumnKind::Number),
        Column::new("count", ColumnKind::Count)
            .titled("strings")
            .summed(),
        Column::new("bytes", ColumnKind::Bytes).summed(),
        Column::new("wasted_bytes", ColumnKind::Bytes)
            .titled("wasted")
            .summed(),
    ],
    sort: "wasted_bytes",
    share: Some("wasted_bytes"),
    read,
};

/// Different contents that are told apart.
const CONTENTS: usize = 8 << 20;
/// Longer strings are compared by their beginning and their length.
const HASHED_BYTES: usize = 1 << 20;
/// Contents that get a row; the rest is in the totals.
const SHOWN_CONTENTS: usize = 50_000;
/// Offset of the first character (vm/object.h, `StringObject`): method table, length, text.
const TEXT_OFFSET: u64 = 12;

struct Content {
    count: u64,
    bytes_each: u64,
    sample: u64,
}

#[derive(Default)]
struct Tally {
    contents: HashMap<(u64, u32), Content>,
    buffer: Vec<u8>,
    /// Strings that found no room among the contents.
    others: (u64, u64),
}

fn read(scene: &mut Scene<'_>, _query: &Query) -> Result<Table, ExploreError> {
    let strings = scene.strings;
    scene.runtime(false)?;
    scene.say(0.2, "comparing strings");
    let runtime = scene.runtime(false)?;
    let room = AtomicUsize::new(CONTENTS);
    let walk = runtime.walk(Tally::default, |tally: &mut Tally, object: Object| {
        if let Some(length) = runtime.string_length(object.address) {
            tally.add(runtime, &object, length, &room);
        }
    });
    let mut pieces = walk.accumulators.into_iter();
    let mut all = pieces.next().unwrap_or_default();
    pieces.for_each(|piece| all.merge(piece));
    Ok(all.into_table(runtime, strings))
}

impl Tally {
    fn add(&mut self, runtime: &Runtime, object: &Object, length: u32, room: &AtomicUsize) {
        let wanted = (length as usize).saturating_mul(2).min(HASHED_BYTES);
        self.buffer.resize(wanted, 0);
        let at = object.address + TEXT_OFFSET;
        if runtime.memory().read(at, &mut self.buffer) != wanted {
            return;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.buffer);
        let key = (hasher.finish(), length);
        if let Some(content) = self.contents.get_mut(&key) {
            content.count += 1;
            return;
        }
        let take = |left: usize| left.checked_sub(1);
        if room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_err()
        {
            self.others.0 += 1;
            self.others.1 += object.size;
            return;
        }
        let content = Content {
            count: 1,
            bytes_each: object.size,
            sample: object.address,
        };
        self.contents.insert(key, content);
    }

    fn merge(&mut self, other: Self) {
        self.others.0 += other.others.0;
        self.others.1 += other.others.1;
        for (key, theirs) in other.contents {
            let mine = self
                .contents
                .entry(key)
                .or_insert(Content { count: 0, ..theirs });
            mine.count += theirs.count;
            mine.sample = mine.sample.min(theirs.sample);
        }
    }

    fn into_table(self, runtime: &Runtime, strings: Strings) -> Table {
        let wasted = |c: &Content| (c.count - 1) * c.bytes_each;
        let mut contents: Vec<((u64, u32), Content)> = self.contents.into_iter().collect();
        let sum =
            |pick: &dyn Fn(&Content) -> u64| contents.iter().map(|(_, c)| pick(c)).sum::<u64>();
        let totals = vec![
            Cell::Null,
            Cell::Null,
            Cell::Int(sum(&|c| c.count) + self.others.0),
            Cell::Int(sum(&|c| c.count * c.bytes_each) + self.others.1),
            Cell::Int(sum(&wasted)),
        ];
        let row_count = contents.len() as u64;
        contents.sort_unstable_by_key(|(key, c)| {
            (std::cmp::Reverse((wasted(c), c.bytes_each)), c.sample, *key)
        });
        contents.truncate(SHOWN_CONTENTS);
        let mut notes = Vec::new();
        if row_count > SHOWN_CONTENTS as u64 {
            notes.push(format!(
                "Rows are the {SHOWN_CONTENTS} contents that waste most; the totals are of all {row_count}."
            ));
        }
        if self.others.0 > 0 {
            notes.push(format!(
                "More than {CONTENTS} different contents: {} strings were not compared.",
                self.others.0
            ));
        }
        if strings == Strings::Hashed {
            notes.push(
                "Contents are told by length and hash; --show-strings shows them, secrets scrubbed."
                    .to_owned(),
            );
        }
        let row = |((hash, length), content): ((u64, u32), Content)| {
            vec![
                Cell::Text(shown(runtime, strings, content.sample, hash, length)),
                length.into(),
                content.count.into(),
                (content.count * content.bytes_each).into(),
                wasted(&content).into(),
            ]
        };
        Table {
            rows: contents.into_iter().map(row).collect(),
            row_count,
            totals,
            notes,
        }
    }
}

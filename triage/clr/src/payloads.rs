//! Where the contents of strings and primitive arrays lie, so that a dump can be written without them.
//!
//! The heap keeps what its graph is made of: headers, lengths, fields, arrays of references and the headers of free
//! blocks. Everything else in its segments is erased, whatever it is: contents, what freed objects left behind, and
//! memory that was never used. What is not understood is erased too.

use crate::runtime::{NoRuntime, Options, Runtime};
use crate::segments::HeapRange;
use crate::shapes::TypeId;
use crate::window::{SMALL_PIECE_BYTES, Window};
use leakhound_dump::ProcessImage;

/// Bytes that one bit stands for: headers and lengths have four.
const UNIT: u64 = 4;
/// Bytes that one word of bits stands for.
const WORD_BYTES: u64 = UNIT * 64;
/// An object's header lies in the four bytes before it.
const HEADER: u64 = 4;
/// Of a free block: method table and length.
const FREE_KEPT: u64 = 16;
/// Of a string: method table and length; characters follow (CoreCLR, object.h `StringObject`).
const STRING_KEPT: u64 = 12;

/// Erases the contents of a process's managed heap from its memory as it is copied.
pub struct Payloads {
    runtime: Runtime,
    spans: Vec<Span>,
    current: Option<Keep>,
}

/// A segment's committed memory.
struct Span {
    start: u64,
    end: u64,
    parts: Vec<HeapRange>,
}

/// What is kept of one range, one bit for [`UNIT`] bytes.
struct Keep {
    range: HeapRange,
    bits: Vec<u64>,
}

impl Keep {
    fn new(range: HeapRange) -> Self {
        let words = (range.end - range.start).div_ceil(WORD_BYTES);
        let mut this = Self {
            range,
            bits: vec![0; usize::try_from(words).unwrap_or(0)],
        };
        // The header of what follows the range.
        this.keep(range.end - HEADER, range.end);
        this
    }

    fn keep(&mut self, from: u64, until: u64) {
        let (start, end) = (self.range.start, self.range.end);
        let from = from.clamp(start, end) - start;
        let until = until.clamp(start, end) - start;
        let (mut bit, end) = (from / UNIT, until / UNIT);
        while bit < end {
            let within = bit % 64;
            let n = (64 - within).min(end - bit);
            let ones = if n == 64 { u64::MAX } else { (1 << n) - 1 };
            if let Some(word) = self.bits.get_mut((bit / 64) as usize) {
                *word |= ones << within;
            }
            bit += n;
        }
    }

    /// Erases in `bytes`, which begin at `address` within the range.
    fn erase(&self, address: u64, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let place = address + at as u64 - self.range.start;
            let word = self.bits.get((place / WORD_BYTES) as usize);
            let word = word.copied().unwrap_or(0);
            let rest = (WORD_BYTES - place % WORD_BYTES) as usize;
            let end = bytes.len().min(at + rest);
            match word {
                u64::MAX => {}
                0 => bytes[at..end].fill(0),
                _ => {
                    for (n, byte) in bytes[at..end].iter_mut().enumerate() {
                        let bit = (place + n as u64) % WORD_BYTES / UNIT;
                        if word >> bit & 1 == 0 {
                            *byte = 0;
                        }
                    }
                }
            }
            at = end;
        }
    }
}

impl Payloads {
    /// Finds the heap of a process that stands still.
    ///
    /// # Errors
    /// There is no runtime, or none that this build can read.
    pub fn find(image: &ProcessImage) -> Result<Self, NoRuntime> {
        let runtime = Runtime::open(image, &Options::default())?;
        let segments = runtime.heaps().iter().flat_map(|h| &h.segments);
        let mut spans: Vec<Span> = segments
            .map(|s| Span {
                start: s.start,
                end: s.committed_end.max(s.allocated_end),
                parts: s.parts.clone(),
            })
            .collect();
        spans.sort_by_key(|s| s.start);
        Ok(Self {
            runtime,
            spans,
            current: None,
        })
    }

    /// Erases what must not be kept from `bytes`, which were read at `address`. True when any of them belong to the
    /// managed heap. Cheap while addresses grow.
    pub fn erase(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        let end = address.saturating_add(bytes.len() as u64);
        let first = self.spans.partition_point(|s| s.end <= address);
        let mut any = false;
        for index in first..self.spans.len() {
            let Some(span) = self.spans.get(index).filter(|s| s.start < end) else {
                break;
            };
            any = true;
            let (mut at, stop) = (span.start.max(address), span.end.min(end));
            while at < stop {
                let span = &self.spans[index];
                let part = span.parts.iter().find(|p| p.end > at).copied();
                let next = part.map_or(stop, |p| if p.start > at { p.start } else { p.end });
                let until = next.min(stop);
                let slice = &mut bytes[(at - address) as usize..(until - address) as usize];
                match part.filter(|p| p.start <= at) {
                    Some(range) => {
                        self.load(range);
                        if let Some(keep) = &self.current {
                            keep.erase(at, slice);
                        }
                    }
                    // Committed, and nothing lies there.
                    None => slice.fill(0),
                }
                at = until;
            }
        }
        any
    }

    /// Looks at a range, unless it is the one that was looked at last.
    fn load(&mut self, range: HeapRange) {
        if self.current.as_ref().is_some_and(|k| k.range == range) {
            return;
        }
        let mut keep = Keep::new(range);
        let runtime = &self.runtime;
        let walker = runtime.walker();
        let mut tools = walker.tools();
        let mut rules: Vec<Option<Rule>> = Vec::new();
        let mut gaps = Window::new(&*runtime.memory, SMALL_PIECE_BYTES);
        let mut after = range.start;
        walker.walk_range(&range, &mut tools, |object| {
            keep_free(runtime, &mut gaps, &mut keep, after, object.address);
            let index = object.type_id.index();
            if rules.len() <= index {
                rules.resize(index + 1, None);
            }
            let rule = *rules[index].get_or_insert_with(|| Rule::of(runtime, object.type_id));
            let end = object.address + object.size;
            let kept = match rule {
                Rule::Head(bytes) => (object.address + bytes).min(end),
                // The last bytes belong to the header of what follows.
                Rule::Whole => end - HEADER,
            };
            keep.keep(object.address.saturating_sub(HEADER), kept);
            after = end;
        });
        keep_free(runtime, &mut gaps, &mut keep, after, range.end);
        self.current = Some(keep);
    }
}

/// What is kept of an object.
#[derive(Debug, Clone, Copy)]
enum Rule {
    Whole,
    Head(u64),
}

impl Rule {
    fn of(runtime: &Runtime, id: TypeId) -> Self {
        let Some(table) = runtime.shapes.table(id) else {
            return Self::Head(FREE_KEPT);
        };
        if !table.has_components() || table.has_references() {
            return Self::Whole;
        }
        if table.address == runtime.string_table || !table.is_array() {
            return Self::Head(STRING_KEPT);
        }
        // The base size counts the header, bounds included where there are any.
        Self::Head(u64::from(table.base_size).saturating_sub(8).max(FREE_KEPT))
    }
}

/// Keeps the headers of free blocks in a gap between objects. What is no free block ends it: an allocation context, or
/// damage.
fn keep_free(runtime: &Runtime, window: &mut Window<'_>, keep: &mut Keep, mut at: u64, until: u64) {
    while at < until {
        let Some((word, count)) = window.header(at) else {
            return;
        };
        if word & !7 != runtime.free_table {
            // The rest of the gap may hold free blocks behind an allocation context.
            let context = runtime.alloc_contexts.iter().find(|c| c.0 == at);
            match context.map(|c| c.1.saturating_add(24)) {
                Some(after) if after > at => at = after,
                _ => return,
            }
            continue;
        }
        keep.keep(at.saturating_sub(HEADER), at + FREE_KEPT);
        // Base size 24, one byte for each element, as the heap rounds.
        at += ((24 + u64::from(count) + 7) & !7).max(24);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::Generation;

    #[test]
    fn what_is_not_kept_is_erased_to_the_byte() {
        let range = HeapRange {
            heap: 0,
            generation: Generation::Gen2,
            start: 0x1000,
            end: 0x2000,
        };
        let mut keep = Keep::new(range);
        keep.keep(0xffc, 0x1010);
        keep.keep(0x11fc, 0x140c);
        for (address, len) in [(0x1000, 0x1000), (0x1002, 0x5fd), (0x1ffe, 2)] {
            let mut bytes = vec![7; len];
            keep.erase(address, &mut bytes);
            for (n, byte) in bytes.iter().enumerate() {
                let at = address + n as u64;
                let kept = at < 0x1010 || (0x11fc..0x140c).contains(&at) || at >= 0x1ffc;
                assert_eq!(*byte, if kept { 7 } else { 0 }, "{at:#x}");
            }
        }
    }
}

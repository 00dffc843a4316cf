//! Dumps of the kind `structure`: what people typed, sent and stored stays out; the graph of objects stays whole.
//!
//! The managed heap is erased object by object ([`leakhound_clr::Payloads`]). Beside it copies of text lie about, on stacks,
//! in buffers of native libraries, in the environment: there every run of readable text is erased, but for the paths of
//! modules. Files that are mapped (code, metadata, literals of the program) are the program, not its data.
//!
//! That lowers the risk of a dump and does not end it: numbers in fields stay, and bytes outside the heap that are no
//! text.

use leakhound_clr::Payloads;
use leakhound_dump::ProcessImage;
use std::ops::Range;

/// Readable bytes in a row that are taken for text.
const NARROW_RUN: usize = 8;
/// Readable UTF-16 units in a row that are taken for text.
const WIDE_RUN: usize = 6;
/// Ends of the paths that a reader of the heap needs.
const MODULE_ENDS: [&str; 3] = [".dll", ".exe", ".so"];

/// Erases contents from memory as it is copied.
pub(crate) struct Redactor {
    payloads: Payloads,
    /// Anonymous memory: everything that is no file.
    anonymous: Vec<Range<u64>>,
}

impl Redactor {
    /// For a process that stands still; `anonymous` is its memory that is no file, in order.
    ///
    /// # Errors
    /// A sentence: without its runtime nobody knows where contents lie.
    pub(crate) fn new(image: &ProcessImage, anonymous: Vec<Range<u64>>) -> Result<Self, String> {
        let payloads = Payloads::find(image)
            .map_err(|e| format!("where its strings and arrays lie is not known: {e}"))?;
        Ok(Self {
            payloads,
            anonymous,
        })
    }

    /// Erases from `bytes`, which were read at `address`.
    pub(crate) fn redact(&mut self, address: u64, bytes: &mut [u8]) {
        self.payloads.erase(address, bytes);
        let end = address + bytes.len() as u64;
        let first = self.anonymous.partition_point(|r| r.end <= address);
        for range in self.anonymous[first..].iter().take_while(|r| r.start < end) {
            let offset = |at: u64| (at.clamp(address, end) - address) as usize;
            erase_text(&mut bytes[offset(range.start)..offset(range.end)]);
        }
    }
}

const fn is_readable(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e | b'\t' | b'\r' | b'\n')
}

/// Erases runs of readable text, one or two bytes a character.
fn erase_text(bytes: &mut [u8]) {
    let mut at = 0;
    while at < bytes.len() {
        if !is_readable(bytes[at]) {
            at += 1;
            continue;
        }
        let narrow = bytes[at..].iter().take_while(|b| is_readable(**b)).count();
        let wide = bytes[at..]
            .as_chunks::<2>()
            .0
            .iter()
            .take_while(|unit| is_readable(unit[0]) && unit[1] == 0)
            .count();
        let (length, is_text) = if wide > 1 {
            (wide * 2, wide >= WIDE_RUN)
        } else {
            (narrow, narrow >= NARROW_RUN)
        };
        let run = &mut bytes[at..at + length];
        if is_text && !is_module_path(run) {
            run.fill(0);
        }
        at += length;
    }
}

fn is_module_path(run: &[u8]) -> bool {
    let text: String = run
        .iter()
        .filter(|b| **b != 0)
        .map(|b| char::from(*b))
        .collect();
    let is_path =
        text.starts_with('/') || text.starts_with("\\\\") || text.get(1..3) == Some(":\\");
    is_path && MODULE_ENDS.iter().any(|end| text.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn text_goes_and_pointers_and_module_paths_stay() {
        let mut bytes = Vec::new();
        bytes.extend(0x7f12_3456_7890_u64.to_le_bytes());
        bytes.extend(b"Password=hunter2");
        bytes.push(0);
        bytes.extend(wide("hunter2"));
        bytes.extend([0, 0, 1, 2, 3]);
        bytes.extend(wide("/app/Shop.dll"));
        bytes.extend([0, 0]);
        bytes.extend(wide("C:\\app\\Shop.dll"));
        bytes.extend([0, 0]);
        bytes.extend(b"short");
        let mut expected = bytes.clone();
        expected[8..24].fill(0);
        expected[25..39].fill(0);
        erase_text(&mut bytes);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn text_at_odd_places_and_at_the_end_goes_too() {
        for lead in 0..4 {
            let mut bytes = vec![0xff; lead];
            bytes.extend(wide("secret token"));
            erase_text(&mut bytes);
            assert!(bytes[lead..].iter().all(|b| *b == 0), "{lead}");
        }
    }
}

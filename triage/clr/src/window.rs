//! Sequential access to heap bytes: borrowed where the dump lies in memory, else copied in large pieces.

use leakhound_dump::Memory;

/// A cursor's view of memory. Reads are cheap while addresses grow.
pub(crate) struct Window<'a> {
    memory: &'a dyn Memory,
    /// Borrowed bytes and the address of the first.
    lent: Option<(&'a [u8], u64)>,
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
    piece: usize,
}

/// Bytes copied at once where objects are small.
pub(crate) const PIECE_BYTES: usize = 1 << 18;
/// Bytes copied at once where most of an object is never looked at.
pub(crate) const SMALL_PIECE_BYTES: usize = 1 << 12;

impl<'a> Window<'a> {
    /// A window that will be asked for addresses in `start..end`.
    pub fn new(memory: &'a dyn Memory, start: u64, end: u64, piece: usize) -> Self {
        let len = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let lent = memory
            .slice(start, len)
            .filter(|s| s.len() == len)
            .map(|bytes| (bytes, start));
        Self {
            memory,
            lent,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            piece,
        }
    }

    /// Up to `len` bytes at an address; fewer before a hole.
    #[inline]
    pub fn bytes(&mut self, address: u64, len: usize) -> &[u8] {
        if let Some((bytes, start)) = self.lent
            && address >= start
            && let Ok(at) = usize::try_from(address - start)
            && at <= bytes.len()
            && bytes.len() - at >= len
        {
            return &bytes[at..at + len];
        }
        self.copied(address, len)
    }

    fn copied(&mut self, address: u64, len: usize) -> &[u8] {
        let offset = address.wrapping_sub(self.start);
        let here = usize::try_from(offset)
            .ok()
            .filter(|o| o.checked_add(len).is_some_and(|end| end <= self.filled));
        let at = match here {
            Some(at) => at,
            None => {
                self.buffer.resize(self.piece.max(len), 0);
                self.start = address;
                self.filled = self.memory.read(address, &mut self.buffer);
                0
            }
        };
        &self.buffer[at..(at + len).min(self.filled).max(at)]
    }

    /// First word and length word of the object at an address.
    #[inline]
    pub fn header(&mut self, address: u64) -> Option<(u64, u32)> {
        let bytes = self.bytes(address, 16);
        let word = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
        let count = u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?);
        Some((word, count))
    }
}

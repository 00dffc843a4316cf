//! Sequential access to heap bytes: borrowed where the dump lies in memory, else copied, a compressed frame at a time.

use leakhound_dump::Memory;

/// A cursor's view of memory. Reads are cheap while addresses grow.
pub(crate) struct Window<'a> {
    memory: &'a dyn Memory,
    /// Borrowed bytes and the address of the first.
    lent: (&'a [u8], u64),
    buffer: Vec<u8>,
    /// Address of the first byte in `buffer`.
    start: u64,
    filled: usize,
    piece: usize,
}

/// Bytes copied at once where objects are small and the source has no preference.
pub(crate) const PIECE_BYTES: usize = 1 << 18;
/// Bytes copied at once where most of an object is never looked at.
pub(crate) const SMALL_PIECE_BYTES: usize = 1 << 12;
/// First word and length word of an object.
pub(crate) const HEADER_BYTES: usize = 12;

impl<'a> Window<'a> {
    /// A window that copies `piece` bytes at once where it can neither borrow nor ask the source.
    pub fn new(memory: &'a dyn Memory, piece: usize) -> Self {
        Self {
            memory,
            lent: (&[], 0),
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            piece,
        }
    }

    /// All bytes at hand from an address on: at least `least`, fewer only before a hole.
    #[inline]
    pub fn view(&mut self, address: u64, least: usize) -> &[u8] {
        if let Some(bytes) = after(self.lent.0, self.lent.1, address)
            && bytes.len() >= least
        {
            return bytes;
        }
        self.moved(address, least)
    }

    /// Up to `len` bytes at an address; fewer before a hole.
    #[inline]
    pub fn bytes(&mut self, address: u64, len: usize) -> &[u8] {
        let bytes = self.view(address, len);
        &bytes[..bytes.len().min(len)]
    }

    /// First word and length word of the object at an address.
    #[inline]
    pub fn header(&mut self, address: u64) -> Option<(u64, u32)> {
        header(self.view(address, HEADER_BYTES))
    }

    fn moved(&mut self, address: u64, least: usize) -> &[u8] {
        let copied = after(&self.buffer[..self.filled], self.start, address);
        if copied.is_none_or(|bytes| bytes.len() < least) {
            let lent = self.memory.lend(address);
            if lent.len() >= least {
                self.lent = (lent, address);
                return lent;
            }
            self.fill(address, least, lent.is_empty());
        }
        after(&self.buffer[..self.filled], self.start, address).unwrap_or_default()
    }

    /// Copies bytes until there are `least` from `address` on, keeping those that are there already.
    fn fill(&mut self, address: u64, least: usize, in_pieces: bool) {
        match after(&self.buffer[..self.filled], self.start, address) {
            Some(kept) if !kept.is_empty() => {
                let kept = kept.len();
                self.buffer.copy_within(self.filled - kept..self.filled, 0);
                self.filled = kept;
                self.start = address;
            }
            _ => {
                self.filled = 0;
                self.start = self.memory.block(address).map_or(address, |b| b.start);
            }
        }
        let enough = (address - self.start) as usize + least;
        while self.filled < enough {
            let next = self.start.saturating_add(self.filled as u64);
            let wanted = match self.memory.block(next) {
                Some(block) => (block.end - next) as usize,
                // Where two borrowed runs meet, only what crosses the seam is copied.
                None if in_pieces => self.piece.max(enough - self.filled),
                None => enough - self.filled,
            };
            if self.buffer.len() < self.filled + wanted {
                self.buffer.resize(self.filled + wanted, 0);
            }
            let room = &mut self.buffer[self.filled..self.filled + wanted];
            match self.memory.read(next, room) {
                0 => break,
                got => self.filled += got,
            }
        }
    }
}

/// The part of `bytes`, whose first lies at `start`, from an address on; `None` when the address lies elsewhere.
#[inline]
fn after(bytes: &[u8], start: u64, address: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(address.checked_sub(start)?).ok()?..)
}

/// First word and length word at the start of some bytes.
#[inline]
pub(crate) fn header(bytes: &[u8]) -> Option<(u64, u32)> {
    let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let [w0, w1, w2, w3, w4, w5, w6, w7, c0, c1, c2, c3] = *bytes;
    Some((
        u64::from_le_bytes([w0, w1, w2, w3, w4, w5, w6, w7]),
        u32::from_le_bytes([c0, c1, c2, c3]),
    ))
}

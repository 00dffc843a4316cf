//! An address space made by hand, for tests of whatever reads memory.

use crate::memory::{Memory, Region};

/// Memory built from byte strings at chosen addresses.
///
/// ```
/// use leakhound_dump::{MemoryExt, SyntheticMemory};
/// let mut memory = SyntheticMemory::new();
/// memory.put(0x1000, &[1, 2, 3, 4]).put_u64(0x1004, 7);
/// assert_eq!(memory.u64(0x1004), Some(7));
/// assert_eq!(memory.u8(0x2000), None);
/// ```
#[derive(Debug, Clone, Default)]
pub struct SyntheticMemory {
    regions: Vec<Region>,
    bytes: Vec<Vec<u8>>,
}

impl SyntheticMemory {
    /// An empty address space.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `len` zero bytes at `start` readable and writable; what is there already stays.
    pub fn map(&mut self, start: u64, len: usize) -> &mut Self {
        self.map_as(start, len, true, false)
    }

    /// Like [`map`](Self::map) with permissions. Ranges that overlap or touch existing ones with the same permissions merge.
    pub fn map_as(&mut self, start: u64, len: usize, write: bool, execute: bool) -> &mut Self {
        let end = start + len as u64;
        if start == end {
            return self;
        }
        let mut merged = Region {
            start,
            end,
            read: true,
            write,
            execute,
        };
        let from = self.regions.partition_point(|r| r.end < start);
        let mut to = from;
        while self.regions.get(to).is_some_and(|r| r.start <= end) {
            let r = self.regions[to];
            merged.start = merged.start.min(r.start);
            merged.end = merged.end.max(r.end);
            merged.write |= r.write;
            merged.execute |= r.execute;
            to += 1;
        }
        let mut bytes = vec![0; (merged.end - merged.start) as usize];
        for (r, old) in self.regions[from..to].iter().zip(&self.bytes[from..to]) {
            let at = (r.start - merged.start) as usize;
            bytes[at..at + old.len()].copy_from_slice(old);
        }
        self.regions.splice(from..to, [merged]);
        self.bytes.splice(from..to, [bytes]);
        self
    }

    /// Writes bytes, mapping what is not mapped.
    pub fn put(&mut self, address: u64, content: &[u8]) -> &mut Self {
        let end = address + content.len() as u64;
        let inside = |r: &Region| r.start <= address && end <= r.end;
        if !self
            .region_of(address)
            .is_some_and(|i| inside(&self.regions[i]))
        {
            self.map(address, content.len());
        }
        if let Some(i) = self.region_of(address) {
            let at = (address - self.regions[i].start) as usize;
            self.bytes[i][at..at + content.len()].copy_from_slice(content);
        }
        self
    }

    /// Writes eight little-endian bytes.
    pub fn put_u64(&mut self, address: u64, value: u64) -> &mut Self {
        self.put(address, &value.to_le_bytes())
    }

    /// Writes four little-endian bytes.
    pub fn put_u32(&mut self, address: u64, value: u32) -> &mut Self {
        self.put(address, &value.to_le_bytes())
    }

    /// Writes two little-endian bytes.
    pub fn put_u16(&mut self, address: u64, value: u16) -> &mut Self {
        self.put(address, &value.to_le_bytes())
    }

    fn region_of(&self, address: u64) -> Option<usize> {
        let i = self.regions.partition_point(|r| r.end <= address);
        self.regions
            .get(i)
            .is_some_and(|r| r.start <= address)
            .then_some(i)
    }
}

impl Memory for SyntheticMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        let Some(i) = self.region_of(address) else {
            return 0;
        };
        // Touching ranges were merged, so a read never has to go on in the next one.
        let rest = &self.bytes[i][(address - self.regions[i].start) as usize..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        n
    }

    fn regions(&self) -> &[Region] {
        &self.regions
    }

    fn slice(&self, address: u64, len: usize) -> Option<&[u8]> {
        let i = self.region_of(address)?;
        let at = (address - self.regions[i].start) as usize;
        self.bytes[i].get(at..at.checked_add(len)?)
    }

    fn lend(&self, address: u64) -> &[u8] {
        let all = self.region_of(address);
        all.and_then(|i| self.bytes[i].get((address - self.regions[i].start) as usize..))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryExt;

    #[test]
    fn touching_writes_merge_and_keep_their_content() {
        let mut m = SyntheticMemory::new();
        m.put(0x1010, &[5; 8])
            .put(0x1000, &[4; 8])
            .put(0x1008, &[6; 8])
            .put_u32(0x1006, 0);
        assert_eq!(m.regions().len(), 1);
        let mut expected = [4; 24];
        expected[6..10].fill(0);
        expected[10..16].fill(6);
        expected[16..].fill(5);
        assert_eq!(m.array(0x1000), Some(expected));
        assert_eq!(m.array::<25>(0x1000), None);
        assert_eq!(m.slice(0x1010, 8), Some(&[5; 8][..]));
    }
}

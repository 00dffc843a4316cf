//! Memory that does not change, read in blocks that are kept: where each read is a call to another process, many small ones cost
//! most.

use crate::memory::{Memory, Region};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

const BLOCK_BYTES: u64 = 64 << 10;
/// 64 MiB; then all go.
const MOST_BLOCKS: usize = 1024;
/// Larger reads gain nothing from a block.
const LARGE_BYTES: usize = 16 << 10;

/// A memory with its blocks.
pub(crate) struct Kept<M> {
    memory: M,
    /// By address; each as far as it could be read from its beginning.
    blocks: Mutex<HashMap<u64, Arc<[u8]>>>,
}

impl<M: Memory> Kept<M> {
    pub fn new(memory: M) -> Self {
        Self {
            memory,
            blocks: Mutex::default(),
        }
    }

    fn block(&self, start: u64) -> Arc<[u8]> {
        let blocks = || self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = blocks().get(&start) {
            return Arc::clone(block);
        }
        let mut bytes = vec![0; BLOCK_BYTES as usize];
        let there = self.memory.read(start, &mut bytes);
        bytes.truncate(there);
        let block: Arc<[u8]> = bytes.into();
        let mut blocks = blocks();
        if blocks.len() >= MOST_BLOCKS {
            blocks.clear();
        }
        blocks.insert(start, Arc::clone(&block));
        block
    }
}

impl<M: Memory> Memory for Kept<M> {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        if buf.len() >= LARGE_BYTES {
            return self.memory.read(address, buf);
        }
        let mut done = 0;
        while done < buf.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let block = self.block(at & !(BLOCK_BYTES - 1));
            let there = block.get((at % BLOCK_BYTES) as usize..).unwrap_or_default();
            if there.is_empty() {
                // Behind a hole in its block, or nowhere.
                return done + self.memory.read(at, &mut buf[done..]);
            }
            let n = there.len().min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&there[..n]);
            done += n;
        }
        done
    }

    fn regions(&self) -> &[Region] {
        self.memory.regions()
    }

    fn problems(&self) -> Vec<String> {
        self.memory.problems()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::SyntheticMemory;

    #[test]
    fn reads_are_those_of_the_memory_holes_included() {
        let mut memory = SyntheticMemory::new();
        // Two pages, a hole in the same block, a page, and one that begins the block after the next.
        for (start, bytes) in [(0x1_0000, 0x2000), (0x1_8000, 0x1000), (0x3_0000, 0x1000)] {
            memory.map(start, bytes);
            let filled: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
            memory.put(start, &filled);
        }
        let mut plain = SyntheticMemory::new();
        for region in memory.regions() {
            let mut bytes = vec![0; (region.end - region.start) as usize];
            memory.read(region.start, &mut bytes);
            plain.map(region.start, bytes.len());
            plain.put(region.start, &bytes);
        }
        let kept = Kept::new(memory);
        for address in (0xf000..0x3_2000).step_by(97) {
            for length in [1, 8, 300, 0x1800, LARGE_BYTES] {
                let (mut ours, mut theirs) = (vec![7; length], vec![7; length]);
                let n = kept.read(address, &mut ours);
                assert_eq!(n, plain.read(address, &mut theirs), "{address:#x} {length}");
                assert_eq!(ours[..n], theirs[..n], "{address:#x} {length}");
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut memory = SyntheticMemory::new();
        memory.map(0x10_0000, 0x1000);
        let kept = Kept::new(memory);
        for block in 0..3 * MOST_BLOCKS as u64 {
            kept.read(block * BLOCK_BYTES, &mut [0; 8]);
        }
        let blocks = kept.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(blocks.len() <= MOST_BLOCKS);
    }
}

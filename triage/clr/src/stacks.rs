//! Conservative stack roots: every word between a thread's stack pointer and its stack's base that is the address of an object.
//!
//! Precise roots need the code generator's maps; this finds all of them and some that are dead. Reports say "conservative".

use crate::limits;
use crate::runtime::Runtime;
use crate::snapshot::Snapshot;
use crate::threads::ManagedThread;
use leakhound_dump::Memory;
use serde::Serialize;
use std::collections::HashSet;

/// Objects that a thread's stack or registers may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StackRoots {
    /// Kernel thread id.
    pub os_id: u32,
    /// Managed id.
    pub managed_id: u32,
    /// Bytes of stack that were searched.
    pub stack_bytes: u64,
    /// Indices of objects, each once, in the order of the stack from its top.
    pub objects: Vec<u32>,
}

impl Runtime {
    /// Searches the stacks and registers of all managed threads.
    #[must_use]
    pub fn stack_roots(&self, snapshot: &Snapshot) -> Vec<StackRoots> {
        let mut all = Vec::new();
        for thread in self.threads.iter().filter(|t| t.is_alive() && t.os_id != 0) {
            let Some(os) = self.os_threads.iter().find(|t| t.os_id == thread.os_id) else {
                continue;
            };
            let mut objects = Vec::new();
            let mut seen = HashSet::new();
            let mut judge = |word: u64| {
                if let Some(index) = snapshot.index_of(word)
                    && seen.insert(index)
                {
                    objects.push(index);
                }
            };
            os.registers.iter().for_each(|word| judge(*word));
            let stack_bytes = scan(&*self.memory, os.sp, &mut judge);
            all.push(StackRoots {
                os_id: thread.os_id,
                managed_id: thread.managed_id,
                stack_bytes,
                objects,
            });
        }
        all
    }
}

impl Runtime {
    /// Addresses of objects on a thread's stack, each once, in the order of the stack from its top. A word counts when it lies in
    /// the heap and what it leads to starts with a type.
    pub(crate) fn stack_objects(&self, thread: &ManagedThread) -> Vec<u64> {
        let Some(os) = self.os_threads.iter().find(|t| t.os_id == thread.os_id) else {
            return Vec::new();
        };
        let mut objects = Vec::new();
        let mut seen = HashSet::new();
        scan(&*self.memory, os.sp, &mut |word| {
            let after = self.ranges.partition_point(|r| r.start <= word);
            let inside = after
                .checked_sub(1)
                .and_then(|i| self.ranges.get(i))
                .is_some_and(|range| word < range.end && word.is_multiple_of(8));
            if inside && seen.insert(word) && self.type_of(word).is_some() {
                objects.push(word);
            }
        });
        objects
    }
}

/// Gives every word from `sp` to the end of its region to `judge`; returns the bytes that were there.
fn scan(memory: &dyn Memory, sp: u64, judge: &mut impl FnMut(u64)) -> u64 {
    let regions = memory.regions();
    let at = regions.partition_point(|r| r.end <= sp);
    let Some(region) = regions.get(at).filter(|r| r.start <= sp) else {
        return 0;
    };
    let start = sp & !7;
    let end = region.end.min(start.saturating_add(limits::STACK_BYTES));
    let mut buffer = vec![0u8; 1 << 16];
    let mut at = start;
    while at < end {
        let want = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let got = memory.read(at, &mut buffer[..want]);
        if got < 8 {
            break;
        }
        buffer[..got]
            .chunks_exact(8)
            .for_each(|word| judge(u64::from_le_bytes(word.try_into().unwrap_or_default())));
        at += got as u64 & !7;
    }
    at - start
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakhound_dump::SyntheticMemory;

    #[test]
    fn every_word_up_to_the_base_is_judged_and_nothing_beyond() {
        let mut memory = SyntheticMemory::new();
        memory
            .map(0x7000, 0x1000)
            .put_u64(0x7F00, 1)
            .put_u64(0x7F08, 2)
            .put_u64(0x7FF8, 3);
        let mut words = Vec::new();
        let bytes = scan(&memory, 0x7F04, &mut |word| {
            words.extend((word != 0).then_some(word))
        });
        assert_eq!((bytes, words), (0x100, vec![1, 2, 3]));
        assert_eq!(scan(&memory, 0x9000, &mut |_| {}), 0);
    }
}

//! The memory of a running process, a page at a time: what lies side by side is fetched by one system call.
//!
//! A peek follows lists whose nodes are a few words each, and all nodes of a heap of regions lie in one array. Asked
//! for node by node, a heap of a gigabyte would cost hundreds of calls. A page is kept for one attempt only.

use leakhound_dump::{Memory, Region};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const PAGE_BYTES: usize = 4096;

type Page = Box<[u8; PAGE_BYTES]>;

/// One attempt's view of a process's memory.
pub(super) struct Pages<'a> {
    memory: &'a dyn Memory,
    seen: Mutex<HashMap<u64, Option<Page>>>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(memory: &'a dyn Memory) -> Self {
        Self {
            memory,
            seen: Mutex::default(),
        }
    }

    fn load(&self, start: u64) -> Option<Page> {
        let mut page = Box::new([0; PAGE_BYTES]);
        // A page is there as a whole or not at all.
        (self.memory.read(start, &mut page[..]) == PAGE_BYTES).then_some(page)
    }
}

impl Memory for Pages<'_> {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        if buf.len() > PAGE_BYTES {
            return self.memory.read(address, buf);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < buf.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let offset = (at % PAGE_BYTES as u64) as usize;
            let start = at - offset as u64;
            let page = seen.entry(start).or_insert_with(|| self.load(start));
            let Some(page) = page else { break };
            let n = (PAGE_BYTES - offset).min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&page[offset..offset + n]);
            done += n;
        }
        done
    }

    fn regions(&self) -> &[Region] {
        self.memory.regions()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Pages 16 and 17 are there; each byte is the lower part of its address.
    #[derive(Default)]
    struct Two(AtomicUsize);

    impl Memory for Two {
        fn read(&self, address: u64, buf: &mut [u8]) -> usize {
            self.0.fetch_add(1, Ordering::Relaxed);
            let mut n = 0;
            for (at, byte) in (address..).zip(buf) {
                if !(0x10_000..0x12_000).contains(&at) {
                    break;
                }
                *byte = at as u8;
                n += 1;
            }
            n
        }

        fn regions(&self) -> &[Region] {
            &[]
        }
    }

    #[test]
    fn bytes_are_those_of_the_process_and_each_page_is_asked_for_once() {
        let memory = Two::default();
        let pages = Pages::new(&memory);
        for (address, len, there) in [
            (0x10_008, 16, 16),
            (0x10_ff8, 16, 16),
            (0x11_ff8, 16, 8),
            (0x12_000, 8, 0),
            (0x12_008, 8, 0),
            (u64::MAX - 3, 8, 0),
            (0x10_000, 4096, 4096),
        ] {
            let (mut direct, mut paged) = (vec![0; len], vec![0; len]);
            let n = Two::default().read(address, &mut direct);
            assert_eq!(pages.read(address, &mut paged), n, "{address:#x}");
            assert_eq!((n, &paged[..n]), (there, &direct[..n]));
        }
        // Two pages, the hole behind them, and the last page of all addresses.
        assert_eq!(memory.0.load(Ordering::Relaxed), 4);
        let mut large = vec![0; 0x2000];
        assert_eq!(pages.read(0x10_000, &mut large), 0x2000);
        assert_eq!(memory.0.load(Ordering::Relaxed), 5);
    }
}

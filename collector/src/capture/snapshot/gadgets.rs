//! Three short pieces of code that every libc has, found in the target's own text. Nothing is ever written there.

use crate::proc_maps::Mapping;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Text searched at most.
const MAX_SEARCH_BYTES: u64 = 256 << 20;
/// Read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Longest pattern, so that none is missed between two chunks.
const OVERLAP: usize = 16;

/// `syscall; ret`.
const CALL: &[u8] = b"\x0f\x05\xc3";
/// glibc's common form: `syscall; cmp $-4095,%rax; jae .+1; ret`.
const CALL_CHECKED: &[u8] = b"\x0f\x05\x48\x3d\x01\xf0\xff\xff\x73\x01\xc3";
/// `__restore_rt` of glibc and musl: `mov $15,%rax; syscall`.
const SIGRETURN: &[u8] = b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05";
/// The same from other compilers: `mov $15,%eax; syscall`.
const SIGRETURN_SHORT: &[u8] = b"\xb8\x0f\0\0\0\x0f\x05";
/// `mov $60,%eax; syscall`: the end of a thread in `clone`.
const EXIT: &[u8] = b"\xb8\x3c\0\0\0\x0f\x05";
/// `mov $231,%eax; syscall`: the end of a process.
const EXIT_GROUP: &[u8] = b"\xb8\xe7\0\0\0\x0f\x05";
/// `mov $60,%al; syscall`, which musl has after `xor %eax,%eax`; a new process begins with 0 there.
const EXIT_MUSL: &[u8] = b"\xb0\x3c\x0f\x05";

/// Addresses in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gadgets {
    /// Makes the system call in the registers and returns.
    pub call: u64,
    /// Restores all registers from the signal frame on the stack.
    pub sigreturn: u64,
    /// Ends the process that gets here.
    pub exit: u64,
}

/// Finds the pieces in the executable mappings of files, the C library first.
pub fn find(maps: &[Mapping], memory: &File) -> Option<Gadgets> {
    let mut text: Vec<&Mapping> = maps
        .iter()
        .filter(|m| m.executable() && m.readable() && !m.writable() && m.is_file())
        .collect();
    text.sort_by_key(|m| {
        let name = m.file_name();
        let libc = ["libc.so", "libc-", "libc.musl", "ld-musl"];
        !libc.iter().any(|l| name.starts_with(l))
    });
    let mut found = Search::default();
    let mut left = MAX_SEARCH_BYTES;
    let mut buffer = vec![0; CHUNK_BYTES + OVERLAP];
    for mapping in text {
        let mut at = mapping.entry.start;
        while at < mapping.entry.end && left > 0 {
            let want = buffer.len().min((mapping.entry.end - at) as usize);
            let got = memory.read_at(&mut buffer[..want], at).unwrap_or(0);
            if got == 0 {
                break;
            }
            if let Some(all) = found.look(at, &buffer[..got]) {
                return Some(all);
            }
            let step = got.min(CHUNK_BYTES) as u64;
            at += step;
            left = left.saturating_sub(step);
        }
    }
    None
}

/// They are still where they were found.
pub fn are_there(gadgets: &Gadgets, memory: &File) -> bool {
    let begins = |at: u64, patterns: &[&[u8]]| {
        let mut bytes = [0; OVERLAP];
        memory.read_at(&mut bytes, at).is_ok_and(|n| {
            patterns
                .iter()
                .any(|p| n >= p.len() && bytes.starts_with(p))
        })
    };
    begins(gadgets.call, &[CALL, CALL_CHECKED])
        && begins(gadgets.sigreturn, &[SIGRETURN, SIGRETURN_SHORT])
        && begins(gadgets.exit, &[EXIT, EXIT_GROUP, EXIT_MUSL])
}

#[derive(Default)]
struct Search {
    call: Option<u64>,
    sigreturn: Option<u64>,
    exit: Option<u64>,
}

impl Search {
    fn look(&mut self, base: u64, bytes: &[u8]) -> Option<Gadgets> {
        let first = |patterns: &[&[u8]]| {
            let mut places = patterns.iter().filter_map(|p| {
                let at = bytes.windows(p.len()).position(|w| w == *p)?;
                Some(base + at as u64)
            });
            places.next()
        };
        self.call = self.call.or_else(|| first(&[CALL, CALL_CHECKED]));
        self.sigreturn = self
            .sigreturn
            .or_else(|| first(&[SIGRETURN, SIGRETURN_SHORT]));
        self.exit = self.exit.or_else(|| first(&[EXIT, EXIT_GROUP, EXIT_MUSL]));
        Some(Gadgets {
            call: self.call?,
            sigreturn: self.sigreturn?,
            exit: self.exit?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn our_own_libc_has_them() {
        let maps = crate::proc_maps::of_process(std::process::id()).unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let gadgets = find(&maps, &memory).unwrap();
        assert!(are_there(&gadgets, &memory));
        let moved = Gadgets {
            exit: gadgets.exit + 1,
            ..gadgets
        };
        assert!(!are_there(&moved, &memory));
    }

    #[test]
    fn pieces_are_found_wherever_they_lie() {
        let mut search = Search::default();
        let mut first = vec![0x90; 100];
        first[97..].copy_from_slice(CALL);
        assert_eq!(search.look(0x1000, &first), None);
        let mut second = vec![0x90; 100];
        second[..9].copy_from_slice(SIGRETURN);
        second[40..44].copy_from_slice(EXIT_MUSL);
        let all = search.look(0x2000, &second).unwrap();
        assert_eq!(
            (all.call, all.sigreturn, all.exit),
            (0x1061, 0x2000, 0x2028)
        );
    }
}

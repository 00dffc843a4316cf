//! Whether an executable carries the .NET runtime within itself.

use leakhound_archive::ReadAt;
use leakhound_archive::read_at::PlainFile;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Executables remembered; a node runs far fewer.
const MAX_CACHED: usize = 4096;
/// Largest table of symbol names read.
const MAX_STRINGS: u64 = 4 << 20;
/// Section headers looked at.
const MAX_SECTIONS: u64 = 4096;
const SHT_DYNSYM: u32 = 11;
/// What `singlefilehost` exports for debuggers (dotnet/runtime, src/coreclr/debug/runtimeinfo).
const EXPORT: &[u8] = b"\0DotNetRuntimeInfo\0";

/// Answers by file: each executable is examined once.
#[derive(Debug, Default)]
pub struct SingleFileCache {
    known: BTreeMap<(u64, u64, i64), bool>,
}

impl SingleFileCache {
    /// True when the executable of `pid` exports `DotNetRuntimeInfo`.
    pub fn is_single_file(&mut self, pid: u32) -> bool {
        let path = format!("/proc/{pid}/exe");
        let path = Path::new(&path);
        let Ok(meta) = fs::metadata(path) else {
            return false;
        };
        let key = (meta.dev(), meta.ino(), meta.mtime());
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let answer =
            PlainFile::open(path).is_ok_and(|file| exports_runtime(&file).unwrap_or(false));
        if self.known.len() >= MAX_CACHED {
            self.known.clear();
        }
        self.known.insert(key, answer);
        answer
    }
}

/// Looks for the export in the names of dynamic symbols. `None`: not a 64-bit ELF file, or damaged.
fn exports_runtime(file: &dyn ReadAt) -> Option<bool> {
    let header: [u8; 64] = array(file, 0)?;
    if header[..6] != *b"\x7fELF\x02\x01" {
        return None;
    }
    let table = word(&header, 40);
    let (size, count) = (half(&header, 58), half(&header, 60));
    if size < 64 {
        return None;
    }
    let section = |index: u64| -> Option<[u8; 64]> {
        array(file, table.checked_add(index.checked_mul(size)?)?)
    };
    for index in 0..count.min(MAX_SECTIONS) {
        let symbols = section(index)?;
        if u32::from_le_bytes(*symbols[4..].first_chunk()?) == SHT_DYNSYM {
            let link = u32::from_le_bytes(*symbols[40..].first_chunk()?);
            let strings = section(u64::from(link))?;
            let (offset, length) = (word(&strings, 24), word(&strings, 32).min(MAX_STRINGS));
            let mut names = vec![0; length as usize];
            let got = file.read_at(offset, &mut names).ok()?;
            return Some(names[..got].windows(EXPORT.len()).any(|w| w == EXPORT));
        }
    }
    Some(false)
}

fn array<const N: usize>(file: &dyn ReadAt, at: u64) -> Option<[u8; N]> {
    let mut buf = [0; N];
    (file.read_at(at, &mut buf).ok()? == N).then_some(buf)
}

/// Little-endian, at an offset that lies within the array by construction.
fn word(bytes: &[u8; 64], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |b| u64::from_le_bytes(*b))
}

fn half(bytes: &[u8; 64], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |b| u64::from(u16::from_le_bytes(*b)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_ordinary_program_is_not_a_single_file_host() {
        assert!(!SingleFileCache::default().is_single_file(std::process::id()));
    }

    #[test]
    fn damaged_files_give_no_answer_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0xff);
        for content in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &bytes] {
            fs::write(&path, content).unwrap();
            assert_eq!(exports_runtime(&PlainFile::open(&path).unwrap()), None);
        }
    }
}

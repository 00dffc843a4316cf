//! Whether an executable carries the .NET runtime within itself.

use leakhound_archive::ReadAt;
use leakhound_archive::read_at::PlainFile;
use leakhound_dump::pe::PeHeaders;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Executables remembered; a node runs far fewer.
const MAX_CACHED: usize = 4096;
/// Bytes of an export directory's names that are read.
const MAX_NAMES: usize = 4 << 20;
/// What `singlefilehost` exports for debuggers (dotnet/runtime, src/coreclr/debug/runtimeinfo).
const EXPORT: &[u8] = b"\0DotNetRuntimeInfo\0";
/// `Magic` of the optional header of a 64-bit image.
const MAGIC_PE32_PLUS: u16 = 0x20b;

/// Answers by file: each executable is examined once.
#[derive(Debug, Default)]
pub struct SingleFileCache {
    known: BTreeMap<(PathBuf, Option<SystemTime>), bool>,
}

impl SingleFileCache {
    /// True when the executable exports `DotNetRuntimeInfo`.
    pub fn is_single_file(&mut self, executable: &Path) -> bool {
        let modified = fs::metadata(executable)
            .and_then(|meta| meta.modified())
            .ok();
        let key = (executable.to_owned(), modified);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let answer =
            PlainFile::open(executable).is_ok_and(|file| exports_runtime(&file).unwrap_or(false));
        if self.known.len() >= MAX_CACHED {
            self.known.clear();
        }
        self.known.insert(key, answer);
        answer
    }
}

/// Looks for the export among the names of the export directory, which lie within it. `None`: not a 64-bit PE file, or
/// damaged.
fn exports_runtime(file: &dyn ReadAt) -> Option<bool> {
    let headers = PeHeaders::in_file(file)?;
    // `e_lfanew` 0x3c; optional header 24 after that: Magic 0, NumberOfRvaAndSizes 108, the directories from 112.
    let pe = u64::from(u32::from_le_bytes(array(file, 0x3c)?));
    let optional = pe.checked_add(24)?;
    if u16::from_le_bytes(array(file, optional)?) != MAGIC_PE32_PLUS {
        return None;
    }
    let directory: [u8; 8] = array(file, optional.checked_add(112)?)?;
    let (address, bytes) = directory.split_at(4);
    let address = u32::from_le_bytes(address.try_into().ok()?);
    let bytes = u32::from_le_bytes(bytes.try_into().ok()?) as usize;
    if address == 0 {
        return Some(false);
    }
    let mut names = vec![0; bytes.min(MAX_NAMES)];
    let got = file
        .read_at(headers.file_offset(address)?, &mut names)
        .ok()?;
    Some(names[..got].windows(EXPORT.len()).any(|w| w == EXPORT))
}

fn array<const N: usize>(file: &dyn ReadAt, at: u64) -> Option<[u8; N]> {
    let mut buf = [0; N];
    (file.read_at(at, &mut buf).ok()? == N).then_some(buf)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_ordinary_program_is_not_a_single_file_host() {
        let me = std::env::current_exe().unwrap();
        assert!(!SingleFileCache::default().is_single_file(&me));
    }
}

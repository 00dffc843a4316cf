//! Saves the files of managed modules beside a dump that lacks their metadata.
//!
//! createdump of .NET Core 3.1 and 5 leaves metadata out of heap dumps: without the files, nearly every type is nameless.
//! The files are taken from what the process has mapped, never from what merely has the same path now.

use crate::capture::managed_image;
use crate::identity::Identity;
use crate::proc_maps::Mapping;
use leakhound_archive::BundleWriter;
use leakhound_archive::ReadAt;
use leakhound_archive::read_at::PlainFile;
use leakhound_dump::pe::PeHeaders;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use tracing::info;

/// Bytes of all modules of one process: the framework has about 70 MB, large services 300 MB.
const TOTAL_BYTES: u64 = 1 << 30;
/// Modules of one process.
const MAX_MODULES: usize = 4_096;

/// Whether createdump of this runtime leaves metadata out of heap dumps; when the version cannot be told, it may.
#[must_use]
pub fn are_needed(target: &Identity) -> bool {
    let runtime = target.dotnet.as_ref().and_then(|d| d.coreclr.as_deref());
    let major = runtime.and_then(|path| {
        path.parent()?
            .file_name()?
            .to_str()?
            .split('.')
            .next()?
            .parse()
            .ok()
    });
    major.is_none_or(|major: u32| major < 6)
}

/// Saves what `maps` names into the bundle; returns what did not go as it should, one sentence each.
#[must_use]
pub fn save(writer: &BundleWriter, pid: u32, maps: &[Mapping]) -> Vec<String> {
    let mut files: BTreeMap<&str, &Mapping> = BTreeMap::new();
    for mapping in maps.iter().filter(|m| m.is_file() && m.entry.offset == 0) {
        files.entry(&mapping.entry.path).or_insert(mapping);
    }
    let mut problems = Vec::new();
    let (mut saved, mut saved_bytes) = (0usize, 0u64);
    for mapping in files.values() {
        let Some((path, file)) = open(pid, mapping) else {
            continue;
        };
        if managed_image::needed(&file).is_none() {
            continue;
        }
        if saved >= MAX_MODULES || saved_bytes.saturating_add(file.len()) > TOTAL_BYTES {
            problems.push(format!(
                "the modules have more than {TOTAL_BYTES} bytes: {saved} were saved, the rest was not"
            ));
            break;
        }
        let name = plain(mapping.file_name());
        let stored = key(&file)
            .ok_or_else(|| "its header is damaged".to_owned())
            .and_then(|key| {
                let mut source = File::open(&path)
                    .map_err(|e| e.to_string())?
                    .take(TOTAL_BYTES);
                writer
                    .put_module(&key, &name, &mut source)
                    .map_err(|e| e.to_string())
            });
        match stored {
            Ok(()) => {
                saved += 1;
                saved_bytes += file.len();
            }
            Err(reason) => problems.push(format!("module {name} was not saved: {reason}")),
        }
    }
    info!(pid, saved, saved_bytes, "Modules saved beside the dump");
    problems
}

/// Time stamp and image size name a build, as in symbol stores; the length is there for builds without a time stamp.
fn key(file: &PlainFile) -> Option<String> {
    let headers = PeHeaders::in_file(file)?;
    Some(format!(
        "{:08x}{:x}-{:x}",
        headers.time_stamp,
        headers.size_of_image,
        file.len()
    ))
}

/// The mapped file itself where the kernel hands it out, else the file at its path when it is still that one.
fn open(pid: u32, mapping: &Mapping) -> Option<(PathBuf, PlainFile)> {
    let entry = &mapping.entry;
    let mapped = PathBuf::from(format!(
        "/proc/{pid}/map_files/{:x}-{:x}",
        entry.start, entry.end
    ));
    if let Ok(file) = PlainFile::open(&mapped) {
        return Some((mapped, file));
    }
    let path = PathBuf::from(format!("/proc/{pid}/root{}", entry.path));
    let meta = fs::metadata(&path).ok()?;
    (meta.is_file() && meta.ino() == mapping.inode).then_some(())?;
    let file = PlainFile::open(&path).ok()?;
    Some((path, file))
}

/// A file name that the archive takes; what it refuses becomes `_`.
fn plain(name: &str) -> String {
    let letters = name.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' | '-' => c,
        _ => '_',
    });
    let text: String = letters.collect();
    text.trim_start_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::DotNet;

    fn on(path: &str) -> Identity {
        Identity {
            dotnet: Some(DotNet {
                coreclr: Some(path.into()),
                ..DotNet::default()
            }),
            ..Identity::default()
        }
    }

    #[test]
    fn only_old_runtimes_need_them() {
        let shared = "/usr/share/dotnet/shared/Microsoft.NETCore.App";
        assert!(are_needed(&on(&format!("{shared}/3.1.23/libcoreclr.so"))));
        assert!(!are_needed(&on(&format!("{shared}/8.0.32/libcoreclr.so"))));
        assert!(are_needed(&on("/srv/shop/libcoreclr.so")), "unknown");
    }

    #[test]
    fn names_are_made_plain() {
        assert_eq!(plain("Shop.Cart.dll"), "Shop.Cart.dll");
        assert_eq!(plain(".hidden ä.dll"), "hidden__.dll");
    }
}

//! The address space of a Windows process as mappings, to tell beforehand what a capture costs.

use super::Mapping;
use crate::discover::identity;
use leakhound_archive::manifest::MapEntry;
use leakhound_dump::Limits;
use leakhound_dump::page_range::{COMMIT, IMAGE, PRIVATE, PageRange};
use std::collections::BTreeMap;
use std::io;

/// The committed ranges of a process. How much of each is resident is not told without cost: all of what is private counts.
///
/// # Errors
/// The process is gone or may not be read.
pub fn of_process(pid: u32) -> io::Result<Vec<Mapping>> {
    let process = identity::open(pid)?;
    let ranges = process.ranges(&Limits::default());
    let ranges = ranges.map_err(|error| io::Error::other(error.to_string()))?;
    let modules = process.module_paths(&Limits::default()).unwrap_or_default();
    let paths: BTreeMap<u64, String> = modules
        .into_iter()
        .map(|(base, path)| (base, path.display().to_string()))
        .collect();
    let committed = ranges.iter().filter(|range| range.state == COMMIT);
    Ok(committed
        .map(|range| mapping(range, paths.get(&range.allocation)))
        .collect())
}

fn mapping(range: &PageRange, path: Option<&String>) -> Mapping {
    let bytes = range.end - range.start;
    let is_own = range.kind == PRIVATE || (range.kind != IMAGE && range.is_writable());
    let flag = |is_set: bool, letter: char| if is_set { letter } else { '-' };
    Mapping {
        entry: MapEntry {
            start: range.start,
            end: range.end,
            perms: [
                flag(range.protect != 0, 'r'),
                flag(range.is_writable(), 'w'),
                flag(range.is_executable(), 'x'),
                flag(range.kind != PRIVATE && range.kind != IMAGE, 's'),
            ]
            .iter()
            .collect(),
            path: path.cloned().unwrap_or_default(),
            rss: bytes,
            anonymous: if is_own || range.is_writable() {
                bytes
            } else {
                0
            },
            ..MapEntry::default()
        },
        ..Mapping::default()
    }
}

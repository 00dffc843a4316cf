//! Data files and shared memory that are mapped: which, how often, how much of it is in memory.

use super::account::{Mapping, is_data};
use super::rows::{int, row, text};
use leakhound_dump::ProcessImage;
use leakhound_rules::FactSheet;
use std::collections::{BTreeMap, HashSet};

/// Files that a sheet names.
const KEEP: usize = 30;
/// Characters of a path that are kept; the end says most.
const PATH_CHARACTERS: usize = 160;

/// Writes `mapped_files`.
pub(super) fn write(
    image: &ProcessImage,
    mappings: &[Mapping<'_>],
    images: &HashSet<&str>,
    sheet: &mut FactSheet,
) {
    #[derive(Default)]
    struct Total {
        count: u64,
        resident_bytes: u64,
        mapped_bytes: u64,
    }
    let mut files: BTreeMap<&str, Total> = BTreeMap::new();
    for mapping in mappings.iter().filter(|m| is_data(image, m, images)) {
        let total = files.entry(mapping.path).or_default();
        total.count += 1;
        total.resident_bytes += mapping.cost;
        total.mapped_bytes += mapping.end - mapping.start;
    }
    let mut files: Vec<(&str, Total)> = files.into_iter().collect();
    files.sort_by_key(|(path, total)| {
        (
            std::cmp::Reverse((total.resident_bytes, total.count)),
            *path,
        )
    });
    // What has many mappings is worth a row even where little of it is in memory.
    let (first, rest) = files.split_at(files.len().min(KEEP));
    let most = rest.iter().max_by_key(|(_, total)| total.count);
    let rows = first.iter().chain(most).map(|(path, total)| {
        row([
            ("file", text(shown(path))),
            ("count", int(total.count)),
            ("bytes", int(total.resident_bytes)),
            ("mapped", int(total.mapped_bytes)),
        ])
    });
    sheet
        .lists
        .insert("mapped_files".to_owned(), rows.collect());
}

/// A path that is too long loses its beginning.
fn shown(path: &str) -> String {
    if path.is_empty() {
        return "shared memory".to_owned();
    }
    let excess = path.chars().count().saturating_sub(PATH_CHARACTERS);
    if excess == 0 {
        return path.to_owned();
    }
    std::iter::once('…')
        .chain(path.chars().skip(excess))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_keeps_its_end_and_what_has_none_is_named() {
        assert_eq!(shown(""), "shared memory");
        assert_eq!(shown("/data/index"), "/data/index");
        let long = format!("/{}/index", "é".repeat(400));
        assert!(shown(&long).starts_with('…') && shown(&long).ends_with("é/index"));
        assert_eq!(shown(&long).chars().count(), PATH_CHARACTERS + 1);
    }
}

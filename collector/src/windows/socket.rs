//! The runtime's diagnostics port, which on Windows is a named pipe: `dotnet-diagnostic-PID`.

use std::fs;
use std::path::Path;

/// Where pipes are listed.
pub const FOLDER: &str = r"\\.\pipe\";
/// Names looked at.
const MAX_ENTRIES: usize = 100_000;

/// Ids that pipes name, to see new .NET processes without asking each.
pub fn ids(folder: &Path) -> impl Iterator<Item = u32> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .take(MAX_ENTRIES)
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("dotnet-diagnostic-")?.parse().ok()
        })
}

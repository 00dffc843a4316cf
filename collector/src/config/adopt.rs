//! `[adopt]`: folders from which dumps of others are taken in.

use super::error::Problems;
use super::value::{Pattern, Span};
use serde::Deserialize;
use std::path::PathBuf;

/// Folders from which dumps of others are taken in: createdump on crash, core files, ProcDump.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdoptConfig {
    /// Folders to watch, absolute, without their subfolders; with `*` as the last part, each subfolder there is. Default none.
    pub folders: Vec<PathBuf>,
    /// File names to look at. Default `["*.dmp", "*.core", "core", "core.*", "core_*", "coredump*", "*_20*:*:*.*"]`; the
    /// last one is ProcDump for Linux.
    pub names: Vec<Pattern>,
    /// What becomes of the original: `keep` (default) or `remove` once the bundle is sealed.
    pub original: Original,
    /// How long a file must not have changed before it counts as complete. Default `"5 s"`.
    pub settle: Span,
    /// How often the folders are listed besides the kernel's notifications, which do not cross network
    /// mounts. Default `"30 s"`.
    pub poll: Span,
    /// Service under which they are archived. Default: the executable's name as far as the dump's file name
    /// tells it, else `adopted`.
    pub service: Option<String>,
}

impl Default for AdoptConfig {
    fn default() -> Self {
        Self {
            folders: Vec::new(),
            names: [
                "*.dmp",
                "*.core",
                "core",
                "core.*",
                "core_*",
                "coredump*",
                "*_20*:*:*.*",
            ]
            .map(Pattern::new)
            .to_vec(),
            original: Original::Keep,
            settle: Span::seconds(5),
            poll: Span::seconds(30),
            service: None,
        }
    }
}

impl AdoptConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        for (index, folder) in self.folders.iter().enumerate() {
            let text = folder.to_string_lossy();
            let each = text.strip_suffix("/*").or(text.strip_suffix("\\*"));
            let problem = if !is_absolute(&text) {
                format!("`{text}` is not an absolute path")
            } else if each.unwrap_or(&text).contains('*') {
                format!("`{text}`: only the last part of a folder may be `*`, for each subfolder")
            } else {
                continue;
            };
            problems.push(format!("adopt.folders[{index}]"), problem, None, None);
        }
        if self.poll.as_ms() < 100 {
            problems.push("adopt.poll", "must be at least 100 ms", None, None);
        }
    }
}

/// On either system: a configuration may be checked on a machine of another kind than it is for.
fn is_absolute(path: &str) -> bool {
    let mut chars = path.chars();
    let has_drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.next() == Some(':')
        && matches!(chars.next(), Some('\\' | '/'));
    path.starts_with('/') || path.starts_with(r"\\") || has_drive
}

/// What becomes of an adopted file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Original {
    /// It stays where it is.
    #[default]
    Keep,
    /// It is removed once the bundle is sealed.
    Remove,
}

//! A name for the dump's own file, with the words that ProcDump replaces in it.

use leakhound_collector::identity::Identity;
use std::path::{Path, PathBuf};

/// What a dump's name ends in, whatever was asked for: it is compressed.
const ENDING: &str = ".zst";

/// A name such as `PROCESSNAME_YYMMDD_HHMMSS.dmp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// A name as it was given; `None` when it is none, but a path.
    pub fn new(name: &str) -> Option<Self> {
        let is_name = !name.is_empty() && name != "." && name != ".." && !name.contains('/');
        is_name.then(|| Self(name.to_owned()))
    }

    /// Folder and name of the place that an operator gave: a folder alone when it is one, or ends as one.
    pub fn split(place: &Path) -> (PathBuf, Option<Self>) {
        let text = place.as_os_str().to_string_lossy();
        let name = place.file_name().map(|n| n.to_string_lossy().into_owned());
        let looks_like_file = [".dmp", ".core", ".zst"]
            .iter()
            .any(|ending| text.to_ascii_lowercase().ends_with(ending));
        let has_words = name
            .as_deref()
            .is_some_and(|n| WORDS.iter().any(|w| n.contains(w)));
        match name {
            Some(name) if !place.is_dir() && (looks_like_file || has_words) => {
                let folder = place.parent().filter(|p| !p.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                (folder.to_owned(), Some(Self(name)))
            }
            _ => (place.to_owned(), None),
        }
    }

    /// The name for a capture of `target` at `time`, local time as the operator reads it.
    pub fn of(&self, target: &Identity, time: &jiff::Zoned) -> String {
        let safe = |c: char| if c == '/' || c.is_control() { '_' } else { c };
        let values = [
            target.name.chars().map(safe).collect(),
            target.pid.to_string(),
            time.strftime("%y%m%d").to_string(),
            time.strftime("%H%M%S").to_string(),
        ];
        // In one pass: what was put in is not looked at again.
        let (mut name, mut rest) = (String::new(), self.0.as_str());
        while let Some(first) = rest.chars().next() {
            let word = WORDS
                .iter()
                .zip(&values)
                .find(|(w, _)| rest.starts_with(**w));
            let taken = match word {
                Some((word, value)) => {
                    name.push_str(value);
                    word.len()
                }
                None => {
                    name.push(first);
                    first.len_utf8()
                }
            };
            rest = &rest[taken..];
        }
        if name.ends_with(ENDING) {
            name
        } else {
            name + ENDING
        }
    }
}

/// What is replaced.
const WORDS: [&str; 4] = ["PROCESSNAME", "PID", "YYMMDD", "HHMMSS"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_are_replaced_and_folders_told_apart() {
        let target = Identity {
            pid: 77,
            name: "Shop.PID".to_owned(),
            ..Identity::default()
        };
        let time: jiff::Zoned = "2026-11-30T19:05:09[UTC]".parse().unwrap();
        let name = |text: &str| {
            let (folder, name) = FileName::split(Path::new(text));
            (
                folder.display().to_string(),
                name.map(|n| n.of(&target, &time)),
            )
        };
        let all = name("/d/PROCESSNAME_PID_YYMMDD_HHMMSS");
        assert_eq!(
            all,
            (
                "/d".to_owned(),
                Some("Shop.PID_77_261130_190509.zst".to_owned())
            )
        );
        assert_eq!(
            name("x.dmp"),
            (".".to_owned(), Some("x.dmp.zst".to_owned()))
        );
        assert_eq!(name("/no/such"), ("/no/such".to_owned(), None));
        assert_eq!(name("/tmp"), ("/tmp".to_owned(), None));
        assert_eq!(FileName::new("../x"), None);
    }
}

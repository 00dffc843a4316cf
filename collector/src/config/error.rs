//! A mistake in the configuration, shown where it was made.

use leakhound_rules::Diagnostic;
use leakhound_rules::Origin;
use leakhound_rules::diagnostic::{Fault, nearest};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is wrong, and where in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key path, `service[0].trigger[1].when`.
    pub key: String,
    /// What is wrong, one sentence.
    pub message: String,
    /// The place with a caret under it, when it is known.
    pub diagnostic: Option<Diagnostic>,
}

/// Problems as they are found.
#[derive(Debug)]
pub struct Problems {
    file: PathBuf,
    text: String,
    list: Vec<Problem>,
}

impl Problems {
    /// No problems yet in `text`, the content of `file`.
    #[must_use]
    pub fn new(file: &Path, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            list: Vec::new(),
        }
    }

    /// True when nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The text that is being checked, for parsers that show their own faults in it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file as it is shown.
    #[must_use]
    pub fn file(&self) -> String {
        self.file.display().to_string()
    }

    /// Adds a problem, at a place in the text when that is known.
    pub fn push(
        &mut self,
        key: impl Into<String>,
        message: impl Into<String>,
        span: Option<Range<usize>>,
        suggestion: Option<&str>,
    ) {
        let (key, message) = (key.into(), message.into());
        let file = self.file();
        let diagnostic = span.map(|span| {
            let shown = if key.is_empty() {
                message.clone()
            } else {
                format!("{key}: {message}")
            };
            let fault = Fault::new(span, shown).did_you_mean(suggestion);
            Origin::alone(&file, &self.text).diagnostic(fault)
        });
        self.list.push(Problem {
            key,
            message,
            diagnostic,
        });
    }

    /// Adds what another parser found in the same text.
    pub fn push_diagnostic(&mut self, key: &str, mut diagnostic: Diagnostic) {
        let message = diagnostic.message.clone();
        diagnostic.message = format!("{key}: {message}");
        self.list.push(Problem {
            key: key.to_owned(),
            message,
            diagnostic: Some(diagnostic),
        });
    }

    /// Adds what the TOML reader said.
    pub(super) fn push_toml(&mut self, key: &str, error: &toml::de::Error) {
        let message = error.message().trim().to_owned();
        let names = unknown_name(&message);
        let suggestion = names.as_ref().and_then(|(wrong, known)| {
            // `cool_down` is meant as `cooldown`: separators are compared last.
            let plain = wrong.replace(['_', '-'], "");
            let known = || known.iter().map(String::as_str);
            known()
                .find(|k| **k == plain)
                .or_else(|| nearest(wrong, known()))
        });
        let key = if key == "." { "" } else { key };
        self.push(key, message.clone(), error.span(), suggestion);
    }
}

/// The wrong name and the valid ones in serde's "unknown field" and "unknown variant".
fn unknown_name(message: &str) -> Option<(String, Vec<String>)> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2).map(str::to_owned);
    let wrong = names.next()?;
    Some((wrong, names.collect()))
}

/// A configuration that was refused, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as named by the caller.
    pub file: PathBuf,
    /// What is wrong, in the order of the text.
    pub problems: Vec<Problem>,
}

impl From<Problems> for ConfigError {
    fn from(problems: Problems) -> Self {
        let mut list = problems.list;
        list.sort_by_key(|p| {
            p.diagnostic
                .as_ref()
                .map_or((usize::MAX, 0), |d| (d.line, d.column))
        });
        Self {
            file: problems.file,
            problems: list,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match &problem.diagnostic {
                Some(diagnostic) => write!(f, "{diagnostic}")?,
                None => {
                    let file = self.file.display();
                    write!(
                        f,
                        "error: {}: {}\n --> {file}",
                        problem.key, problem.message
                    )?;
                }
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

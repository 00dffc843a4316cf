//! A mistake in the configuration, shown where it was made.

use super::suggest::nearest;
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
    /// What to write instead, when that can be guessed.
    pub suggestion: Option<String>,
    /// Bytes of the text that are wrong.
    pub span: Option<Range<usize>>,
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// True when nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a problem at a place in the text.
    pub fn push(
        &mut self,
        key: impl Into<String>,
        message: impl Into<String>,
        span: Option<Range<usize>>,
        suggestion: Option<String>,
    ) {
        self.list.push(Problem {
            key: key.into(),
            message: message.into(),
            suggestion,
            span,
        });
    }

    /// Adds what the TOML reader said.
    pub(super) fn push_toml(&mut self, key: String, error: &toml::de::Error) {
        let message = error.message().trim().to_owned();
        let suggestion = unknown_name(&message).and_then(|(wrong, known)| {
            nearest(&wrong, known.iter().map(String::as_str)).map(str::to_owned)
        });
        let key = if key == "." { String::new() } else { key };
        self.push(key, message, error.span(), suggestion);
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
    text: String,
}

impl ConfigError {
    pub(super) fn new(file: &Path, text: &str, problems: Problems) -> Self {
        let mut problems = problems.list;
        problems.sort_by_key(|p| p.span.as_ref().map_or(usize::MAX, |s| s.start));
        Self {
            file: file.to_owned(),
            problems,
            text: text.to_owned(),
        }
    }

    /// Line and column of a problem, both from 1.
    #[must_use]
    pub fn position(&self, problem: &Problem) -> Option<(usize, usize)> {
        let start = floor(&self.text, problem.span.as_ref()?.start);
        let before = &self.text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Some((line, column))
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file.display())?;
            let position = self.position(problem);
            if let Some((line, column)) = position {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": ")?;
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            write!(f, "{}", problem.message)?;
            if let (Some((line, column)), Some(span)) = (position, &problem.span) {
                let source = self.text.lines().nth(line - 1).unwrap_or_default();
                let wide = self.text[floor(&self.text, span.start)..floor(&self.text, span.end)]
                    .lines()
                    .next()
                    .map_or(1, |l| l.chars().count().max(1));
                let gutter = line.to_string();
                let blank = " ".repeat(gutter.len());
                // Tabs stay tabs, so that the caret stands under its character in any terminal.
                let pad: String = source
                    .chars()
                    .take(column - 1)
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                write!(f, "\n {gutter} | {source}\n {blank} | {pad}{}", "^".repeat(wide))?;
            }
            if let Some(suggestion) = &problem.suggestion {
                write!(f, "\n   did you mean `{suggestion}`?")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

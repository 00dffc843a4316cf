//! A TOML table read key by key, with the place of every key: what nobody asked for is refused.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Fault, Origin, nearest};

/// Longest file that is read.
pub const MAX_FILE_BYTES: usize = 256 * 1024;

/// The file that a table stands in.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its name, as it is shown.
    pub file: &'a str,
    /// Its content.
    pub text: &'a str,
}

impl<'a> Source<'a> {
    /// The whole file as one table.
    ///
    /// # Errors
    /// When it is too long or no TOML.
    pub fn parse(self) -> Result<Spanned<DeTable<'a>>, Diagnostic> {
        if self.text.len() > MAX_FILE_BYTES {
            let message = format!(
                "the file is {} bytes long; the limit is {MAX_FILE_BYTES}",
                self.text.len()
            );
            return Err(self.fault(0..0, message));
        }
        DeTable::parse(self.text)
            .map_err(|e| self.fault(e.span().unwrap_or(0..0), e.message().to_owned()))
    }

    /// An error at a place in the file.
    #[must_use]
    pub fn fault(self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        self.show(Fault::new(span, message))
    }

    /// An error, shown in the file.
    #[must_use]
    pub fn show(self, fault: Fault) -> Diagnostic {
        Diagnostic::new(self.file, self.text, fault)
    }
}

/// A text value and where its literal starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The text.
    pub text: String,
    /// Bytes of its literal, quotes included.
    pub span: Range<usize>,
}

impl Located {
    /// The origin of the text, for errors inside it.
    #[must_use]
    pub fn origin<'a>(&self, source: Source<'a>) -> Origin<'a> {
        Origin::in_toml(source.file, source.text, self.span.start)
    }
}

/// Keys are taken one by one; [`Table::finish`] refuses the rest.
pub struct Table<'t> {
    source: Source<'t>,
    table: &'t DeTable<'t>,
    /// Where the table starts, for what is missing from it.
    span: Range<usize>,
    asked: Vec<&'static str>,
}

impl<'t> Table<'t> {
    /// Over a parsed table.
    #[must_use]
    pub fn new(source: Source<'t>, table: &'t DeTable<'t>, span: Range<usize>) -> Self {
        Self {
            source,
            table,
            span,
            asked: Vec::new(),
        }
    }

    /// The file it stands in.
    #[must_use]
    pub fn source(&self) -> Source<'t> {
        self.source
    }

    /// The value of `key`.
    pub fn take(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table
            .iter()
            .find(|(k, _)| k.get_ref() == key)
            .map(|(_, v)| v)
    }

    /// A text.
    ///
    /// # Errors
    /// When the value is no text.
    pub fn text(&mut self, key: &'static str) -> Result<Option<Located>, Diagnostic> {
        self.take(key)
            .map(|value| self.located(key, value))
            .transpose()
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// When it is missing, empty or no text.
    pub fn required(&mut self, key: &'static str, help: &str) -> Result<Located, Diagnostic> {
        match self.text(key)? {
            Some(located) if !located.text.trim().is_empty() => Ok(located),
            Some(located) => Err(self
                .source
                .show(Fault::new(located.span, format!("`{key}` is empty")).help(help))),
            None => Err(self
                .source
                .show(Fault::new(self.span.clone(), format!("`{key}` is missing")).help(help))),
        }
    }

    /// A text or several texts.
    ///
    /// # Errors
    /// When the value is neither.
    pub fn texts(&mut self, key: &'static str) -> Result<Vec<Located>, Diagnostic> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| self.located(key, item)).collect(),
            _ => Ok(vec![self.located(key, value)?]),
        }
    }

    /// A whole number inside `range`.
    ///
    /// # Errors
    /// When the value is no whole number, or outside.
    pub fn whole(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>, Diagnostic> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match whole_number(value.get_ref()).filter(|v| range.contains(v)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.source.fault(
                value.span(),
                format!(
                    "`{key}` needs a whole number from {} to {}",
                    range.start(),
                    range.end()
                ),
            )),
        }
    }

    /// A table inside this one.
    ///
    /// # Errors
    /// When the value is no table.
    pub fn table(
        &mut self,
        key: &'static str,
    ) -> Result<Option<(&'t DeTable<'t>, Range<usize>)>, Diagnostic> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some((table, value.span()))),
            _ => Err(self
                .source
                .fault(value.span(), format!("`{key}` needs a table"))),
        }
    }

    /// The tables of a `[[key]]`.
    ///
    /// # Errors
    /// When the value is no list of tables.
    pub fn tables(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<(&'t DeTable<'t>, Range<usize>)>, Diagnostic> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        let fail = |span| {
            self.source.show(
                Fault::new(span, format!("`{key}` needs tables")).help(format!("write [[{key}]]")),
            )
        };
        let DeValue::Array(items) = value.get_ref() else {
            return Err(fail(value.span()));
        };
        items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::Table(table) => Ok((table, item.span())),
                _ => Err(fail(item.span())),
            })
            .collect()
    }

    /// Refuses keys that nobody asked for.
    ///
    /// # Errors
    /// At the first of them, with the nearest key that exists.
    pub fn finish(&self) -> Result<(), Diagnostic> {
        let mut unknown: Vec<_> = self
            .table
            .keys()
            .filter(|k| !self.asked.contains(&k.get_ref().as_ref()))
            .collect();
        unknown.sort_by_key(|k| k.span().start);
        let Some(key) = unknown.first() else {
            return Ok(());
        };
        let name = key.get_ref();
        Err(self.source.show(
            Fault::new(key.span(), format!("there is no key called `{name}` here"))
                .help(format!("the keys are {}", self.asked.join(", ")))
                .did_you_mean(nearest(name, self.asked.iter().copied())),
        ))
    }

    fn located(&self, key: &str, value: &Spanned<DeValue<'t>>) -> Result<Located, Diagnostic> {
        match value.get_ref() {
            DeValue::String(text) => Ok(Located {
                text: text.clone().into_owned(),
                span: value.span(),
            }),
            other => Err(self.source.fault(
                value.span(),
                format!(
                    "`{key}` needs a text in quotes, and this is {}",
                    article(other.type_str())
                ),
            )),
        }
    }
}

/// The value of a whole number in any notation that TOML knows.
#[must_use]
pub fn whole_number(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

//! Values with units, as they are written in the configuration.

use leakhound_rules::units::{Quantity, format_bytes, format_exact};
use leakhound_rules::vocabulary::Kind;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// Milliseconds of `10 min`.
fn duration_ms(text: &str) -> Result<u64, String> {
    quantity(text, Kind::Duration, "a time span such as `10 min`")
}

/// Bytes of `5 GB`.
fn bytes(text: &str) -> Result<u64, String> {
    quantity(text, Kind::Bytes, "a size such as `500 MB`")
}

fn quantity(text: &str, kind: Kind, expected: &str) -> Result<u64, String> {
    let quantity = Quantity::parse(text).map_err(|e| e.to_string())?;
    match quantity.kind {
        Some(found) if found == kind => Ok(quantity.value as u64),
        None => Err(format!("`{text}` has no unit; {expected} is expected")),
        Some(_) => Err(format!(
            "`{text}` is of another kind; {expected} is expected"
        )),
    }
}

/// A time span, `"5 s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// Whole seconds.
    #[must_use]
    pub const fn seconds(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// Milliseconds, saturating.
    #[must_use]
    pub fn as_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_exact(Quantity {
            value: self.as_ms() as f64,
            kind: Some(Kind::Duration),
        }))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        duration_ms(&text)
            .map(|ms| Self(Duration::from_millis(ms)))
            .map_err(D::Error::custom)
    }
}

/// A number of bytes, `"5 GB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        bytes(&text).map(Self).map_err(D::Error::custom)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_bytes(self.0 as f64))
    }
}

/// Disk space that stays free: `"5 GB"` or `"10%"` of the volume.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reserve {
    /// A number of bytes.
    Bytes(u64),
    /// A share of the volume, 0 to 1.
    Share(f64),
}

impl Reserve {
    /// The reserve on a volume of `total` bytes.
    #[must_use]
    pub fn on(self, total: u64) -> u64 {
        match self {
            Self::Bytes(n) => n,
            Self::Share(share) => (total as f64 * share) as u64,
        }
    }
}

impl<'de> Deserialize<'de> for Reserve {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let Some(percent) = text.trim().strip_suffix('%') else {
            return bytes(&text).map(Self::Bytes).map_err(D::Error::custom);
        };
        match percent.trim().parse::<f64>() {
            Ok(p) if (0.0..=100.0).contains(&p) => Ok(Self::Share(p / 100.0)),
            _ => Err(D::Error::custom(format!(
                "`{text}` is not a share of a disk: write 0% to 100%, or a size such as `5 GB`"
            ))),
        }
    }
}

/// At most so many in a span, `"3 per day"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountLimit {
    /// How many.
    pub count: u32,
    /// In which span; it slides, it does not start at midnight.
    pub per: Duration,
}

impl<'de> Deserialize<'de> for CountLimit {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        parse_limit(&text).map_err(D::Error::custom)
    }
}

fn parse_limit(text: &str) -> Result<CountLimit, String> {
    let bad = |why: &str| {
        format!("`{text}` is not a limit: {why}; write it as `3 per day` or `10 per 12 h`")
    };
    let (count, span) = text
        .split_once(" per ")
        .ok_or_else(|| bad("` per ` is missing"))?;
    let count = count
        .trim()
        .parse()
        .map_err(|_| bad("the count before `per` must be a whole number"))?;
    if count == 0 {
        return Err(bad(
            "a limit of 0 would never capture; remove the service instead",
        ));
    }
    let span = span.trim();
    // "per day" means per one day.
    let spelled = if span.starts_with(|c: char| c.is_ascii_digit()) {
        span.to_owned()
    } else {
        format!("1 {span}")
    };
    let per = duration_ms(&spelled).map_err(|e| bad(&e))?;
    if per == 0 {
        return Err(bad("the span must be longer than nothing"));
    }
    Ok(CountLimit {
        count,
        per: Duration::from_millis(per),
    })
}

impl fmt::Display for CountLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.count, Span(self.per))
    }
}

/// What a second capture waits for after a first: a time span or a growth, `"10 min"` or `"200 MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    /// So long after the first.
    After(Span),
    /// So many private bytes more than at the first.
    Grown(Size),
}

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let quantity = Quantity::parse(&text).map_err(D::Error::custom)?;
        match (quantity.kind, quantity.value as u64) {
            (Some(Kind::Duration), ms @ 1000..) => Ok(Self::After(Span(Duration::from_millis(ms)))),
            (Some(Kind::Bytes), bytes @ 1..) => Ok(Self::Grown(Size(bytes))),
            _ => Err(D::Error::custom(format!(
                "`{text}` says not when the second capture follows: write a time span of at least 1 s such as `10 min`, or a growth such as `200 MB`"
            ))),
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(span) => span.fmt(f),
            Self::Grown(size) => f.write_str(&format_exact(Quantity {
                value: size.0 as f64,
                kind: Some(Kind::Bytes),
            })),
        }
    }
}

/// A name to compare with, in which `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when all of `text` fits.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        glob(self.0.as_bytes(), text.as_bytes())
    }

    /// True when a part of `text` fits; with a `*` in the pattern, all of it must.
    #[must_use]
    pub fn found_in(&self, text: &str) -> bool {
        if self.0.contains('*') {
            self.matches(text)
        } else {
            text.contains(&self.0)
        }
    }
}

/// Wildcard match in time linear in the text for each `*`, without recursion.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if text.is_empty() {
            return Err(D::Error::custom(
                "an empty name matches nothing; write a name, or `*` for all",
            ));
        }
        Ok(Self(text))
    }
}

/// Text that remembers where it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located {
    /// The text.
    pub text: String,
    /// Where the quoted text lies in the file; nowhere when it was made by a program.
    pub span: Option<Range<usize>>,
}

impl From<&str> for Located {
    fn from(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            span: None,
        }
    }
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<String>::deserialize(d)?;
        let span = Some(spanned.span());
        Ok(Self {
            text: spanned.into_inner(),
            span,
        })
    }
}

//! Quantities with units: the only place that reads and prints `1.5 GB`, `30%`, `10 min`, `100 MB/h`, `10_000`.
//!
//! `GB` is 10^9 bytes and `GiB` is 2^30; both are read. Bytes are printed in decimal units with three
//! significant digits (`1.52 GB`), as cgroup limits, disks and cloud invoices count them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::diagnostic::nearest;
use crate::vocabulary::Kind;

/// Milliseconds in an hour; rates are per hour.
pub const HOUR_MS: f64 = 3_600_000.0;

/// A unit word: its spelling, what it measures, and how many base units (bytes, ms) it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// As it is printed.
    pub name: &'static str,
    /// What it measures.
    pub kind: Kind,
    /// Base units in one of it.
    pub factor: f64,
}

const fn unit(name: &'static str, kind: Kind, factor: f64) -> Unit {
    Unit { name, kind, factor }
}

/// Every unit word. Letter case counts only to tell nothing apart, so it is ignored.
const UNITS: &[Unit] = &[
    unit("B", Kind::Bytes, 1.0),
    unit("byte", Kind::Bytes, 1.0),
    unit("bytes", Kind::Bytes, 1.0),
    unit("KB", Kind::Bytes, 1e3),
    unit("MB", Kind::Bytes, 1e6),
    unit("GB", Kind::Bytes, 1e9),
    unit("TB", Kind::Bytes, 1e12),
    unit("PB", Kind::Bytes, 1e15),
    unit("KiB", Kind::Bytes, 1024.0),
    unit("MiB", Kind::Bytes, 1_048_576.0),
    unit("GiB", Kind::Bytes, 1_073_741_824.0),
    unit("TiB", Kind::Bytes, 1_099_511_627_776.0),
    unit("ms", Kind::Duration, 1.0),
    unit("s", Kind::Duration, 1e3),
    unit("sec", Kind::Duration, 1e3),
    unit("second", Kind::Duration, 1e3),
    unit("seconds", Kind::Duration, 1e3),
    unit("min", Kind::Duration, 60e3),
    unit("minute", Kind::Duration, 60e3),
    unit("minutes", Kind::Duration, 60e3),
    unit("h", Kind::Duration, HOUR_MS),
    unit("hour", Kind::Duration, HOUR_MS),
    unit("hours", Kind::Duration, HOUR_MS),
    unit("d", Kind::Duration, 24.0 * HOUR_MS),
    unit("day", Kind::Duration, 24.0 * HOUR_MS),
    unit("days", Kind::Duration, 24.0 * HOUR_MS),
    unit("week", Kind::Duration, 168.0 * HOUR_MS),
    unit("weeks", Kind::Duration, 168.0 * HOUR_MS),
];

/// The unit spelled `word`.
#[must_use]
pub fn unit_named(word: &str) -> Option<&'static Unit> {
    UNITS.iter().find(|u| u.name.eq_ignore_ascii_case(word))
}

/// The unit that someone who wrote `word` probably meant.
#[must_use]
pub fn nearest_unit(word: &str) -> Option<&'static str> {
    // The usual abbreviations that are no units here.
    match word {
        "m" | "mins" => return Some("min"),
        "k" | "K" => return Some("KB"),
        "M" | "mb" => return Some("MB"),
        "g" | "G" | "gig" | "gigs" => return Some("GB"),
        "hr" | "hrs" => return Some("h"),
        "secs" => return Some("s"),
        _ => {}
    }
    nearest(word, UNITS.iter().map(|u| u.name))
}

/// A number with what it measures; `None` is a plain number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    /// In base units: bytes, milliseconds, ratio of 1, per hour.
    pub value: f64,
    /// What it measures.
    pub kind: Option<Kind>,
}

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}{}", .suggestion.as_ref().map(|s| format!(": did you mean `{s}`?")).unwrap_or_default())]
pub struct UnitError {
    /// The text, shortened.
    pub text: String,
    /// What was expected, with an example.
    pub expected: &'static str,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// Longest text that is looked at as a quantity.
const MAX_QUANTITY_BYTES: usize = 64;

impl Quantity {
    /// Reads one quantity, such as `1.5 GB`, `30%`, `10 min`, `100 MB/h` or `10_000`.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let trimmed = text.trim();
        let fail = |suggestion: Option<String>| UnitError {
            text: trimmed.chars().take(40).collect(),
            expected: "a quantity such as `1.5 GB`, `30%`, `10 min`, `100 MB/h` or `10_000`",
            suggestion,
        };
        if trimmed.len() > MAX_QUANTITY_BYTES {
            return Err(fail(None));
        }
        let (number, used) = scan_number(trimmed).ok_or_else(|| fail(None))?;
        let rest = trimmed[used..].trim_start();
        match scan_unit(rest) {
            Some((kind, factor, unit_used)) if rest[unit_used..].is_empty() => Ok(Self {
                value: number * factor,
                kind,
            }),
            _ => {
                let word = rest
                    .split(|c: char| !c.is_alphabetic())
                    .next()
                    .unwrap_or("");
                Err(fail(
                    nearest_unit(word).map(|unit| format!("{} {unit}", &trimmed[..used])),
                ))
            }
        }
    }
}

/// A number at the start of `text`: digits, `_` between digits, one decimal point. Its value and its bytes.
#[must_use]
pub fn scan_number(text: &str) -> Option<(f64, usize)> {
    let bytes = text.as_bytes();
    let mut digits = String::new();
    let mut at = 0;
    let mut point = false;
    while let Some(b) = bytes.get(at) {
        let next_is_digit = bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        match b {
            b'0'..=b'9' => digits.push(char::from(*b)),
            b'_' if at > 0 && bytes[at - 1].is_ascii_digit() && next_is_digit => {}
            b'.' if !point && at > 0 && next_is_digit => {
                point = true;
                digits.push('.');
            }
            _ => break,
        }
        at += 1;
    }
    let value: f64 = digits.parse().ok()?;
    value.is_finite().then_some((value, at))
}

/// A unit at the start of `text`: nothing, `%`, a word, or a word (or nothing) and `/h`.
/// What it measures, its factor and its bytes. `None` when a word stands there that is no unit.
#[must_use]
pub fn scan_unit(text: &str) -> Option<(Option<Kind>, f64, usize)> {
    if text.starts_with('%') {
        return Some((Some(Kind::Ratio), 0.01, 1));
    }
    let word_len = word_length(text);
    if word_len == 0 {
        return Some(match scan_per_time(text) {
            Some((per_hour, used)) => (Some(Kind::CountPerHour), per_hour, used),
            None => (None, 1.0, 0),
        });
    }
    let unit = unit_named(&text[..word_len])?;
    if unit.kind == Kind::Bytes
        && let Some((per_hour, used)) = scan_per_time(&text[word_len..])
    {
        return Some((
            Some(Kind::BytesPerHour),
            unit.factor * per_hour,
            word_len + used,
        ));
    }
    Some((Some(unit.kind), unit.factor, word_len))
}

/// `/h`, `/min`, `/day` at the start of `text`: times per hour, and its bytes.
fn scan_per_time(text: &str) -> Option<(f64, usize)> {
    let after = text.trim_start().strip_prefix('/')?.trim_start();
    let word_len = word_length(after);
    let unit = unit_named(&after[..word_len]).filter(|u| u.kind == Kind::Duration)?;
    if goes_on_as_name(&after[word_len..]) {
        return None;
    }
    Some((HOUR_MS / unit.factor, text.len() - after.len() + word_len))
}

/// What looked like a unit is the beginning of a name or a call: `h.x`, `h(`, `h_1`, `h9`.
pub(crate) fn goes_on_as_name(rest: &str) -> bool {
    rest.starts_with(|c: char| matches!(c, '.' | '(' | '_') || c.is_ascii_digit())
}

fn word_length(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_alphabetic).count()
}

/// Prints a value of `kind` for people: `1.52 GB`, `63%`, `3 min 20 s`, `412,310`.
#[must_use]
pub fn format_value(value: f64, kind: Kind) -> String {
    match kind {
        Kind::Bytes => format_bytes(value),
        Kind::Count => format_count(value),
        Kind::Number => format_number(value),
        Kind::Ratio => format_ratio(value),
        Kind::Duration => format_duration(value),
        Kind::BytesPerHour => format!("{}/h", format_bytes(value)),
        Kind::CountPerHour => format!("{}/h", format_count(value)),
        Kind::Bool => if value == 0.0 { "no" } else { "yes" }.to_owned(),
        Kind::Text | Kind::Texts => value.to_string(),
    }
}

/// Bytes with three significant digits in decimal units: `512 B`, `12.4 KB`, `870 MB`, `1.52 GB`.
#[must_use]
pub fn format_bytes(bytes: f64) -> String {
    let mut scaled = bytes.abs();
    let mut name = "B";
    for next in ["KB", "MB", "GB", "TB", "PB"] {
        // 999.5 would print as 1000 of the smaller unit.
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        name = next;
    }
    let sign = if bytes < 0.0 { "-" } else { "" };
    if name == "B" {
        return format!("{sign}{scaled:.0} B");
    }
    format!("{sign}{} {name}", three_digits(scaled))
}

/// Three significant digits without trailing zeros.
fn three_digits(value: f64) -> String {
    let decimals = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    trim_zeros(format!("{value:.decimals$}"))
}

fn trim_zeros(text: String) -> String {
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// A number of things with thousands separated: `412,310`; a mean keeps one decimal below 100.
#[must_use]
pub fn format_count(count: f64) -> String {
    if count.fract() != 0.0 && count.abs() < 100.0 {
        return trim_zeros(format!("{count:.1}"));
    }
    let digits = format!("{:.0}", count.abs());
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    if count < 0.0 && digits != "0" {
        out.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A plain number: `0.034`, `12.5`, `12,400`; three digits of what is small, whole numbers as counts are.
#[must_use]
pub fn format_number(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 || size >= 100.0 {
        return format_count(value.round());
    }
    if size >= 1.0 {
        return trim_zeros(format!("{value:.2}"));
    }
    // Decimals up to the third digit that is not zero.
    let zeros = (-size.log10()).floor().clamp(0.0, 9.0) as usize;
    trim_zeros(format!("{value:.*}", zeros + 3))
}

/// A share: `63%`, `4.2%`, `0.03%`. Only the whole is `100%`: 99.96% is not rounded up to it.
#[must_use]
pub fn format_ratio(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let size = percent.abs();
    if size >= 1000.0 {
        return format!("{}%", format_count(percent.round()));
    }
    if (99.5..100.0).contains(&size) {
        return format!("{}%", (percent * 10.0).trunc() / 10.0);
    }
    let decimals = if size >= 9.95 {
        0
    } else if size >= 0.095 {
        1
    } else {
        2
    };
    format!("{}%", trim_zeros(format!("{percent:.decimals$}")))
}

/// A time span in at most two units: `350 ms`, `12.5 s`, `3 min 20 s`, `2 days 4 h`.
#[must_use]
pub fn format_duration(ms: f64) -> String {
    let sign = if ms < 0.0 { "-" } else { "" };
    let ms = ms.abs();
    if ms < 999.5 {
        return format!("{sign}{ms:.0} ms");
    }
    if ms < 59_950.0 {
        return format!("{sign}{} s", trim_zeros(format!("{:.1}", ms / 1e3)));
    }
    let seconds = (ms / 1e3).round();
    let pair = |major: f64, major_name: &str, minor: f64, minor_name: &str| {
        if minor == 0.0 {
            format!("{sign}{major:.0} {major_name}")
        } else {
            format!("{sign}{major:.0} {major_name} {minor:.0} {minor_name}")
        }
    };
    if seconds < 3600.0 {
        return pair((seconds / 60.0).floor(), "min", seconds % 60.0, "s");
    }
    let minutes = (seconds / 60.0).round();
    if minutes < 24.0 * 60.0 {
        return pair((minutes / 60.0).floor(), "h", minutes % 60.0, "min");
    }
    let hours = (minutes / 60.0).round();
    let days = (hours / 24.0).floor();
    let word = if days == 1.0 { "day" } else { "days" };
    pair(days, word, hours % 24.0, "h")
}

/// Prints a quantity so that reading it gives the same value again: `1.5 GB`, `1500000001 B`, `90 min`.
#[must_use]
pub fn format_exact(quantity: Quantity) -> String {
    let Quantity { value, kind } = quantity;
    match kind {
        None => plain(value),
        Some(Kind::Ratio) => exact_with(value, &[("%", 0.01)], ""),
        Some(Kind::Bytes) => exact_with(value, BYTE_STEPS, " "),
        Some(Kind::Duration) => exact_with(value, TIME_STEPS, " "),
        Some(Kind::BytesPerHour) => exact_with(value, BYTE_RATE_STEPS, " "),
        Some(Kind::CountPerHour) => exact_with(value, &[("/h", 1.0)], ""),
        Some(Kind::Count | Kind::Number | Kind::Bool | Kind::Text | Kind::Texts) => plain(value),
    }
}

const BYTE_STEPS: &[(&str, f64)] = &[
    ("TB", 1e12),
    ("GB", 1e9),
    ("MB", 1e6),
    ("KB", 1e3),
    ("B", 1.0),
];
const BYTE_RATE_STEPS: &[(&str, f64)] =
    &[("GB/h", 1e9), ("MB/h", 1e6), ("KB/h", 1e3), ("B/h", 1.0)];
const TIME_STEPS: &[(&str, f64)] = &[
    ("days", 24.0 * HOUR_MS),
    ("h", HOUR_MS),
    ("min", 60e3),
    ("s", 1e3),
    ("ms", 1.0),
];

/// The largest unit in which the value is short and reads back to itself; the last one is always taken.
fn exact_with(value: f64, steps: &[(&str, f64)], space: &str) -> String {
    const SHORT: usize = 6;
    for (name, factor) in steps {
        let number = plain(value / factor);
        let reads_back = scan_number(&number).is_some_and(|(back, _)| back * factor == value);
        if value / factor >= 1.0 && number.len() <= SHORT && reads_back {
            return format!("{number}{space}{name}");
        }
    }
    let (name, factor) = steps[steps.len() - 1];
    format!("{}{space}{name}", plain(value / factor))
}

/// Without an exponent, as the lexer reads it.
fn plain(value: f64) -> String {
    format!("{value}")
}

macro_rules! quantity_type {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $kind:pat, $expected:literal, $format:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub $inner);

        impl FromStr for $name {
            type Err = UnitError;

            fn from_str(text: &str) -> Result<Self, UnitError> {
                let fail = |suggestion| UnitError {
                    text: text.trim().chars().take(40).collect(),
                    expected: $expected,
                    suggestion,
                };
                let quantity = Quantity::parse(text).map_err(|e| fail(e.suggestion))?;
                match quantity.kind {
                    $kind => Ok(Self(quantity.value as $inner)),
                    _ => Err(fail(None)),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = UnitError;

            fn try_from(text: String) -> Result<Self, UnitError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                let exact: fn(f64) -> Quantity = $format;
                format_exact(exact(value.0 as f64))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let exact: fn(f64) -> Quantity = $format;
                let quantity = exact(self.0 as f64);
                f.pad(&format_value(quantity.value, quantity.kind.unwrap_or(Kind::Count)))
            }
        }
    };
}

quantity_type! {
    /// A number of bytes; in configuration `1.5 GB` or `512 MiB`.
    Bytes, u64, Some(Kind::Bytes), "a number of bytes such as `1.5 GB` or `512 MiB`",
    |value| Quantity { value, kind: Some(Kind::Bytes) }
}
quantity_type! {
    /// A time span in milliseconds; in configuration `30 s`, `10 min` or `7 days`.
    Millis, u64, Some(Kind::Duration), "a time span such as `30 s`, `10 min` or `7 days`",
    |value| Quantity { value, kind: Some(Kind::Duration) }
}
quantity_type! {
    /// A share of 1; in configuration `85%`.
    Ratio, f64, Some(Kind::Ratio), "a share such as `85%`",
    |value| Quantity { value, kind: Some(Kind::Ratio) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (f64, Option<Kind>) {
        let quantity = Quantity::parse(text).unwrap();
        (quantity.value, quantity.kind)
    }

    #[test]
    fn every_kind_of_quantity_is_read() {
        assert_eq!(read("1.5 GB"), (1.5e9, Some(Kind::Bytes)));
        assert_eq!(read("1.5GiB"), (1_610_612_736.0, Some(Kind::Bytes)));
        assert_eq!(read("30%"), (0.3, Some(Kind::Ratio)));
        assert_eq!(read("10 min"), (600_000.0, Some(Kind::Duration)));
        assert_eq!(read("7 days"), (604_800_000.0, Some(Kind::Duration)));
        assert_eq!(read("100 MB/h"), (1e8, Some(Kind::BytesPerHour)));
        assert_eq!(read("1 MB/min"), (6e7, Some(Kind::BytesPerHour)));
        assert_eq!(read("24/day"), (1.0, Some(Kind::CountPerHour)));
        assert_eq!(read("10_000"), (10_000.0, None));
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_a_suggestion() {
        for text in [
            "",
            "GB",
            "1..5",
            "1_",
            "_1",
            "1 GB extra",
            "-",
            "1e9",
            "٣ GB",
        ] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        assert!(Quantity::parse(&"9".repeat(10_000)).is_err());
        let error = Quantity::parse("10 m").unwrap_err();
        assert_eq!(error.suggestion.as_deref(), Some("10 min"));
        let error = Quantity::parse("1.5 GBB").unwrap_err();
        assert_eq!(error.suggestion.as_deref(), Some("1.5 GB"));
        let error = "10 s".parse::<Bytes>().unwrap_err();
        assert!(error.to_string().contains("a number of bytes"), "{error}");
    }

    #[test]
    fn bytes_read_like_a_person_writes_them() {
        let shown: Vec<String> = [
            0.0, 512.0, 999.0, 12_400.0, 999_499.0, 999_500.0, 870e6, 1.52e9, 1.5e9, 100e6, 1e18,
        ]
        .into_iter()
        .map(format_bytes)
        .collect();
        assert_eq!(
            shown,
            [
                "0 B", "512 B", "999 B", "12.4 KB", "999 KB", "1 MB", "870 MB", "1.52 GB",
                "1.5 GB", "100 MB", "1000 PB"
            ]
        );
    }

    #[test]
    fn shares_counts_and_spans_read_like_a_person_writes_them() {
        assert_eq!(format_ratio(0.634), "63%");
        assert_eq!(format_ratio(0.042), "4.2%");
        assert_eq!(format_ratio(0.0003), "0.03%");
        assert_eq!(format_ratio(0.9996), "99.9%");
        assert_eq!(format_ratio(1.0), "100%");
        assert_eq!(format_ratio(0.0), "0%");
        assert_eq!(format_ratio(25.0), "2,500%");
        assert_eq!(format_count(412_310.0), "412,310");
        assert_eq!(format_count(999.0), "999");
        assert_eq!(format_count(2.5), "2.5");
        assert_eq!(format_duration(350.0), "350 ms");
        assert_eq!(format_duration(12_500.0), "12.5 s");
        assert_eq!(format_duration(200_000.0), "3 min 20 s");
        assert_eq!(format_duration(3_600_000.0), "1 h");
        assert_eq!(format_duration(100.0 * HOUR_MS), "4 days 4 h");
        assert_eq!(format_duration(59_990.0), "1 min");
    }

    #[test]
    fn configuration_types_read_and_print() {
        let keep: Millis = "30 days".parse().unwrap();
        assert_eq!(
            (keep.0, String::from(keep)),
            (2_592_000_000, "30 days".to_owned())
        );
        let total: Bytes = "50 GB".parse().unwrap();
        assert_eq!(
            (total.0, total.to_string()),
            (50_000_000_000, "50 GB".to_owned())
        );
        let share: Ratio = "85%".parse().unwrap();
        assert_eq!(String::from(share), "85%");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn what_is_printed_exactly_reads_back(value in 0u64..(1 << 53), which in 0usize..5) {
            let kind = [None, Some(Kind::Bytes), Some(Kind::Duration), Some(Kind::BytesPerHour),
                Some(Kind::CountPerHour)][which];
            let quantity = Quantity { value: value as f64, kind };
            prop_assert_eq!(Quantity::parse(&format_exact(quantity)).unwrap(), quantity);
        }

        #[test]
        fn shares_read_back_to_the_same_share(hundredths in 0u32..100_000) {
            let share = Quantity::parse(&format!("{}%", f64::from(hundredths) / 100.0)).unwrap();
            let again = Quantity::parse(&format_exact(share)).unwrap();
            prop_assert!((share.value - again.value).abs() <= share.value * 1e-12);
        }

        #[test]
        fn printed_bytes_are_within_half_a_percent(value in 1u64..(1 << 53)) {
            let back = Quantity::parse(&format_bytes(value as f64)).unwrap().value;
            prop_assert!((back - value as f64).abs() <= value as f64 * 0.0051);
        }
    }
}

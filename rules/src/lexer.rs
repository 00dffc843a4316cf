//! Text to tokens with byte spans. A number and its unit are one token.

use std::ops::Range;

use crate::diagnostic::{Fault, nearest};
use crate::units::{Quantity, goes_on_as_name, nearest_unit, scan_number, scan_unit};

/// Longest expression that is read.
pub const MAX_EXPRESSION_BYTES: usize = 4096;

/// Words that are never names.
pub const KEYWORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "any",
    "all",
    "in",
    "where",
    "for",
    "of",
    "contains",
    "starts_with",
    "ends_with",
    "matches",
    "true",
    "false",
];

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind {
    /// A number with its unit.
    Quantity(Quantity),
    /// A quoted text, unescaped.
    Text(String),
    /// A dotted name or a word that is none of [`KEYWORDS`].
    Name(String),
    /// One of [`KEYWORDS`].
    Keyword(&'static str),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Its bytes.
    pub span: Range<usize>,
}

/// Operators, longer ones before their prefixes.
const SYMBOLS: &[&str] = &[
    "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "(", ")", ",",
];

/// What people write from other languages, and how it is written here.
const FOREIGN: &[(&str, &str)] = &[
    ("&&", "and"),
    ("||", "or"),
    ("=<", "<="),
    ("=>", ">="),
    ("<>", "!="),
    ("≥", ">="),
    ("≤", "<="),
    ("≠", "!="),
    ("=", "=="),
    ("!", "not"),
    ("&", "and"),
    ("|", "or"),
];

/// Cuts an expression into tokens; the last one is [`TokenKind::End`].
///
/// # Errors
/// When the text is too long or holds something that no token starts with.
pub fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(Fault::new(
            0..1,
            format!(
                "the expression is {} bytes long; the limit is {MAX_EXPRESSION_BYTES}",
                text.len()
            ),
        )
        .help("split it into several rules"));
    }
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if first == '#' {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
            continue;
        }
        let (kind, length) = token(text, at, first)?;
        out.push(Token {
            kind,
            span: at..at + length,
        });
        at += length;
    }
    out.push(Token {
        kind: TokenKind::End,
        span: text.len()..text.len(),
    });
    Ok(out)
}

fn token(text: &str, at: usize, first: char) -> Result<(TokenKind, usize), Fault> {
    let rest = &text[at..];
    if first.is_ascii_digit() {
        return quantity(rest, at);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = name_length(rest);
        let word = &rest[..length];
        let kind = KEYWORDS.iter().find(|k| **k == word).map_or_else(
            || TokenKind::Name(word.to_owned()),
            |k| TokenKind::Keyword(k),
        );
        return Ok((kind, length));
    }
    if first == '"' || first == '\'' {
        return quoted(rest, at, first);
    }
    for (foreign, ours) in FOREIGN {
        // `==` and `!=` start like the foreign `=` and `!`.
        if rest.starts_with(foreign) && !SYMBOLS.iter().any(|s| s.len() > 1 && rest.starts_with(s))
        {
            return Err(Fault::new(
                at..at + foreign.len(),
                format!("`{foreign}` is no operator here"),
            )
            .did_you_mean(Some(ours)));
        }
    }
    SYMBOLS
        .iter()
        .find(|s| rest.starts_with(**s))
        .map(|s| (TokenKind::Symbol(s), s.len()))
        .ok_or_else(|| {
            Fault::new(
                at..at + first.len_utf8(),
                format!(
                    "`{}` does not belong in an expression",
                    first.escape_debug()
                ),
            )
        })
}

/// Letters, digits and `_`; a `.` only between them.
fn name_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let part = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        let dot = *b == b'.' && bytes.get(at + 1).is_some_and(|n| part(*n));
        if !part(*b) && !dot {
            break;
        }
        at += 1;
    }
    at
}

fn quantity(rest: &str, at: usize) -> Result<(TokenKind, usize), Fault> {
    let Some((number, used)) = scan_number(rest) else {
        return Err(Fault::new(at..at + 1, "the number is too large"));
    };
    let after = &rest[used..];
    if after.starts_with(['.', '_']) {
        return Err(Fault::new(at..at + used + 1, "the number is not complete")
            .help("write `1.5` or `10_000`"));
    }
    let gap = after.len() - after.trim_start().len();
    let word = &after[gap..];
    let word = &word[..name_length(word)];
    // A keyword after a number belongs to the expression: `a > 5 and b`.
    if KEYWORDS.contains(&word) {
        return Ok((plain(number), used));
    }
    match scan_unit(&after[gap..]) {
        Some((None, _, _)) => Ok((plain(number), used)),
        // `10 min` has a unit, `10 min(a, b)` and `10 min.x` do not.
        Some((kind, factor, unit_used))
            if word.is_empty() || !goes_on_as_name(&after[gap + unit_used..]) =>
        {
            let quantity = Quantity {
                value: number * factor,
                kind,
            };
            Ok((TokenKind::Quantity(quantity), used + gap + unit_used))
        }
        _ => {
            let start = at + used + gap;
            let span = start..start + word.len().max(1);
            if let Some(keyword) = nearest(word, KEYWORDS.iter().copied()) {
                return Err(Fault::new(span, format!("`{word}` cannot follow a number"))
                    .did_you_mean(Some(keyword)));
            }
            let fault = Fault::new(span, format!("`{word}` is no unit"));
            Err(match nearest_unit(word) {
                Some(unit) => fault.help(format!("did you mean `{} {unit}`?", &rest[..used])),
                None => fault
                    .help("units are B KB MB GB TB KiB MiB GiB TiB, %, ms s min h days, and MB/h"),
            })
        }
    }
}

fn plain(value: f64) -> TokenKind {
    TokenKind::Quantity(Quantity { value, kind: None })
}

/// A text in double or single quotes; `\` keeps the next character as it is.
fn quoted(rest: &str, at: usize, quote: char) -> Result<(TokenKind, usize), Fault> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        if c == quote {
            return Ok((TokenKind::Text(value), i + 1));
        }
        if c == '\\' {
            match chars.next() {
                Some((_, escaped)) => value.push(escaped),
                None => break,
            }
        } else {
            value.push(c);
        }
    }
    Err(Fault::new(at..at + rest.len(), "the text is not closed")
        .help(format!("add {quote} at its end")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn kinds(text: &str) -> Vec<String> {
        tokens(text)
            .unwrap()
            .into_iter()
            .map(|t| match t.kind {
                TokenKind::Quantity(q) => format!("{} {:?}", q.value, q.kind),
                TokenKind::Text(t) => format!("{t:?}"),
                TokenKind::Name(n) => n,
                TokenKind::Keyword(k) => k.to_uppercase(),
                TokenKind::Symbol(s) => s.to_owned(),
                TokenKind::End => ".".to_owned(),
            })
            .collect()
    }

    #[test]
    fn numbers_keep_their_units_and_leave_keywords() {
        assert_eq!(
            kinds("a>1.5 GB for 30 s and 5 or 30%of b"),
            [
                "a",
                ">",
                "1500000000 Some(Bytes)",
                "FOR",
                "30000 Some(Duration)",
                "AND",
                "5 None",
                "OR",
                "0.3 Some(Ratio)",
                "OF",
                "b",
                "."
            ]
        );
        assert_eq!(
            kinds("1 MB/h / 2"),
            ["1000000 Some(BytesPerHour)", "/", "2 None", "."]
        );
        assert_eq!(kinds("6 / heap.used"), ["6 None", "/", "heap.used", "."]);
        // A fact may begin as a unit does.
        assert_eq!(kinds("9 / h9"), ["9 None", "/", "h9", "."]);
        assert_eq!(kinds("9 / h"), ["9 Some(CountPerHour)", "."]);
    }

    #[test]
    fn comments_and_texts() {
        assert_eq!(
            kinds("a # rest\n'b\\'' \"c\""),
            ["a", "\"b'\"", "\"c\"", "."]
        );
    }

    #[test]
    fn foreign_operators_are_named() {
        for (text, help) in [
            ("a && b", "and"),
            ("a = b", "=="),
            ("!a", "not"),
            ("a ≥ b", ">="),
        ] {
            let fault = tokens(text).unwrap_err();
            assert_eq!(
                fault.help,
                Some(format!("did you mean `{help}`?")),
                "{text}"
            );
        }
    }

    #[test]
    fn faults_say_where() {
        assert_eq!(tokens("a > 5 foo").unwrap_err().span, 6..9);
        assert_eq!(
            tokens("a > 10 m").unwrap_err().help.as_deref(),
            Some("did you mean `10 min`?")
        );
        assert_eq!(tokens("a 'b").unwrap_err().span, 2..4);
        assert_eq!(tokens("a § b").unwrap_err().span, 2..4);
        assert!(tokens(&"a ".repeat(MAX_EXPRESSION_BYTES)).is_err());
        assert!(tokens(&"9".repeat(400)).is_err());
    }
}

//! An error in a text that a person wrote: file, line, column, caret, and one suggestion.

use std::fmt;
use std::ops::Range;

/// What is wrong at a place in an expression; offsets are bytes of that expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Bytes of the expression that the caret points at.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do: one suggestion.
    pub help: Option<String>,
}

impl Fault {
    /// A fault without a suggestion.
    #[must_use]
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            help: None,
        }
    }

    /// The same with a suggestion.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with "did you mean" when there is a near name.
    #[must_use]
    pub fn did_you_mean(mut self, name: Option<&str>) -> Self {
        if let Some(name) = name {
            self.help = Some(format!("did you mean `{name}`?"));
        }
        self
    }
}

/// An error in a file, ready to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters that the caret marks, at least 1.
    pub width: usize,
    /// The line itself.
    pub line_text: String,
    /// What is wrong.
    pub message: String,
    /// What to do: one suggestion.
    pub help: Option<String>,
}

/// Longest line shown whole; of a longer one, the part around the caret is shown.
const MAX_LINE_CHARS: usize = 160;

impl Diagnostic {
    /// An error at `span` (bytes) of `text`, the content of `file`.
    #[must_use]
    pub fn new(file: &str, text: &str, fault: Fault) -> Self {
        let start = floor_boundary(text, fault.span.start);
        let end = floor_boundary(text, fault.span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[..start].bytes().filter(|b| *b == b'\n').count() + 1;
        let column = text[line_start..start].chars().count() + 1;
        let width = text[start..end.min(line_end).max(start)]
            .chars()
            .count()
            .max(1);
        Self {
            file: file.to_owned(),
            line,
            column,
            width,
            line_text: text[line_start..line_end].trim_end_matches('\r').to_owned(),
            message: fault.message,
            help: fault.help,
        }
    }

    /// The line as shown, the characters before the caret, and the caret's width.
    fn excerpt(&self) -> (String, usize, usize) {
        let chars: Vec<char> = self
            .line_text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let at = self.column - 1;
        if chars.len() <= MAX_LINE_CHARS {
            return (chars.into_iter().collect(), at, self.width);
        }
        let from = at.saturating_sub(MAX_LINE_CHARS / 2).min(chars.len());
        let to = (from + MAX_LINE_CHARS).min(chars.len());
        let mut shown: String = chars[from..to].iter().collect();
        let mut before = at.saturating_sub(from);
        if from > 0 {
            shown.insert(0, '…');
            before += 1;
        }
        if to < chars.len() {
            shown.push('…');
        }
        (shown, before, self.width.min(MAX_LINE_CHARS))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let (shown, before, width) = self.excerpt();
        writeln!(f, "error: {}", self.message)?;
        writeln!(f, "{margin}--> {}:{}:{}", self.file, self.line, self.column)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", shown.trim_end())?;
        write!(f, "{margin} | {}{}", " ".repeat(before), "^".repeat(width))?;
        if let Some(help) = &self.help {
            write!(f, "\n{margin} = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// Where an expression stands, so that its faults can be shown in the file that holds it.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Name of the file, as it is shown.
    pub file: &'a str,
    /// The whole content of the file.
    pub text: &'a str,
    /// First byte of the TOML string literal (its quote) that holds the expression;
    /// `None` when `text` is the expression itself.
    pub literal: Option<usize>,
}

impl<'a> Origin<'a> {
    /// An expression that stands alone.
    #[must_use]
    pub fn alone(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            literal: None,
        }
    }

    /// An expression inside a TOML string whose literal starts at byte `literal` of `text`.
    #[must_use]
    pub fn in_toml(file: &'a str, text: &'a str, literal: usize) -> Self {
        Self {
            file,
            text,
            literal: Some(literal),
        }
    }

    /// The fault, shown in the file.
    #[must_use]
    pub fn diagnostic(&self, fault: Fault) -> Diagnostic {
        let mut fault = fault;
        if let Some(literal) = self.literal {
            let raw = self.text.get(literal..).unwrap_or("");
            fault.span = literal + raw_offset(raw, fault.span.start)
                ..literal + raw_offset(raw, fault.span.end);
        }
        Diagnostic::new(self.file, self.text, fault)
    }
}

/// Byte of a raw TOML string literal (with its quotes) at which byte `decoded` of its value stands.
fn raw_offset(raw: &str, decoded: usize) -> usize {
    let (open, escapes) = match raw.as_bytes() {
        [b'"', b'"', b'"', ..] => (3, true),
        [b'\'', b'\'', b'\'', ..] => (3, false),
        [b'"', ..] => (1, true),
        [b'\'', ..] => (1, false),
        _ => return decoded.min(raw.len()),
    };
    let mut at = open;
    if open == 3 {
        // TOML drops a line break directly after the opening quotes.
        at += match raw.as_bytes().get(at..) {
            Some([b'\r', b'\n', ..]) => 2,
            Some([b'\n', ..]) => 1,
            _ => 0,
        };
    }
    let mut produced = 0;
    while produced < decoded && at < raw.len() {
        let rest = &raw[at..];
        let (consumed, made) = match rest.as_bytes() {
            [b'\\', next, ..] if escapes => escape(rest, *next),
            _ => {
                let size = rest.chars().next().map_or(1, char::len_utf8);
                (size, size)
            }
        };
        at += consumed;
        produced += made;
    }
    at.min(raw.len())
}

/// Raw bytes consumed and decoded bytes produced by the escape at the start of `rest`.
fn escape(rest: &str, next: u8) -> (usize, usize) {
    let code = |digits: usize| {
        let made = rest
            .get(2..2 + digits)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .and_then(char::from_u32)
            .map_or(1, char::len_utf8);
        (2 + digits, made)
    };
    match next {
        b'u' => code(4),
        b'U' => code(8),
        b'x' => code(2),
        b' ' | b'\t' | b'\r' | b'\n' => {
            let kept = rest[1..].trim_start();
            (rest.len() - kept.len(), 0)
        }
        _ => (2, 1),
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The candidate nearest to `name`, when one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const MAX_NAME_CHARS: usize = 64;
    let wanted: Vec<char> = name.chars().take(MAX_NAME_CHARS + 1).collect();
    if wanted.is_empty() || wanted.len() > MAX_NAME_CHARS {
        return None;
    }
    let limit = (wanted.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = distance(&wanted, candidate);
        if distance <= limit && best.is_none_or(|(nearest, _)| distance < nearest) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbors) between two names, letter case ignored.
fn distance(wanted: &[char], candidate: &str) -> usize {
    let from: Vec<char> = wanted.iter().map(char::to_ascii_lowercase).collect();
    let to: Vec<char> = candidate.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = above[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_fault() {
        let text = "id = 'x'\nwhen = \"a > 30 s\"\n";
        let origin = Origin::in_toml("rule.toml", text, 16);
        let shown = origin
            .diagnostic(Fault::new(4..8, "bytes and seconds").help("write `30 MB`"))
            .to_string();
        assert_eq!(
            shown,
            "error: bytes and seconds\n --> rule.toml:2:13\n  |\n2 | when = \"a > 30 s\"\n  |             ^^^^\n  = help: write `30 MB`"
        );
    }

    #[test]
    fn escapes_do_not_shift_the_caret() {
        let text = r#"m = "é\t\u00e9\"x""#;
        let origin = Origin::in_toml("f", text, 4);
        // Decoded: é (2 bytes), tab, é (2 bytes), quote, x.
        let shown = origin.diagnostic(Fault::new(6..7, "here"));
        assert_eq!(shown.line_text.chars().nth(shown.column - 1), Some('x'));
    }

    #[test]
    fn multi_line_strings_keep_their_lines() {
        let text = "when = \"\"\"\na > 1 and\nb > 2\"\"\"\n";
        let origin = Origin::in_toml("f", text, 7);
        let shown = origin.diagnostic(Fault::new(10..11, "here"));
        assert_eq!((shown.line, shown.column), (3, 1));
    }

    #[test]
    fn spans_outside_the_text_are_clamped() {
        let shown = Diagnostic::new("f", "é", Fault::new(1..900, "m"));
        assert_eq!((shown.line, shown.column, shown.width), (1, 1, 1));
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = format!("{}X{}", "a".repeat(1000), "b".repeat(1000));
        let shown = Diagnostic::new("f", &text, Fault::new(1000..1001, "m")).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines[4].chars().position(|c| c == '^');
        let marked = caret.and_then(|at| lines[3].chars().nth(at));
        assert_eq!(marked, Some('X'));
        assert!(lines[3].chars().count() < 200);
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let names = ["loh.free", "loh.committed", "private_bytes"];
        assert_eq!(nearest("loh.fre", names), Some("loh.free"));
        assert_eq!(nearest("private_byets", names), Some("private_bytes"));
        assert_eq!(nearest("completely.different", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest(&"x".repeat(10_000), names), None);
    }
}

//! Text with `{expression}` in it. Values are printed by their units.
//!
//! `{? … }` is left out when something inside it is unknown: `{field}{?, {elements} entries}`.
//! `{{` and `}}` are braces.

use crate::check::{Environment, expression};
use crate::diagnostic::Fault;
use crate::eval::Evaluation;
use crate::expr::Expr;

/// Longest template that is read.
const MAX_TEMPLATE_BYTES: usize = 4096;

/// A checked template.
#[derive(Debug, Clone)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Value(Expr),
    Optional(Vec<Piece>),
}

/// A template with its values filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text; a value that is not known reads `unknown`.
    pub text: String,
    /// Every value outside `{? … }` was known.
    pub complete: bool,
}

impl Template {
    /// Parses a template and checks every expression in it.
    ///
    /// # Errors
    /// With the span of what is wrong, in bytes of `text`.
    pub fn parse(text: &str, environment: Environment<'_>) -> Result<Self, Fault> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(Fault::new(
                0..1,
                format!(
                    "the text is {} bytes long; the limit is {MAX_TEMPLATE_BYTES}",
                    text.len()
                ),
            ));
        }
        let mut at = 0;
        let pieces = pieces(text, &mut at, None, environment)?;
        Ok(Self { pieces })
    }

    /// Fills in the values.
    pub fn render(&self, evaluation: &mut Evaluation<'_, '_>) -> Rendered {
        let mut text = String::new();
        let complete = render(&self.pieces, evaluation, &mut text);
        Rendered { text, complete }
    }
}

fn render(pieces: &[Piece], evaluation: &mut Evaluation<'_, '_>, out: &mut String) -> bool {
    let mut complete = true;
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Value(expr) => match evaluation.value(expr).text(expr.kind()) {
                Some(text) => out.push_str(&text),
                None => {
                    out.push_str("unknown");
                    complete = false;
                }
            },
            Piece::Optional(inner) => {
                let keep = out.len();
                if !render(inner, evaluation, out) {
                    out.truncate(keep);
                }
            }
        }
    }
    complete
}

/// Pieces up to the end, or up to the `}` of the optional part that starts at `open`.
fn pieces(
    text: &str,
    at: &mut usize,
    open: Option<usize>,
    environment: Environment<'_>,
) -> Result<Vec<Piece>, Fault> {
    let mut out = Vec::new();
    let mut plain = String::new();
    while let Some(c) = text[*at..].chars().next() {
        let rest = &text[*at..];
        if rest.starts_with("{{") || (open.is_none() && rest.starts_with("}}")) {
            plain.push(c);
            *at += 2;
            continue;
        }
        if c != '{' && c != '}' {
            plain.push(c);
            *at += c.len_utf8();
            continue;
        }
        if !plain.is_empty() {
            out.push(Piece::Text(std::mem::take(&mut plain)));
        }
        let start = *at;
        if c == '}' {
            *at += 1;
            if open.is_some() {
                return Ok(out);
            }
            return Err(Fault::new(start..start + 1, "this brace closes nothing")
                .help("write `}}` for a brace"));
        }
        if rest.starts_with("{?") {
            if open.is_some() {
                return Err(Fault::new(start..start + 2, "`{?` does not nest"));
            }
            *at += 2;
            out.push(Piece::Optional(pieces(text, at, Some(start), environment)?));
            continue;
        }
        let inner = rest[1..]
            .find('}')
            .map(|length| &rest[1..=length])
            .ok_or_else(|| {
                Fault::new(start..start + 1, "the brace is not closed")
                    .help("add `}`, or write `{{` for a brace")
            })?;
        let checked = expression(inner, environment).map_err(|mut fault| {
            fault.span = start + 1 + fault.span.start..start + 1 + fault.span.end;
            fault
        })?;
        out.push(Piece::Value(checked.expr));
        *at += inner.len() + 2;
    }
    if let Some(open) = open {
        return Err(Fault::new(open..open + 2, "the optional part is not closed").help("add `}`"));
    }
    if !plain.is_empty() {
        out.push(Piece::Text(plain));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sheet::FactSheet;
    use proptest::prelude::*;

    fn fill(text: &str) -> (String, bool) {
        let mut sheet = FactSheet::default();
        sheet.int("loh.committed", 2_000_000_000);
        sheet.int("loh.free", 870_000_000);
        let template = Template::parse(text, Environment::default()).unwrap();
        let rendered = template.render(&mut Evaluation::new(&sheet));
        (rendered.text, rendered.complete)
    }

    #[test]
    fn values_are_printed_by_their_units() {
        assert_eq!(
            fill("LOH is {loh.committed}; {loh.free / loh.committed} holes {{x}}"),
            ("LOH is 2 GB; 44% holes {x}".to_owned(), true)
        );
    }

    #[test]
    fn what_is_unknown_says_so_or_is_left_out() {
        assert_eq!(
            fill("{loh.free}, largest {loh.largest_free}"),
            ("870 MB, largest unknown".to_owned(), false)
        );
        assert_eq!(
            fill("{loh.free}{?, largest {loh.largest_free}}."),
            ("870 MB.".to_owned(), true)
        );
        assert_eq!(
            fill("a{? of {loh.committed}}."),
            ("a of 2 GB.".to_owned(), true)
        );
    }

    #[test]
    fn mistakes_are_found_when_the_rule_is_loaded() {
        for (text, at, message) in [
            ("x {loh.fre} y", 3..10, "no fact"),
            ("x {loh.free", 2..3, "not closed"),
            ("x } y", 2..3, "closes nothing"),
            ("{? {loh.free}", 0..2, "not closed"),
            ("{? {? a} }", 3..5, "nest"),
            ("{}", 1..2, "empty"),
        ] {
            let fault = Template::parse(text, Environment::default()).unwrap_err();
            assert!(fault.message.contains(message), "{text}: {fault:?}");
            assert_eq!(fault.span, at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn templates_never_panic(text in "[{}?a-z.é ]{0,40}") {
            let _ = Template::parse(&text, Environment::default());
        }
    }
}

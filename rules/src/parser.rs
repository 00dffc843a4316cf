//! Tokens to a [`Node`]: a Pratt parser with a depth cap.

use std::ops::Range;

use crate::diagnostic::{Fault, nearest};
use crate::lexer::{KEYWORDS, Token, TokenKind, tokens};
use crate::syntax::{Aggregate, How, Node, NodeKind, Operator, binding};
use crate::vocabulary::Kind;

/// Deepest nesting that is read; also the longest chain of one operator.
pub const MAX_DEPTH: usize = 64;
/// Deepest recursion: printing puts brackets around at most each level, and what is printed must read.
const MAX_NESTING: usize = 2 * MAX_DEPTH + 1;

/// Most arguments of a call.
const MAX_ARGUMENTS: usize = 8;

/// Parses one expression.
///
/// # Errors
/// When the text is no expression; the fault's span points at the first place where it stops being one.
pub fn parse(text: &str) -> Result<Node, Fault> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    if parser.peek() == &TokenKind::End {
        return Err(Fault::new(0..1, "the expression is empty")
            .help("write a condition such as `private_bytes > 1.5 GB`"));
    }
    let node = parser.expression(binding::OR)?;
    match parser.peek() {
        TokenKind::End => Ok(node),
        _ => Err(parser.after_expression()),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &TokenKind {
        self.ahead(0)
    }

    fn ahead(&self, n: usize) -> &TokenKind {
        // The last token is always `End`, and nothing steps past it.
        self.tokens
            .get(self.at + n)
            .map_or(&TokenKind::End, |t| &t.kind)
    }

    fn span(&self) -> Range<usize> {
        let end = self.tokens.last().map_or(0, |t| t.span.end);
        self.tokens
            .get(self.at)
            .map_or(end..end, |t| t.span.clone())
    }

    fn step(&mut self) -> Range<usize> {
        let span = self.span();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        span
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), TokenKind::Symbol(s) if *s == symbol)
    }

    fn is_keyword(&self, n: usize, keyword: &str) -> bool {
        matches!(self.ahead(n), TokenKind::Keyword(k) if *k == keyword)
    }

    fn expression(&mut self, least: u8) -> Result<Node, Fault> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(too_deep(self.span()));
        }
        let mut left = self.operand()?;
        loop {
            if self.is_keyword(0, "for") && binding::HELD >= least {
                left = self.held(left)?;
                continue;
            }
            let operator = match self.peek() {
                TokenKind::Symbol(text) => Operator::written(text),
                TokenKind::Keyword(text) => Operator::written(text),
                _ => None,
            };
            let Some(operator) = operator.filter(|o| o.binding() >= least) else {
                break;
            };
            let operator_span = self.step();
            let right = self.expression(operator.binding() + 1)?;
            if operator.compares()
                && matches!(&left.kind, NodeKind::Binary(before, ..) if before.compares())
                && !self.is_bracketed(&left)
            {
                return Err(Fault::new(operator_span, "comparisons do not chain")
                    .help("write `a < x and x < b`"));
            }
            let span = left.span.start..right.span.end;
            left = node(
                NodeKind::Binary(operator, Box::new(left), Box::new(right)),
                span,
            )?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// A bracketed node's span starts after its bracket, so the token there tells.
    fn is_bracketed(&self, node: &Node) -> bool {
        self.tokens
            .iter()
            .any(|t| t.span.start == node.span.start && matches!(t.kind, TokenKind::Symbol("(")))
    }

    fn held(&mut self, inner: Node) -> Result<Node, Fault> {
        self.step();
        let span = self.span();
        match self.peek() {
            TokenKind::Quantity(quantity) if quantity.kind == Some(Kind::Duration) => {
                let quantity = *quantity;
                self.step();
                let whole = inner.span.start..span.end;
                let time = node(NodeKind::Quantity(quantity), span)?;
                node(NodeKind::Held(Box::new(inner), Box::new(time)), whole)
            }
            TokenKind::Quantity(quantity) if quantity.kind.is_none() => {
                let value = quantity.value;
                Err(
                    Fault::new(span, "`for` needs a time span, and this number has no unit")
                        .help(format!("did you mean `{value} s`?")),
                )
            }
            _ => Err(Fault::new(span, "`for` needs a time span").help("write `for 30 s`")),
        }
    }

    fn operand(&mut self) -> Result<Node, Fault> {
        let span = self.span();
        match self.peek().clone() {
            TokenKind::Quantity(quantity) => {
                self.step();
                node(NodeKind::Quantity(quantity), span)
            }
            TokenKind::Text(text) => {
                self.step();
                node(NodeKind::Text(text), span)
            }
            TokenKind::Keyword("true") => {
                self.step();
                node(NodeKind::Bool(true), span)
            }
            TokenKind::Keyword("false") => {
                self.step();
                node(NodeKind::Bool(false), span)
            }
            TokenKind::Keyword("not") => {
                self.step();
                let inner = self.expression(binding::NOT)?;
                let span = span.start..inner.span.end;
                node(NodeKind::Not(Box::new(inner)), span)
            }
            TokenKind::Symbol("-") => {
                self.step();
                let inner = self.expression(binding::NEGATE)?;
                let span = span.start..inner.span.end;
                node(NodeKind::Negate(Box::new(inner)), span)
            }
            TokenKind::Symbol("(") => {
                self.step();
                let mut inner = self.expression(binding::OR)?;
                let end = self.close(&span)?;
                inner.span = span.start..end;
                Ok(inner)
            }
            TokenKind::Keyword(word @ ("any" | "all")) => {
                self.step();
                let how = if word == "any" { How::Any } else { How::All };
                self.aggregate(how, span)
            }
            TokenKind::Name(name) => self.named(name, span),
            _ => Err(self.no_operand()),
        }
    }

    /// A name, a call, or one of the words that start a question about a list.
    fn named(&mut self, name: String, span: Range<usize>) -> Result<Node, Fault> {
        let how = How::named(&name);
        let list_follows = self.is_keyword(1, "in")
            || (matches!(self.ahead(1), TokenKind::Name(n) if n == "item")
                && self.is_keyword(2, "in"));
        let value_follows = matches!(
            self.ahead(1),
            TokenKind::Name(_) | TokenKind::Quantity(_) | TokenKind::Text(_)
        );
        if let Some(how) = how
            && (list_follows || (value_follows && how != How::Count))
        {
            self.step();
            return self.aggregate(how, span);
        }
        if !matches!(self.ahead(1), TokenKind::Symbol("(")) {
            self.step();
            return node(NodeKind::Name(name), span);
        }
        self.step();
        let open = self.step();
        let mut arguments = Vec::new();
        while !self.is_symbol(")") {
            if arguments.len() == MAX_ARGUMENTS {
                return Err(Fault::new(
                    self.span(),
                    format!("more than {MAX_ARGUMENTS} arguments"),
                ));
            }
            arguments.push(self.expression(binding::OR)?);
            if !self.is_symbol(",") {
                break;
            }
            self.step();
        }
        let end = self.close(&open)?;
        // `sum(bytes) in pinned` reads like `sum bytes in pinned`.
        if let (Some(how), 1, true) = (how, arguments.len(), self.is_keyword(0, "in")) {
            return self.over_list(how, arguments.pop().map(Box::new), span);
        }
        node(NodeKind::Call(name, arguments), span.start..end)
    }

    /// What follows `any`, `sum`, …: `[item | EXPR] in LIST [where EXPR]`.
    fn aggregate(&mut self, how: How, start: Range<usize>) -> Result<Node, Fault> {
        if matches!(self.peek(), TokenKind::Name(n) if n == "item") && self.is_keyword(1, "in") {
            self.step();
        }
        let value = if self.is_keyword(0, "in") {
            None
        } else if let (TokenKind::Name(column), true) =
            (self.peek().clone(), self.is_keyword(1, "in"))
        {
            // `sum count in pinned`: the column, not the question `count in pinned`.
            let span = self.step();
            Some(Box::new(node(NodeKind::Name(column), span)?))
        } else {
            Some(Box::new(self.expression(binding::OR)?))
        };
        self.over_list(how, value, start)
    }

    fn over_list(
        &mut self,
        how: How,
        value: Option<Box<Node>>,
        start: Range<usize>,
    ) -> Result<Node, Fault> {
        if !self.is_keyword(0, "in") {
            return Err(
                Fault::new(self.span(), format!("`{}` needs a list", how.word()))
                    .help(format!("write `{} … in pinned where …`", how.word())),
            );
        }
        self.step();
        let list_span = self.span();
        let TokenKind::Name(list) = self.peek().clone() else {
            return Err(Fault::new(list_span, "the name of a list belongs here"));
        };
        self.step();
        let mut end = list_span.end;
        let filter = if self.is_keyword(0, "where") {
            self.step();
            let filter = self.expression(binding::OR)?;
            end = filter.span.end;
            Some(Box::new(filter))
        } else {
            None
        };
        let span = start.start..end;
        if value.is_none() && matches!(how, How::Sum | How::Max | How::Min | How::First) {
            let word = how.word();
            return Err(
                Fault::new(span, format!("`{word}` needs to know what of each element"))
                    .help(format!("write `{word} bytes in {list}`")),
            );
        }
        if value.is_none() && filter.is_none() && matches!(how, How::All) {
            return Err(Fault::new(span, "`all` needs a condition")
                .help(format!("write `all in {list} where …`")));
        }
        let aggregate = Aggregate {
            how,
            value,
            list,
            list_span,
            filter,
        };
        node(NodeKind::Aggregate(aggregate), span)
    }

    fn close(&mut self, open: &Range<usize>) -> Result<usize, Fault> {
        if self.is_symbol(")") {
            return Ok(self.step().end);
        }
        if self.peek() == &TokenKind::End {
            return Err(Fault::new(open.clone(), "the bracket is not closed").help("add `)`"));
        }
        Err(self.after_expression())
    }

    /// Something stands where an operand should.
    fn no_operand(&self) -> Fault {
        let span = self.span();
        let what = match self.peek() {
            TokenKind::End => {
                return Fault::new(span, "the expression ends too early")
                    .help("a fact, a number or a bracket belongs here");
            }
            TokenKind::Keyword(word) => *word,
            TokenKind::Symbol(symbol) => *symbol,
            _ => "this",
        };
        Fault::new(span, format!("`{what}` cannot stand here"))
            .help("a fact, a number or a bracket belongs here")
    }

    /// Something follows a whole expression that cannot.
    fn after_expression(&self) -> Fault {
        let span = self.span();
        match self.peek() {
            TokenKind::Name(word) => {
                let fault = Fault::new(span, format!("`{word}` cannot follow here"));
                let operators = KEYWORDS
                    .iter()
                    .copied()
                    .filter(|k| !matches!(*k, "true" | "false" | "any" | "all" | "not"));
                match nearest(&word.to_ascii_lowercase(), operators) {
                    Some(near) => fault.did_you_mean(Some(near)),
                    None => fault.help("an operator such as `and`, `>` or `+` belongs between"),
                }
            }
            TokenKind::Symbol(")") => {
                Fault::new(span, "this bracket closes nothing").help("remove `)`")
            }
            TokenKind::Keyword(word) => Fault::new(span, format!("`{word}` cannot follow here")),
            TokenKind::Symbol(symbol) => Fault::new(span, format!("`{symbol}` cannot follow here")),
            _ => Fault::new(span, "this cannot follow here")
                .help("an operator such as `and`, `>` or `+` belongs between"),
        }
    }
}

fn too_deep(span: Range<usize>) -> Fault {
    Fault::new(
        span,
        format!("the expression nests deeper than {MAX_DEPTH} levels"),
    )
    .help("split it into several rules")
}

/// A node over the given parts, unless it gets too deep.
fn node(kind: NodeKind, span: Range<usize>) -> Result<Node, Fault> {
    let below = match &kind {
        NodeKind::Not(a) | NodeKind::Negate(a) => a.depth,
        NodeKind::Binary(_, a, b) | NodeKind::Held(a, b) => a.depth.max(b.depth),
        NodeKind::Call(_, arguments) => arguments.iter().map(|a| a.depth).max().unwrap_or(0),
        NodeKind::Aggregate(aggregate) => [&aggregate.value, &aggregate.filter]
            .into_iter()
            .flatten()
            .map(|n| n.depth)
            .max()
            .unwrap_or(0),
        _ => 0,
    };
    if below >= MAX_DEPTH {
        return Err(too_deep(span));
    }
    Ok(Node {
        kind,
        span,
        depth: below + 1,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::units::Quantity;
    use proptest::prelude::*;

    /// Parses and prints with every bracket.
    fn shape(text: &str) -> String {
        fn full(node: &Node) -> String {
            match &node.kind {
                NodeKind::Binary(o, a, b) => format!("({} {} {})", full(a), o.text(), full(b)),
                NodeKind::Not(a) => format!("(not {})", full(a)),
                NodeKind::Negate(a) => format!("(-{})", full(a)),
                NodeKind::Held(a, t) => format!("({} for {t})", full(a)),
                NodeKind::Aggregate(a) => format!("[{a}]"),
                _ => node.to_string(),
            }
        }
        full(&parse(text).unwrap())
    }

    #[test]
    fn operators_bind_as_people_read_them() {
        assert_eq!(
            shape("a or b and not c > 1"),
            "(a or (b and (not (c > 1))))"
        );
        assert_eq!(shape("a - b - c * d / e"), "((a - b) - ((c * d) / e))");
        assert_eq!(
            shape("loh.free > 30% of loh.committed and loh.free > 100 MB"),
            "((loh.free > (30% of loh.committed)) and (loh.free > 100 MB))"
        );
        assert_eq!(
            shape("a > 1 and b > 2 for 30 s"),
            "((a > 1) and ((b > 2) for 30 s))"
        );
        assert_eq!(shape("(a or b) for 1 min"), "((a or b) for 1 min)");
        assert_eq!(shape("-a * b"), "((-a) * b)");
        assert_eq!(shape("(a < b) == (c < d)"), "((a < b) == (c < d))");
    }

    #[test]
    fn questions_about_lists_and_columns_called_count() {
        assert_eq!(
            shape("count in pinned where count > 5"),
            "[count in pinned where count > 5]"
        );
        assert_eq!(shape("count > 5"), "(count > 5)");
        assert_eq!(
            shape("any item in pinned where item.count > 5"),
            "[any in pinned where item.count > 5]"
        );
        assert_eq!(
            shape("sum(bytes) in pinned > 1 MB"),
            "([sum bytes in pinned] > 1 MB)"
        );
        assert_eq!(shape("max(a, b) > 1"), "(max(a, b) > 1)");
        assert_eq!(shape("first type in ready"), "[first type in ready]");
        assert_eq!(
            shape("any count > 5 in pinned where type == \"x\""),
            "[any (count > 5) in pinned where type == \"x\"]"
        );
    }

    #[test]
    fn what_is_no_expression_is_refused_where_it_stops_being_one() {
        for (text, span, help) in [
            ("", 0..1, Some("private_bytes")),
            ("a >", 3..3, Some("belongs here")),
            ("a > > b", 4..5, Some("belongs here")),
            ("(a > 1", 0..1, Some("add `)`")),
            ("a > 1)", 5..6, Some("remove")),
            ("a > 1 adn b > 2", 6..9, Some("`and`")),
            ("1 < a < 3", 6..7, Some("a < x and x < b")),
            ("a for 30", 6..8, Some("`30 s`")),
            ("a for b", 6..7, Some("for 30 s")),
            ("sum in pinned", 0..13, Some("sum bytes in pinned")),
            ("any a > 1", 9..9, Some("in pinned")),
            ("a b", 2..3, None),
        ] {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.span, span, "{text}: {fault:?}");
            if let Some(help) = help {
                assert!(
                    fault.help.as_ref().is_some_and(|h| h.contains(help)),
                    "{text}: {fault:?}"
                );
            }
        }
    }

    #[test]
    fn deep_and_long_expressions_are_refused_not_overflowed() {
        for text in [
            "(".repeat(2000),
            format!("{}a", "not ".repeat(1000)),
            "-".repeat(4000),
            vec!["a"; 1000].join(" + "),
            format!("{}1", "min(".repeat(900)),
            format!("{}a in b", "any ".repeat(900)),
        ] {
            assert!(parse(&text).is_err());
        }
        assert!(parse(&vec!["a"; 60].join(" or ")).is_ok());
    }

    #[test]
    fn a_deep_expression_reads_as_it_is_printed() {
        // Found by fuzzing: brackets that printing adds counted as levels.
        let found = include_str!("../../fuzz/seeds/expression/deep");
        let negated = format!("{}a", "- ".repeat(MAX_DEPTH - 1));
        let sums = (1..MAX_DEPTH).fold("a".to_owned(), |inner, _| format!("b - ({inner})"));
        // Another: what looks like a question is the value of one.
        let nested = "o < min(min(8)) in e";
        for text in [found, &negated, &sums, nested] {
            let node = parse(text).unwrap();
            let printed = node.to_string();
            assert_eq!(parse(&printed).unwrap().to_string(), printed);
        }
    }

    fn arbitrary_node() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("loh.free".to_owned()),
            Just("count".to_owned()),
            Just("item.bytes".to_owned()),
            (0u32..100_000).prop_map(|n| n.to_string()),
            (1u32..5000).prop_map(|n| format!("{n} MB")),
            (0u32..500).prop_map(|n| format!("{}%", f64::from(n) / 10.0)),
            (1u32..90).prop_map(|n| format!("{n} min")),
            "[a-z\\\\\"']{0,6}".prop_map(|t| {
                let escaped = t.replace('\\', "\\\\").replace('"', "\\\"");
                format!("\"{escaped}\"")
            }),
        ];
        leaf.prop_recursive(5, 40, 3, |inner| {
            let operator = prop::sample::select(Operator::ALL.to_vec());
            prop_oneof![
                (inner.clone(), operator, inner.clone())
                    .prop_map(|(a, o, b)| format!("({a}) {} ({b})", o.1.text())),
                inner.clone().prop_map(|a| format!("not ({a})")),
                inner.clone().prop_map(|a| format!("-({a})")),
                (inner.clone(), 1u32..60).prop_map(|(a, n)| format!("({a}) for {n} s")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("min({a}, {b})")),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| format!("(sum ({a}) in pinned where {b})")),
                inner.prop_map(|a| format!("(count in types where {a})")),
            ]
        })
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn parsing_words_never_panics(words in prop::collection::vec(prop::sample::select(vec![
            "a", "count", "sum", "max", "(", ")", "and", "or", "not", "any", "all", "in", "where", "for",
            "of", "30 s", "5", "1.5 GB", "30%", "<", ">=", "==", "+", "-", "*", "/", ",", "\"t\"", "item.x", "é",
        ]), 0..40)) {
            let text = words.join(" ");
            if let Err(fault) = parse(&text) {
                prop_assert!(fault.span.start <= text.len());
            }
        }

        #[test]
        fn what_is_printed_parses_to_the_same(text in arbitrary_node()) {
            if let Ok(node) = parse(&text) {
                let printed = node.to_string();
                let again = parse(&printed).map_err(|f| TestCaseError::fail(format!("{printed}: {f:?}")))?;
                prop_assert!(near(&node, &again), "{} | {}", text, printed);
            }
        }
    }

    /// Equal but for the last bit of a share, which no decimal text can promise.
    fn near(a: &Node, b: &Node) -> bool {
        match (&a.kind, &b.kind) {
            (
                NodeKind::Quantity(Quantity { value: x, kind: k }),
                NodeKind::Quantity(Quantity { value: y, kind: l }),
            ) => k == l && (x - y).abs() <= x.abs() * 1e-12,
            (NodeKind::Not(a), NodeKind::Not(b)) | (NodeKind::Negate(a), NodeKind::Negate(b)) => {
                near(a, b)
            }
            (NodeKind::Binary(o, a, b), NodeKind::Binary(p, c, d)) => {
                o == p && near(a, c) && near(b, d)
            }
            (NodeKind::Held(a, b), NodeKind::Held(c, d)) => near(a, c) && near(b, d),
            (NodeKind::Call(f, a), NodeKind::Call(g, b)) => {
                f == g && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b))
            }
            (NodeKind::Aggregate(a), NodeKind::Aggregate(b)) => {
                let part = |x: &Option<Box<Node>>, y: &Option<Box<Node>>| match (x, y) {
                    (Some(x), Some(y)) => near(x, y),
                    (x, y) => x.is_none() && y.is_none(),
                };
                a.how == b.how
                    && a.list == b.list
                    && part(&a.value, &b.value)
                    && part(&a.filter, &b.filter)
            }
            _ => a.kind == b.kind,
        }
    }
}

//! Which units go together, what comes out, and what someone meant who mixed them.

use crate::diagnostic::Fault;
use crate::expr::{Expr, Op, noun};
use crate::syntax::{Node, NodeKind, Operator};
use crate::units::{HOUR_MS, Quantity, format_exact};
use crate::vocabulary::Kind;

pub(crate) fn is_numeric(kind: Option<Kind>) -> bool {
    !matches!(kind, Some(Kind::Bool | Kind::Text | Kind::Texts))
}

pub(crate) fn numeric(expr: &Expr, node: &Node, word: &str) -> Result<(), Fault> {
    if is_numeric(expr.kind) {
        return Ok(());
    }
    Err(Fault::new(
        node.span.clone(),
        format!("`{word}` needs a number, and this is {}", noun(expr.kind)),
    ))
}

/// The kind of two values that may stand for each other; a plain number counts things, and 0 is 0 of anything.
pub(crate) fn same_kind(a: &Expr, b: &Expr) -> Option<Option<Kind>> {
    let zero = |e: &Expr| e.kind.is_none() && matches!(e.op, Op::Number(v) if v == 0.0);
    match (a.kind, b.kind) {
        (x, y) if x == y => Some(x),
        (None, Some(Kind::Count)) | (Some(Kind::Count), None) => Some(Some(Kind::Count)),
        (x, _) if zero(b) && is_numeric(x) => Some(x),
        (_, y) if zero(a) && is_numeric(y) => Some(y),
        // A quotient is a share; against a plain number it is "times": `heap.used / heap.live > 2`.
        // Not so of a counter: whether 80 or 0.8 is `80%` there, only the program knows.
        (None, Some(Kind::Ratio)) if !is_fact(b) && !is_fact(a) => Some(Some(Kind::Ratio)),
        (Some(Kind::Ratio), None) if !is_fact(a) && !is_fact(b) => Some(Some(Kind::Ratio)),
        _ => None,
    }
}

/// What is measured, not computed: a plain number beside a share of this sort is a percent sign forgotten.
fn is_fact(expr: &Expr) -> bool {
    matches!(
        expr.op,
        Op::Fact(_) | Op::Column { .. } | Op::Window { .. } | Op::Siblings { .. }
    )
}

/// A counter of the program, at one moment or over time.
fn is_counter(expr: &Expr) -> bool {
    expr.kind.is_none() && is_fact(expr)
}

pub(crate) fn compare(
    operator: Operator,
    (left, a): (&Node, Expr),
    (right, b): (&Node, Expr),
    node: &Node,
) -> Result<Expr, Fault> {
    let texts = matches!(
        operator,
        Operator::Contains | Operator::StartsWith | Operator::EndsWith | Operator::Matches
    );
    let is_text = |e: &Expr| matches!(e.kind, Some(Kind::Text));
    if texts {
        let left_fits = is_text(&a)
            || (a.kind == Some(Kind::Texts)
                && matches!(operator, Operator::Contains | Operator::Matches));
        if !left_fits || !is_text(&b) {
            let (wrong, kind) = if left_fits {
                (right, b.kind)
            } else {
                (left, a.kind)
            };
            return Err(Fault::new(
                wrong.span.clone(),
                format!(
                    "`{}` compares texts, and this is {}",
                    operator.text(),
                    noun(kind)
                ),
            )
            .help(format!("write `type {} \"…\"`", operator.text())));
        }
        return Ok(Expr::new(
            Op::TextCompare(operator, Box::new(a), Box::new(b)),
            Some(Kind::Bool),
        ));
    }
    let equality = matches!(operator, Operator::Equal | Operator::NotEqual);
    if same_kind(&a, &b).is_none() || a.kind == Some(Kind::Texts) {
        return Err(mixed("compared", (left, &a), (right, &b), node));
    }
    if !is_numeric(a.kind) && !equality {
        return Err(Fault::new(
            node.span.clone(),
            format!(
                "`{}` compares sizes, and this is {}",
                operator.text(),
                noun(a.kind)
            ),
        )
        .help("use `==` or `!=`"));
    }
    let op = if is_text(&a) {
        Op::TextCompare(operator, Box::new(a), Box::new(b))
    } else {
        Op::Compare(operator, Box::new(a), Box::new(b))
    };
    Ok(Expr::new(op, Some(Kind::Bool)))
}

/// Two values of different units met. The suggestion keeps the number and repairs its unit.
pub(crate) fn mixed(
    verb: &str,
    (left, a): (&Node, &Expr),
    (right, b): (&Node, &Expr),
    node: &Node,
) -> Fault {
    let fault = Fault::new(
        node.span.clone(),
        format!(
            "`{left}` is {} and `{right}` is {}: they cannot be {verb}",
            noun(a.kind),
            noun(b.kind)
        ),
    );
    let help = match (&right.kind, &left.kind) {
        _ if is_counter(a) || is_counter(b) => Some(
            "a counter has no unit: write a plain number, in what the program counts, or multiply: `counter(\"…\") * 1 MB`"
                .to_owned(),
        ),
        (NodeKind::Quantity(literal), _) => repair(*literal, right, a.kind),
        (_, NodeKind::Quantity(literal)) => repair(*literal, left, b.kind),
        _ => a.kind.filter(|k| is_numeric(Some(*k))).map(|k| {
            format!(
                "compare `{left}` with {}, such as `{}`",
                k.noun(),
                k.example()
            )
        }),
    };
    match help {
        Some(help) => fault.help(help),
        None => fault,
    }
}

/// What a literal beside a value of kind `wanted` was probably meant to be.
fn repair(literal: Quantity, node: &Node, wanted: Option<Kind>) -> Option<String> {
    let wanted = wanted?;
    if literal.kind == Some(Kind::Ratio) {
        return Some(format!(
            "say what it is a share of: `{node} of memory.commit`"
        ));
    }
    // The number as it was written, before its unit.
    let written = node.to_string();
    let number: String = written
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let meant = match (wanted, literal.kind) {
        (Kind::Bytes, None) if literal.value >= 1e6 => format_exact(Quantity {
            value: literal.value,
            kind: Some(Kind::Bytes),
        }),
        (Kind::Bytes, _) => format!("{number} MB"),
        (Kind::Ratio, None) if literal.value <= 1.0 => format_exact(Quantity {
            value: literal.value,
            kind: Some(Kind::Ratio),
        }),
        (Kind::Ratio, _) => format!("{number}%"),
        (Kind::Count | Kind::Number, _) => number,
        (Kind::Duration, _) => format!("{number} s"),
        (Kind::BytesPerHour, Some(Kind::Bytes)) => format!("{written}/h"),
        (Kind::BytesPerHour, _) => format!("{number} MB/h"),
        (Kind::CountPerHour, _) => format!("{number}/h"),
        (Kind::Bool | Kind::Text | Kind::Texts, _) => return None,
    };
    Some(format!("did you mean `{meant}`?"))
}

/// What an operation yields and by what its result is multiplied; `None` when the units do not go together.
pub(crate) fn arithmetic(
    operator: Operator,
    a: Option<Kind>,
    b: Option<Kind>,
) -> Option<(Option<Kind>, f64)> {
    use Kind::{Bytes, BytesPerHour, Count, CountPerHour, Duration, Ratio};
    if !is_numeric(a) || !is_numeric(b) {
        return None;
    }
    let plain = |kind: Option<Kind>| Some((kind, 1.0));
    match operator {
        Operator::Of => (a == Some(Ratio)).then_some((b, 1.0)),
        Operator::Add | Operator::Subtract => match (a, b) {
            (x, y) if x == y => plain(x),
            (None, Some(k @ (Count | Ratio))) | (Some(k @ (Count | Ratio)), None) => plain(Some(k)),
            _ => None,
        },
        Operator::Multiply => match (a, b) {
            (None | Some(Ratio), other) | (other, None | Some(Ratio)) => plain(other),
            (Some(Count), Some(other @ (Count | Bytes | Duration))) => plain(Some(other)),
            (Some(other @ (Bytes | Duration)), Some(Count)) => plain(Some(other)),
            (Some(BytesPerHour), Some(Duration)) | (Some(Duration), Some(BytesPerHour)) => {
                Some((Some(Bytes), 1.0 / HOUR_MS))
            }
            (Some(CountPerHour), Some(Duration)) | (Some(Duration), Some(CountPerHour)) => {
                Some((Some(Count), 1.0 / HOUR_MS))
            }
            _ => None,
        },
        Operator::Divide => match (a, b) {
            (other, None) => plain(other),
            (Some(x), Some(y)) if x == y => plain(Some(Ratio)),
            (other, Some(Ratio)) => plain(other),
            (Some(Bytes), Some(Count)) => plain(Some(Bytes)),
            (Some(Duration), Some(Count)) => plain(Some(Duration)),
            (None, Some(Count)) => plain(Some(Ratio)),
            (Some(Bytes), Some(Duration)) => Some((Some(BytesPerHour), HOUR_MS)),
            (None | Some(Count), Some(Duration)) => Some((Some(CountPerHour), HOUR_MS)),
            (Some(Bytes), Some(BytesPerHour)) | (None | Some(Count), Some(CountPerHour)) => {
                Some((Some(Duration), HOUR_MS))
            }
            _ => None,
        },
        _ => None,
    }
}

pub(crate) fn arithmetic_fault(
    operator: Operator,
    (left, a): (&Node, &Expr),
    (right, b): (&Node, &Expr),
    node: &Node,
) -> Fault {
    if operator == Operator::Of && a.kind != Some(Kind::Ratio) {
        let help = match (&left.kind, a.kind) {
            (NodeKind::Quantity(literal), None) => format!("did you mean `{}%`?", literal.value),
            _ => "write `30% of …`".to_owned(),
        };
        return Fault::new(
            left.span.clone(),
            format!("`of` needs a share, and this is {}", noun(a.kind)),
        )
        .help(help);
    }
    for (side, expr) in [(left, a), (right, b)] {
        if let Err(fault) = numeric(expr, side, operator.text()) {
            return fault;
        }
    }
    let verb = match operator {
        Operator::Add => "added",
        Operator::Subtract => "subtracted",
        Operator::Multiply => "multiplied",
        _ => "divided",
    };
    mixed(verb, (left, a), (right, b), node)
}

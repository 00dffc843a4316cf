//! A counter of the program, and functions of one fact: a statistic over a window of time, the median over siblings.

use crate::algebra::is_numeric;
use crate::diagnostic::{Fault, nearest};
use crate::expr::{Expr, Op};
use crate::history::Statistic;
use crate::syntax::{Node, NodeKind};
use crate::units::Quantity;
use crate::vocabulary::{FACTS, Fact, Kind, counter as counters, fact_named};

/// A span that was written out, such as `7 days`.
pub(super) fn duration_ms(node: &Node) -> Option<u64> {
    match node.kind {
        NodeKind::Quantity(Quantity {
            value,
            kind: Some(Kind::Duration),
        }) => Some(value.round() as u64),
        _ => None,
    }
}

/// `average(private_bytes, 7 days)` and its kin.
pub(super) fn window(
    name: &str,
    statistic: Statistic,
    what: &Node,
    span: &Node,
    node: &Node,
) -> Result<Expr, Fault> {
    let fact = plain_fact(name, what, "private_bytes, 7 days")?;
    let Some(window_ms) = duration_ms(span).filter(|ms| *ms > 0) else {
        return Err(
            Fault::new(span.span.clone(), format!("`{name}` needs a time span"))
                .help(format!("write `{name}({}, 1 h)`", fact.name)),
        );
    };
    let kind = match (statistic, fact.kind) {
        (_, Kind::Bool | Kind::Text | Kind::Texts) => None,
        (Statistic::Rate, Kind::Bytes) => Some(Kind::BytesPerHour),
        (Statistic::Rate, Kind::Count | Kind::Number) => Some(Kind::CountPerHour),
        (Statistic::Rate, _) => None,
        (_, kind) => Some(kind),
    };
    let Some(kind) = kind else {
        return Err(Fault::new(
            what.span.clone(),
            format!(
                "`{}` is {}, which has no {name}",
                fact.name,
                fact.kind.noun()
            ),
        ));
    };
    let op = Op::Window {
        fact,
        statistic,
        window_ms,
        text: node.to_string().into(),
    };
    Ok(Expr::new(op, kind.of_expression()))
}

/// `counter("System.Runtime/threadpool-queue-length")`.
pub(super) fn counter(arguments: &[Node], node: &Node) -> Result<&'static Fact, Fault> {
    let [argument] = arguments else {
        return Err(Fault::new(
            node.span.clone(),
            format!("`counter` takes 1 arguments, not {}", arguments.len()),
        )
        .help(format!("write `counter(\"{}\")`", counters::EXAMPLE)));
    };
    let NodeKind::Text(path) = &argument.kind else {
        return Err(Fault::new(
            argument.span.clone(),
            "`counter` needs a provider and a name in quotes",
        )
        .help(format!("write `counter(\"{}\")`", counters::EXAMPLE)));
    };
    counters::counter(path)
        .map(|counter| &counter.fact)
        .map_err(|(what, help)| Fault::new(argument.span.clone(), what).help(help))
}

/// The fact that a function is asked about: its name alone, no expression.
fn plain_fact(name: &str, what: &Node, example: &str) -> Result<&'static Fact, Fault> {
    if let NodeKind::Call(word, arguments) = &what.kind
        && word == counters::WORD
    {
        return counter(arguments, what);
    }
    let NodeKind::Name(fact) = &what.kind else {
        return Err(Fault::new(
            what.span.clone(),
            format!("`{name}` needs the name of a fact"),
        )
        .help(format!("write `{name}({example})`")));
    };
    fact_named(fact).ok_or_else(|| {
        let names = FACTS.iter().map(|f| f.name);
        Fault::new(
            what.span.clone(),
            format!("there is no fact called `{fact}`"),
        )
        .help("`leakhound rules facts` lists every fact")
        .did_you_mean(nearest(fact, names))
    })
}

/// `siblings(private_bytes)`.
pub(super) fn siblings(what: &Node, node: &Node) -> Result<Expr, Fault> {
    let fact = plain_fact("siblings", what, "private_bytes")?;
    if !is_numeric(Some(fact.kind)) {
        return Err(Fault::new(
            what.span.clone(),
            format!(
                "`{}` is {}, which has no median",
                fact.name,
                fact.kind.noun()
            ),
        ));
    }
    let op = Op::Siblings {
        fact,
        text: node.to_string().into(),
    };
    Ok(Expr::new(op, fact.kind.of_expression()))
}

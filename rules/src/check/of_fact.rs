//! Functions of one fact: a statistic over a window of time, the median over siblings.

use crate::algebra::is_numeric;
use crate::diagnostic::{Fault, nearest};
use crate::expr::{Expr, Op};
use crate::history::Statistic;
use crate::syntax::{Node, NodeKind};
use crate::units::Quantity;
use crate::vocabulary::{FACTS, Fact, Kind, fact_named};

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
        (Statistic::Rate, Kind::Count) => Some(Kind::CountPerHour),
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
    Ok(Expr::new(op, Some(kind)))
}

/// The fact that a function is asked about: its name alone, no expression.
fn plain_fact(name: &str, what: &Node, example: &str) -> Result<&'static Fact, Fault> {
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
    Ok(Expr::new(op, Some(fact.kind)))
}

//! A checked expression: every name is looked up, every unit is known.

use std::fmt;

use crate::history::Statistic;
use crate::syntax::{How, Operator};
use crate::vocabulary::{Fact, Kind, List};

/// A checked expression with what it yields; `kind` is `None` for a plain number.
#[derive(Debug, Clone)]
pub struct Expr {
    pub(crate) op: Op,
    pub(crate) kind: Option<Kind>,
}

impl Expr {
    /// What it yields; `None` for a plain number.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    pub(crate) fn of_fact(fact: &'static Fact) -> Self {
        Self::new(Op::Fact(fact), fact.kind.of_expression())
    }

    pub(crate) fn new(op: Op, kind: Option<Kind>) -> Self {
        Self { op, kind }
    }

    /// Calls `see` with this expression and every one inside it.
    pub(crate) fn visit<'e>(&'e self, see: &mut dyn FnMut(&'e Expr)) {
        see(self);
        match &self.op {
            Op::Not(a) | Op::Negate(a) | Op::Known(a) => a.visit(see),
            Op::Held { inner, .. } => inner.visit(see),
            Op::And(a, b)
            | Op::Or(a, b)
            | Op::Compare(_, a, b)
            | Op::TextCompare(_, a, b)
            | Op::Arithmetic(_, _, a, b)
            | Op::Otherwise(a, b)
            | Op::Only(a, b) => {
                a.visit(see);
                b.visit(see);
            }
            Op::Least(parts) | Op::Most(parts) => {
                for part in parts {
                    part.visit(see);
                }
            }
            Op::Steps(ladder) => {
                ladder.value.visit(see);
                for step in &ladder.steps {
                    step.visit(see);
                }
            }
            Op::Aggregate(aggregate) => {
                for part in [&aggregate.value, &aggregate.filter].into_iter().flatten() {
                    part.visit(see);
                }
            }
            Op::Number(_)
            | Op::Text(_)
            | Op::Bool(_)
            | Op::Fact(_)
            | Op::Column { .. }
            | Op::Siblings { .. }
            | Op::Window { .. } => {}
        }
    }
}

/// What a checked expression does.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Number(f64),
    Text(Box<str>),
    Bool(bool),
    Fact(&'static Fact),
    /// Column `index` of the element `up` lists out from the innermost.
    Column {
        up: usize,
        list: &'static List,
        index: usize,
    },
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Operator, Box<Expr>, Box<Expr>),
    TextCompare(Operator, Box<Expr>, Box<Expr>),
    /// The result is multiplied by the factor, which turns ms into hours and back.
    Arithmetic(Operator, f64, Box<Expr>, Box<Expr>),
    Least(Vec<Expr>),
    Most(Vec<Expr>),
    Known(Box<Expr>),
    Otherwise(Box<Expr>, Box<Expr>),
    /// The value where the condition holds, unknown elsewhere.
    Only(Box<Expr>, Box<Expr>),
    Window {
        fact: &'static Fact,
        statistic: Statistic,
        window_ms: u64,
        text: Box<str>,
    },
    /// True once `inner` has been true for `span_ms`; `slot` numbers the clocks of one trigger.
    Held {
        inner: Box<Expr>,
        span_ms: u64,
        slot: usize,
    },
    /// The median of a fact over the other processes of the service.
    Siblings {
        fact: &'static Fact,
        text: Box<str>,
    },
    /// A value against the first threshold that has not fired yet.
    Steps(Box<Ladder>),
    Aggregate(Box<ListQuestion>),
}

/// A comparison with thresholds that each fire once, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Ladder {
    pub operator: Operator,
    pub value: Expr,
    pub steps: Vec<Expr>,
    /// Numbers the ladders of one trigger.
    pub slot: usize,
    /// It stands under a `for`.
    pub held: bool,
    /// `steps(1 GB, 2 GB)`: the name of the threshold in evidence.
    pub text: Box<str>,
    pub kind: Option<Kind>,
}

/// A checked question about a list.
#[derive(Debug, Clone)]
pub(crate) struct ListQuestion {
    pub how: How,
    pub list: &'static List,
    pub value: Option<Expr>,
    pub filter: Option<Expr>,
    /// As it was written: the name of its result in evidence.
    pub text: Box<str>,
    pub kind: Option<Kind>,
}

/// What a value of `kind` is, for a sentence.
pub(crate) fn noun(kind: Option<Kind>) -> &'static str {
    kind.map_or("a plain number", Kind::noun)
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Average => "average",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::Rate => "rate",
        })
    }
}

//! A trigger taken apart for people: each of its comparisons as it stands now.

use crate::eval::{Clocks, Evaluation};
use crate::expr::{Expr, Ladder, Op};
use crate::facts::Facts;
use crate::sheet::Value;
use crate::syntax::{Node, NodeKind};
use crate::value::{Truth, Val};
use crate::vocabulary::Kind;

/// One comparison of a trigger, with both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// As it was written: `private_bytes > 1.5 GB`.
    pub condition: String,
    /// What the left side is now; `None` when it could not be read.
    pub value: Option<Side>,
    /// What it is compared with now; `None` when that could not be read, or every step has fired.
    pub threshold: Option<Side>,
    /// Whether the comparison holds, whatever its `for` says.
    pub truth: Truth,
    /// The `for` around it.
    pub hold: Option<Hold>,
    /// Of a comparison with `steps`: how many have fired, and how many there are.
    pub steps: Option<(usize, usize)>,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// Exact.
    pub value: Value,
    /// `bytes`, `ratio`, ….
    pub unit: &'static str,
    /// For people: `1.52 GB`.
    pub text: String,
}

/// How long a condition has been true, and how long it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Milliseconds since it became true; `None` while it is not.
    pub held_ms: Option<u64>,
    /// What its `for` asks.
    pub needed_ms: u64,
}

/// Walks the condition as it was written beside what it was checked to.
pub(crate) struct Reader<'a> {
    pub facts: &'a dyn Facts,
    pub clocks: &'a Clocks,
    pub now_ms: u64,
    pub found: Vec<Reading>,
}

impl Reader<'_> {
    pub fn read(&mut self, node: &Node, expr: &Expr, hold: Option<Hold>) {
        match (&node.kind, &expr.op) {
            (NodeKind::Binary(_, left, right), Op::And(a, b) | Op::Or(a, b)) => {
                self.read(left, a, hold);
                self.read(right, b, hold);
            }
            (NodeKind::Not(node), Op::Not(expr)) => self.read(node, expr, hold),
            (
                NodeKind::Held(node, _),
                Op::Held {
                    inner,
                    span_ms,
                    slot,
                },
            ) => {
                let since = self.clocks.since_ms.get(*slot).copied().flatten();
                let hold = Hold {
                    held_ms: since.map(|since| self.now_ms.saturating_sub(since)),
                    needed_ms: *span_ms,
                };
                self.read(node, inner, Some(hold));
            }
            (_, Op::Compare(_, a, b)) => {
                // A plain number has the unit of what it stands beside.
                let kind = a.kind.or(b.kind);
                let (value, threshold) = (self.side(a, kind), self.side(b, kind));
                self.note(node, expr, hold, value, threshold);
            }
            (_, Op::Steps(ladder)) => self.steps(node, expr, ladder, hold),
            _ => self.note(node, expr, hold, None, None),
        }
    }

    fn steps(&mut self, node: &Node, expr: &Expr, ladder: &Ladder, hold: Option<Hold>) {
        let fired = self.clocks.fired(ladder);
        let value = self.side(&ladder.value, ladder.kind);
        let next = ladder.steps.get(fired);
        let threshold = next.and_then(|step| self.side(step, ladder.kind));
        self.note(node, expr, hold, value, threshold);
        if let Some(reading) = self.found.last_mut() {
            reading.steps = Some((fired.min(ladder.steps.len()), ladder.steps.len()));
        }
    }

    fn side(&self, expr: &Expr, kind: Option<Kind>) -> Option<Side> {
        let value: Val<'_> = Evaluation::new(self.facts).value(expr);
        let kind = expr.kind.or(kind).or(Some(Kind::Number));
        Some(Side {
            value: value.exact(kind)?,
            unit: kind.map_or("count", Kind::unit),
            text: value.text(kind)?,
        })
    }

    fn note(
        &mut self,
        node: &Node,
        expr: &Expr,
        hold: Option<Hold>,
        value: Option<Side>,
        threshold: Option<Side>,
    ) {
        // A copy: to look is not to count.
        let mut clocks = self.clocks.clone();
        let truth = Evaluation::new(self.facts)
            .timed(&mut clocks, self.now_ms)
            .truth(expr);
        self.found.push(Reading {
            condition: node.to_string(),
            value,
            threshold,
            truth,
            hold,
            steps: None,
        });
    }
}

//! A checked expression against facts. Logic has three values: a fact that could not be read is unknown, never false.
//!
//! `and` is false when one side is false, whatever the other; `or` is true when one side is true; everything
//! else that touches an unknown is unknown. Nothing here fails, loops without bound, or reads a clock.

use std::collections::BTreeSet;

use crate::expr::{Expr, Ladder, ListQuestion, Op};
use crate::facts::Facts;
use crate::finding::Evidence;
use crate::sheet::Row;
use crate::syntax::{How, Operator};
use crate::value::{Truth, Val};
use crate::vocabulary::{Kind, List};

/// Elements that one evaluation looks at, all its questions together. Lists hold some hundred rows; only questions inside of
/// questions inside of questions come this far, and those must not keep an agent from its work.
pub const FUEL: u64 = 200_000;

/// What expressions read, each fact once, in the order in which they read it.
#[derive(Debug, Default)]
pub struct Reads {
    /// Facts with their values.
    pub evidence: Vec<Evidence>,
    /// Facts that could not be read, with the reason where it is known.
    pub missing: Vec<String>,
    seen: BTreeSet<String>,
}

impl Reads {
    fn note(
        &mut self,
        name: &str,
        value: Val<'_>,
        kind: Option<Kind>,
        meaning: &str,
        facts: &dyn Facts,
    ) {
        if !self.seen.insert(name.to_owned()) {
            return;
        }
        let (Some(exact), Some(text)) = (value.exact(kind), value.text(kind)) else {
            self.missing.push(match facts.why_unknown(name) {
                Some(why) => format!("{name}: {why}"),
                None => name.to_owned(),
            });
            return;
        };
        self.evidence.push(Evidence {
            fact: name.to_owned(),
            value: exact,
            unit: kind.map_or("count", Kind::unit).to_owned(),
            text,
            meaning: meaning.to_owned(),
        });
    }
}

/// What a trigger remembers of one process: since when the conditions under each `for` have been true, and
/// how many thresholds of each `steps` have fired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clocks {
    pub(crate) since_ms: Vec<Option<u64>>,
    pub(crate) fired: Vec<usize>,
}

impl Clocks {
    pub(crate) fn fired(&self, ladder: &Ladder) -> usize {
        self.fired.get(ladder.slot).copied().unwrap_or(0)
    }

    /// Takes over the thresholds that have fired in `after`, a copy that was marked at an earlier moment
    /// ([`crate::Trigger::mark_fired`]). Where there are new ones, every `for` starts over.
    pub fn take_steps(&mut self, after: &Self) {
        for (fired, marked) in self.fired.iter_mut().zip(&after.fired) {
            if marked > fired {
                *fired = *marked;
                self.since_ms.fill(None);
            }
        }
    }
}

/// One evaluation.
pub struct Evaluation<'a, 'r> {
    facts: &'a dyn Facts,
    /// The elements around the place, the innermost last.
    rows: Vec<&'a Row>,
    /// Lists of `rows` that the expression itself opened; their columns are no evidence of their own.
    opened: usize,
    reads: Option<&'r mut Reads>,
    clocks: Option<(&'r mut Clocks, u64)>,
    fuel: u64,
}

impl<'a, 'r> Evaluation<'a, 'r> {
    /// Of facts alone.
    #[must_use]
    pub fn new(facts: &'a dyn Facts) -> Self {
        Self {
            facts,
            rows: Vec::new(),
            opened: 0,
            reads: None,
            clocks: None,
            fuel: FUEL,
        }
    }

    /// With the element that a `for_each` rule judges.
    #[must_use]
    pub fn element(mut self, row: Option<&'a Row>) -> Self {
        self.rows.extend(row);
        self
    }

    /// Keeps what is read. Both sides of `and` and `or` are read then, so that evidence does not
    /// depend on which side decided.
    #[must_use]
    pub fn recording(mut self, reads: &'r mut Reads) -> Self {
        self.reads = Some(reads);
        self
    }

    /// With clocks for `for`, and the time.
    #[must_use]
    pub fn timed(mut self, clocks: &'r mut Clocks, now_ms: u64) -> Self {
        self.clocks = Some((clocks, now_ms));
        self
    }

    /// Whether a condition holds.
    pub fn truth(&mut self, expr: &Expr) -> Truth {
        match &expr.op {
            Op::And(a, b) => {
                let left = self.truth(a);
                if left == Truth::False && self.may_skip() {
                    return Truth::False;
                }
                left.and(self.truth(b))
            }
            Op::Or(a, b) => {
                let left = self.truth(a);
                if left == Truth::True && self.may_skip() {
                    return Truth::True;
                }
                left.or(self.truth(b))
            }
            Op::Not(a) => self.truth(a).negate(),
            Op::Compare(operator, a, b) => self.compare(*operator, a, b),
            Op::TextCompare(operator, a, b) => self.compare_texts(*operator, a, b),
            Op::Known(inner) => (self.value(inner) != Val::Unknown).into(),
            Op::Held {
                inner,
                span_ms,
                slot,
            } => self.held(inner, *span_ms, *slot),
            Op::Steps(ladder) => self.step(ladder),
            Op::Aggregate(question) if matches!(question.how, How::Any | How::All) => {
                let truth = self.quantified(question);
                self.note_question(question, Val::of(truth));
                truth
            }
            _ => self.value(expr).truth(),
        }
    }

    /// What an expression yields. The texts it yields are the sheet's or the expression's own.
    pub fn value<'e>(&mut self, expr: &'e Expr) -> Val<'e>
    where
        'a: 'e,
    {
        match &expr.op {
            Op::Number(value) => Val::Number(*value),
            Op::Text(text) => Val::Text(text),
            Op::Bool(value) => Val::Bool(*value),
            Op::Fact(fact) => {
                let value = self.facts.fact(fact);
                self.note(fact.name, value, Some(fact.kind), fact.sentence);
                value
            }
            Op::Column { up, list, index } => self.column(*up, list, *index),
            Op::Negate(inner) => self.numbers(&[inner], |v| -v[0]),
            Op::Arithmetic(operator, factor, a, b) => {
                let (operator, factor) = (*operator, *factor);
                self.numbers(&[a, b], |v| factor * calculate(operator, v[0], v[1]))
            }
            Op::Least(parts) => self.folded(parts, f64::min),
            Op::Most(parts) => self.folded(parts, f64::max),
            Op::Only(value, condition) => match self.truth(condition) {
                Truth::True => self.value(value),
                _ => Val::Unknown,
            },
            Op::Otherwise(a, b) => match self.value(a) {
                Val::Unknown => self.value(b),
                known => known,
            },
            Op::Window {
                fact,
                statistic,
                window_ms,
                text,
            } => {
                let value = self
                    .facts
                    .measure(fact, *statistic, *window_ms)
                    .map_or(Val::Unknown, Val::number);
                self.note(text, value, expr.kind.or(Some(fact.kind)), fact.sentence);
                value
            }
            Op::Siblings { fact, text } => {
                let value = self.facts.siblings(fact).map_or(Val::Unknown, Val::number);
                self.note(text, value, Some(fact.kind), fact.sentence);
                value
            }
            Op::Aggregate(question) if !matches!(question.how, How::Any | How::All) => {
                let value = self.summed(question);
                self.note_question(question, value);
                value
            }
            _ => Val::of(self.truth(expr)),
        }
    }

    /// Nothing is skipped while reads are kept or clocks run: each `for` must see every moment.
    fn may_skip(&self) -> bool {
        self.reads.is_none() && self.clocks.is_none()
    }

    fn note(&mut self, name: &str, value: Val<'_>, kind: Option<Kind>, meaning: &str) {
        let facts = self.facts;
        if let Some(reads) = self.reads.as_deref_mut() {
            reads.note(name, value, kind, meaning, facts);
        }
    }

    fn note_question(&mut self, question: &ListQuestion, value: Val<'_>) {
        // Inside another question its result changes with every element.
        if self.opened == 0 && self.reads.is_some() {
            self.note(&question.text, value, question.kind, question.list.sentence);
        }
    }

    fn note_no_end(&mut self, question: &ListQuestion) {
        if let Some(reads) = self.reads.as_deref_mut()
            && reads.seen.insert(format!("no end: {}", question.text))
        {
            let text = &question.text;
            reads
                .missing
                .push(format!("{text}: cut off after {FUEL} elements"));
        }
    }

    fn column<'e>(&mut self, up: usize, list: &'static List, index: usize) -> Val<'e>
    where
        'a: 'e,
    {
        let (name, kind, sentence) = list.columns[index];
        let row = self.rows.len().checked_sub(up + 1).map(|at| self.rows[at]);
        let value = row
            .and_then(|row| row.get(name))
            .map_or(Val::Unknown, |value| Val::read(value, kind));
        if up >= self.opened && self.reads.is_some() {
            self.note(
                &format!("{}.{name}", list.name),
                value,
                Some(kind),
                sentence,
            );
        }
        value
    }

    /// Reads every part, then computes; unknown when one of them is.
    fn numbers<'e>(&mut self, parts: &[&'e Expr], compute: impl Fn(&[f64; 2]) -> f64) -> Val<'e>
    where
        'a: 'e,
    {
        let mut values = [0.0; 2];
        let mut known = true;
        for (slot, part) in values.iter_mut().zip(parts) {
            match self.value(part) {
                Val::Number(v) => *slot = v,
                _ => known = false,
            }
        }
        if known {
            Val::number(compute(&values))
        } else {
            Val::Unknown
        }
    }

    fn folded<'e>(&mut self, parts: &'e [Expr], fold: impl Fn(f64, f64) -> f64) -> Val<'e>
    where
        'a: 'e,
    {
        let mut result = None;
        let mut known = true;
        for part in parts {
            match self.value(part) {
                Val::Number(v) => result = Some(result.map_or(v, |r| fold(r, v))),
                _ => known = false,
            }
        }
        match result {
            Some(v) if known => Val::number(v),
            _ => Val::Unknown,
        }
    }

    fn compare(&mut self, operator: Operator, a: &Expr, b: &Expr) -> Truth {
        compared(operator, self.value(a), self.value(b))
    }

    /// The value against the first threshold that has not fired; false when all of them have.
    fn step(&mut self, ladder: &Ladder) -> Truth {
        let value = self.value(&ladder.value);
        let fired = self.clocks.as_ref().map_or(0, |(c, _)| c.fired(ladder));
        let Some(step) = ladder.steps.get(fired) else {
            return Truth::False;
        };
        let step = self.value(step);
        let kind = ladder.kind.or(Some(Kind::Number));
        self.note(&ladder.text, step, kind, "The next threshold.");
        compared(ladder.operator, value, step)
    }

    fn compare_texts(&mut self, operator: Operator, a: &Expr, b: &Expr) -> Truth {
        let (a, b) = (self.value(a), self.value(b));
        match (a, b) {
            (Val::Text(a), Val::Text(b)) => text_is(operator, a, b).into(),
            (Val::Texts(many), Val::Text(b)) => many.iter().any(|a| text_is(operator, a, b)).into(),
            _ => Truth::Unknown,
        }
    }

    fn held(&mut self, inner: &Expr, span_ms: u64, slot: usize) -> Truth {
        let truth = self.truth(inner);
        let Some((clocks, now_ms)) = self.clocks.as_mut() else {
            return Truth::Unknown;
        };
        if clocks.since_ms.len() <= slot {
            clocks.since_ms.resize(slot + 1, None);
        }
        let since = &mut clocks.since_ms[slot];
        // A moment that could not be read breaks the span: "has been true" means seen to be true.
        if truth != Truth::True {
            *since = None;
            return truth;
        }
        let start = *since.get_or_insert(*now_ms);
        (now_ms.saturating_sub(start) >= span_ms).into()
    }

    /// Walks the elements that the filter lets through; `None` from `each` stops. The result is false when
    /// the list, or whether an element counts, is unknown.
    fn walk(&mut self, question: &ListQuestion, mut each: impl FnMut(&mut Self) -> bool) -> Truth {
        let Some(rows) = self.facts.rows(question.list) else {
            self.note(question.list.name, Val::Unknown, None, "");
            return Truth::Unknown;
        };
        let mut all_known = Truth::True;
        for row in rows {
            let Some(left) = self.fuel.checked_sub(1) else {
                self.note_no_end(question);
                return Truth::Unknown;
            };
            self.fuel = left;
            self.rows.push(row);
            self.opened += 1;
            let counts = question
                .filter
                .as_ref()
                .map_or(Truth::True, |f| self.truth(f));
            let go_on = match counts {
                Truth::True => each(self),
                Truth::False => true,
                Truth::Unknown => {
                    all_known = Truth::Unknown;
                    true
                }
            };
            self.opened -= 1;
            self.rows.pop();
            if !go_on {
                break;
            }
        }
        all_known
    }

    fn quantified(&mut self, question: &ListQuestion) -> Truth {
        let any = question.how == How::Any;
        let mut result: Truth = (!any).into();
        let known = self.walk(question, |inner| {
            let truth = question
                .value
                .as_ref()
                .map_or(Truth::True, |v| inner.truth(v));
            result = if any {
                result.or(truth)
            } else {
                result.and(truth)
            };
            result != any.into() || !inner.may_skip()
        });
        match known {
            // An element that may or may not count leaves a found one found.
            Truth::Unknown if result != any.into() => Truth::Unknown,
            _ => result,
        }
    }

    fn summed<'e>(&mut self, question: &'e ListQuestion) -> Val<'e>
    where
        'a: 'e,
    {
        let mut count = 0u64;
        let mut total: Option<f64> = None;
        let mut first: Option<Val<'e>> = None;
        let mut all_known = true;
        let how = question.how;
        let known = self.walk(question, |inner| {
            count += 1;
            let Some(value) = &question.value else {
                return true;
            };
            if how == How::Count {
                match inner.truth(value) {
                    Truth::True => {}
                    Truth::False => count -= 1,
                    Truth::Unknown => all_known = false,
                }
                return true;
            }
            let value = inner.value(value);
            if how == How::First {
                first = Some(value);
                return false;
            }
            match value {
                Val::Number(v) => {
                    total = Some(match (total, how) {
                        (None, _) => v,
                        (Some(t), How::Sum) => t + v,
                        (Some(t), How::Max) => t.max(v),
                        (Some(t), _) => t.min(v),
                    });
                }
                _ => all_known = false,
            }
            true
        });
        if how == How::First {
            return first.unwrap_or(Val::Unknown);
        }
        if known != Truth::True || !all_known {
            return Val::Unknown;
        }
        match (how, total) {
            (How::Count, _) => Val::Number(count as f64),
            (_, Some(total)) => Val::number(total),
            // No fact is negative, so 0 is the total and the largest of nothing.
            (How::Sum | How::Max, None) => Val::Number(0.0),
            (_, None) => Val::Unknown,
        }
    }
}

pub(crate) fn compared(operator: Operator, a: Val<'_>, b: Val<'_>) -> Truth {
    match (a, b) {
        (Val::Number(a), Val::Number(b)) => match operator {
            Operator::Less => a < b,
            Operator::LessOrEqual => a <= b,
            Operator::Greater => a > b,
            Operator::GreaterOrEqual => a >= b,
            Operator::Equal => a == b,
            _ => a != b,
        }
        .into(),
        (Val::Bool(a), Val::Bool(b)) => ((a == b) == (operator == Operator::Equal)).into(),
        _ => Truth::Unknown,
    }
}

fn calculate(operator: Operator, a: f64, b: f64) -> f64 {
    match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Divide => a / b,
        _ => a * b,
    }
}

fn text_is(operator: Operator, a: &str, b: &str) -> bool {
    match operator {
        Operator::Equal => a == b,
        Operator::NotEqual => a != b,
        Operator::Contains => a.contains(b),
        Operator::StartsWith => a.starts_with(b),
        Operator::EndsWith => a.ends_with(b),
        _ => glob(b, a),
    }
}

/// `*` is any text, `?` any one character; linear in practice and never worse than the product of both lengths.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = retry else {
                    return false;
                };
                retry = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

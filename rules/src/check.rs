//! An expression against the vocabulary: names, types and units. What passes here cannot fail later for its shape.

mod ladder;
mod of_fact;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::algebra::{arithmetic, arithmetic_fault, compare, mixed, numeric, same_kind};
use crate::diagnostic::{Fault, nearest};
use crate::expr::{Expr, ListQuestion, Op, noun};
use crate::history::Statistic;
use crate::parser::parse;
use crate::syntax::{Aggregate, How, Node, NodeKind, Operator};
use crate::units::Quantity;
use crate::vocabulary::{self, FACTS, Fact, Kind, LISTS, List, fact_named, list_named};
use of_fact::{counter, duration_ms, siblings, window};

/// Most lists that one expression may walk inside each other, `for_each` included: the work is rows^2 at most.
const MAX_LISTS: usize = 2;

/// Names that an expression may use beside the vocabulary, and whether it may ask about time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment<'a> {
    /// The list whose element the rule judges.
    pub element: Option<&'static List>,
    /// Parameters of the rule, used as `params.NAME`.
    pub params: Option<&'a BTreeMap<String, Quantity>>,
    /// `for`, `average`, `rate` … belong to triggers only.
    pub trigger: bool,
}

/// A checked expression and what it keeps between two moments.
#[derive(Debug, Clone)]
pub struct Checked {
    /// As it was written.
    pub node: Node,
    /// The expression.
    pub expr: Expr,
    /// How many `for` it holds.
    pub clocks: usize,
    /// How many comparisons with `steps` it holds.
    pub ladders: usize,
}

/// Parses and checks a condition: the result is yes or no.
///
/// # Errors
/// When the text is no expression, names what does not exist, mixes units, or is no condition.
pub fn condition(text: &str, environment: Environment<'_>) -> Result<Checked, Fault> {
    let node = parse(text)?;
    let checked = check(node, environment)?;
    let node = &checked.node;
    if checked.expr.kind != Some(Kind::Bool) {
        let kind = checked.expr.kind;
        return Err(Fault::new(
            node.span.clone(),
            format!("a condition is expected, and this is {}", noun(kind)),
        )
        .help(format!(
            "compare it: `{} > {}`",
            node,
            kind.map_or("1", Kind::example)
        )));
    }
    Ok(checked)
}

/// Parses and checks an expression of any kind.
///
/// # Errors
/// When the text is no expression, names what does not exist, or mixes units.
pub fn expression(text: &str, environment: Environment<'_>) -> Result<Checked, Fault> {
    check(parse(text)?, environment)
}

fn check(node: Node, environment: Environment<'_>) -> Result<Checked, Fault> {
    let mut checker = Checker {
        environment,
        lists: environment.element.into_iter().collect(),
        clocks: 0,
        ladders: 0,
        held: false,
    };
    let expr = checker.check(&node)?;
    Ok(Checked {
        expr,
        clocks: checker.clocks,
        ladders: checker.ladders,
        node,
    })
}

struct Checker<'a> {
    environment: Environment<'a>,
    /// The lists around the place, the innermost last.
    lists: Vec<&'static List>,
    clocks: usize,
    ladders: usize,
    /// The place is under a `for`.
    held: bool,
}

impl Checker<'_> {
    fn check(&mut self, node: &Node) -> Result<Expr, Fault> {
        match &node.kind {
            NodeKind::Quantity(quantity) => {
                Ok(Expr::new(Op::Number(quantity.value), quantity.kind))
            }
            NodeKind::Text(text) => Ok(Expr::new(Op::Text(text.as_str().into()), Some(Kind::Text))),
            NodeKind::Bool(value) => Ok(Expr::new(Op::Bool(*value), Some(Kind::Bool))),
            NodeKind::Name(name) => self.name(name, &node.span),
            NodeKind::Not(inner) => {
                let inner = self.boolean(inner, "not")?;
                Ok(Expr::new(Op::Not(Box::new(inner)), Some(Kind::Bool)))
            }
            NodeKind::Negate(inner) => {
                let expr = self.check(inner)?;
                numeric(&expr, inner, "-")?;
                let kind = expr.kind;
                Ok(Expr::new(Op::Negate(Box::new(expr)), kind))
            }
            NodeKind::Binary(operator, left, right) => self.binary(*operator, left, right, node),
            NodeKind::Call(name, arguments) => self.call(name, arguments, node),
            NodeKind::Aggregate(aggregate) => self.aggregate(aggregate, node),
            NodeKind::Held(inner, time) => {
                if !self.environment.trigger {
                    return Err(only_triggers("for", node.span.clone()));
                }
                let outer = std::mem::replace(&mut self.held, true);
                let inner = self.boolean(inner, "for");
                self.held = outer;
                let inner = inner?;
                let slot = self.clocks;
                self.clocks += 1;
                Ok(Expr::new(
                    Op::Held {
                        inner: Box::new(inner),
                        span_ms: duration_ms(time).unwrap_or(0),
                        slot,
                    },
                    Some(Kind::Bool),
                ))
            }
        }
    }

    fn name(&self, name: &str, span: &Range<usize>) -> Result<Expr, Fault> {
        if let Some(param) = name.strip_prefix("params.") {
            return self.param(param, span);
        }
        if let Some((head, column)) = name.split_once('.') {
            let up = match head {
                "item" => Some(0),
                "outer" => Some(1),
                _ => self.lists.iter().rev().position(|l| l.name == head),
            };
            if let Some(up) = up {
                return self.column_of(up, head, column, span);
            }
        }
        for (up, list) in self.lists.iter().rev().enumerate() {
            if let Some(expr) = column(list, name, up) {
                return Ok(expr);
            }
        }
        if let Some(fact) = fact_named(name) {
            return Ok(Expr::of_fact(fact));
        }
        Err(self.unknown_name(name, span))
    }

    fn param(&self, param: &str, span: &Range<usize>) -> Result<Expr, Fault> {
        let params = self.environment.params;
        if let Some(quantity) = params.and_then(|p| p.get(param)) {
            return Ok(Expr::new(Op::Number(quantity.value), quantity.kind));
        }
        let names = params
            .into_iter()
            .flat_map(|p| p.keys().map(String::as_str));
        let near = nearest(param, names).map(|n| format!("params.{n}"));
        Err(Fault::new(
            span.clone(),
            format!("there is no parameter called `{param}`"),
        )
        .help("parameters stand in the rule's [params] table")
        .did_you_mean(near.as_deref()))
    }

    fn column_of(
        &self,
        up: usize,
        head: &str,
        name: &str,
        span: &Range<usize>,
    ) -> Result<Expr, Fault> {
        let Some(list) = self.lists.iter().rev().nth(up) else {
            return Err(Fault::new(
                span.clone(),
                format!("there is no element that `{head}` could be"),
            )
            .help("`item` is the element of `for_each` or of the innermost `in LIST where`"));
        };
        column(list, name, up).ok_or_else(|| {
            let columns = list.columns.iter().map(|(n, _, _)| *n);
            let near = nearest(name, columns.clone()).map(|n| format!("{head}.{n}"));
            let all: Vec<&str> = columns.collect();
            Fault::new(
                span.clone(),
                format!("`{}` has no column called `{name}`", list.name),
            )
            .help(format!("its columns are {}", all.join(", ")))
            .did_you_mean(near.as_deref())
        })
    }

    fn unknown_name(&self, name: &str, span: &Range<usize>) -> Fault {
        let head = name.split('.').next().unwrap_or(name);
        if let Some(list) = list_named(name).or_else(|| list_named(head)) {
            let column = name.split_once('.').map_or("", |(_, column)| column);
            let column = list
                .columns
                .iter()
                .find(|(n, _, _)| *n == column)
                .or_else(|| list.columns.iter().find(|(_, k, _)| *k != Kind::Text))
                .map_or("count", |(n, _, _)| n);
            return Fault::new(
                span.clone(),
                format!("`{}` is a list, not a value", list.name),
            )
            .help(format!(
                "ask about its elements: `max {column} in {}`",
                list.name
            ));
        }
        let columns = self
            .lists
            .iter()
            .flat_map(|l| l.columns.iter().map(|(n, _, _)| *n));
        let names = columns
            .chain(FACTS.iter().map(|f| f.name))
            .chain(LISTS.iter().map(|l| l.name));
        Fault::new(span.clone(), format!("there is no fact called `{name}`"))
            .help("`leakhound rules facts` lists every fact")
            .did_you_mean(nearest(name, names))
    }

    fn boolean(&mut self, node: &Node, word: &str) -> Result<Expr, Fault> {
        let expr = self.check(node)?;
        if expr.kind == Some(Kind::Bool) {
            return Ok(expr);
        }
        let kind = expr.kind;
        Err(Fault::new(
            node.span.clone(),
            format!("`{word}` needs a condition, and this is {}", noun(kind)),
        )
        .help(format!(
            "compare it: `{node} > {}`",
            kind.map_or("1", Kind::example)
        )))
    }

    fn binary(
        &mut self,
        operator: Operator,
        left: &Node,
        right: &Node,
        node: &Node,
    ) -> Result<Expr, Fault> {
        if matches!(operator, Operator::And | Operator::Or) {
            let a = Box::new(self.boolean(left, operator.text())?);
            let b = Box::new(self.boolean(right, operator.text())?);
            let op = if operator == Operator::And {
                Op::And(a, b)
            } else {
                Op::Or(a, b)
            };
            return Ok(Expr::new(op, Some(Kind::Bool)));
        }
        if let NodeKind::Call(name, steps) = &right.kind
            && name == ladder::WORD
        {
            return self.ladder(operator, left, steps, right);
        }
        let a = self.check(left)?;
        let b = self.check(right)?;
        if operator.compares() {
            return compare(operator, (left, a), (right, b), node);
        }
        let (kind, factor) = arithmetic(operator, a.kind, b.kind)
            .ok_or_else(|| arithmetic_fault(operator, (left, &a), (right, &b), node))?;
        let op = Op::Arithmetic(operator, factor, Box::new(a), Box::new(b));
        Ok(Expr::new(op, kind))
    }

    fn call(&mut self, name: &str, arguments: &[Node], node: &Node) -> Result<Expr, Fault> {
        let arity = |n: usize, usage: &str| {
            if arguments.len() == n {
                return Ok(());
            }
            Err(Fault::new(
                node.span.clone(),
                format!("`{name}` takes {n} arguments, not {}", arguments.len()),
            )
            .help(format!("write `{usage}`")))
        };
        let statistic = match name {
            "min" | "max" => return self.least_or_most(name, arguments, node),
            "known" => {
                arity(1, "known(growth.native)")?;
                let inner = Box::new(self.check(&arguments[0])?);
                return Ok(Expr::new(Op::Known(inner), Some(Kind::Bool)));
            }
            "otherwise" => {
                arity(2, "otherwise(growth.native, 0 MB)")?;
                let a = self.check(&arguments[0])?;
                let b = self.check(&arguments[1])?;
                let kind = same_kind(&a, &b).ok_or_else(|| {
                    mixed(
                        "chosen between",
                        (&arguments[0], &a),
                        (&arguments[1], &b),
                        node,
                    )
                })?;
                return Ok(Expr::new(Op::Otherwise(Box::new(a), Box::new(b)), kind));
            }
            "only" => {
                arity(2, "only(rate, growth.span >= 10 min)")?;
                let value = self.check(&arguments[0])?;
                let condition = self.boolean(&arguments[1], "only")?;
                let kind = value.kind;
                return Ok(Expr::new(
                    Op::Only(Box::new(value), Box::new(condition)),
                    kind,
                ));
            }
            "siblings" => {
                if !self.environment.trigger {
                    return Err(only_triggers(name, node.span.clone()));
                }
                arity(1, "siblings(private_bytes)")?;
                return siblings(&arguments[0], node);
            }
            vocabulary::counter::WORD => {
                if !self.environment.trigger {
                    return Err(Fault::new(
                        node.span.clone(),
                        "a rule judges a dump, and a counter is read from a running process",
                    )
                    .help(
                        "use it in a trigger; `leakhound rules facts` lists what a rule may ask",
                    ));
                }
                return counter(arguments, node).map(Expr::of_fact);
            }
            ladder::WORD => return Err(ladder::misplaced(node)),
            "average" => Statistic::Average,
            "minimum" => Statistic::Minimum,
            "maximum" => Statistic::Maximum,
            "rate" => Statistic::Rate,
            _ => {
                let functions = [
                    "min",
                    "max",
                    "known",
                    "otherwise",
                    "only",
                    "average",
                    "minimum",
                    "maximum",
                    "rate",
                    "siblings",
                    vocabulary::counter::WORD,
                    ladder::WORD,
                ];
                return Err(Fault::new(
                    node.span.clone(),
                    format!("there is no function called `{name}`"),
                )
                .help(format!("the functions are {}", functions.join(", ")))
                .did_you_mean(nearest(name, functions)));
            }
        };
        if !self.environment.trigger {
            return Err(only_triggers(name, node.span.clone()));
        }
        arity(2, &format!("{name}(private_bytes, 7 days)"))?;
        window(name, statistic, &arguments[0], &arguments[1], node)
    }

    fn least_or_most(
        &mut self,
        name: &str,
        arguments: &[Node],
        node: &Node,
    ) -> Result<Expr, Fault> {
        if arguments.len() < 2 {
            return Err(Fault::new(
                node.span.clone(),
                format!("`{name}` of one value is that value"),
            )
            .help(format!(
                "write `{name}(a, b)`, or `{name} bytes in pinned` for a list"
            )));
        }
        let mut parts: Vec<Expr> = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let part = self.check(argument)?;
            numeric(&part, argument, name)?;
            parts.push(part);
        }
        let mut kind = parts[0].kind;
        for (part, argument) in parts.iter().zip(arguments).skip(1) {
            kind = same_kind(&parts[0], part).ok_or_else(|| {
                mixed(
                    "compared",
                    (&arguments[0], &parts[0]),
                    (argument, part),
                    node,
                )
            })?;
        }
        let op = if name == "min" {
            Op::Least(parts)
        } else {
            Op::Most(parts)
        };
        Ok(Expr::new(op, kind))
    }

    fn aggregate(&mut self, aggregate: &Aggregate, node: &Node) -> Result<Expr, Fault> {
        let span = aggregate.list_span.clone();
        let Some(list) = list_named(&aggregate.list) else {
            return Err(Fault::new(
                span,
                format!("there is no list called `{}`", aggregate.list),
            )
            .help("`leakhound rules facts` lists every list")
            .did_you_mean(nearest(&aggregate.list, LISTS.iter().map(|l| l.name))));
        };
        if self.environment.trigger {
            return Err(Fault::new(
                span,
                "lists are read from a dump, so no trigger can ask about them",
            )
            .help(
                "use the facts of a running process: `leakhound rules facts` marks them `live`",
            ));
        }
        if self.lists.len() >= MAX_LISTS {
            return Err(Fault::new(
                node.span.clone(),
                format!("more than {MAX_LISTS} lists inside each other"),
            )
            .help("ask about one list at a time"));
        }
        self.lists.push(list);
        let parts = self.aggregate_parts(aggregate);
        self.lists.pop();
        let (mut value, mut filter) = parts?;
        // `all in L where c`: every element must satisfy c, so c is the condition and not a filter.
        if aggregate.how == How::All && value.is_none() {
            value = filter.take();
        }
        let kind = match aggregate.how {
            How::Any | How::All => Some(Kind::Bool),
            How::Count => Some(Kind::Count),
            How::Sum | How::Max | How::Min | How::First => value.as_ref().and_then(|v| v.kind),
        };
        let question = ListQuestion {
            how: aggregate.how,
            list,
            value,
            filter,
            text: node.to_string().into(),
            kind,
        };
        Ok(Expr::new(Op::Aggregate(Box::new(question)), kind))
    }

    fn aggregate_parts(
        &mut self,
        aggregate: &Aggregate,
    ) -> Result<(Option<Expr>, Option<Expr>), Fault> {
        let word = aggregate.how.word();
        let value = match &aggregate.value {
            None => None,
            Some(value) => {
                let expr = match aggregate.how {
                    How::Any | How::All | How::Count => self.boolean(value, word)?,
                    How::First => self.check(value)?,
                    How::Sum | How::Max | How::Min => {
                        let expr = self.check(value)?;
                        numeric(&expr, value, word)?;
                        expr
                    }
                };
                Some(expr)
            }
        };
        let filter = match &aggregate.filter {
            None => None,
            Some(filter) => Some(self.boolean(filter, "where")?),
        };
        Ok((value, filter))
    }
}

fn column(list: &'static List, name: &str, up: usize) -> Option<Expr> {
    let index = list.columns.iter().position(|(n, _, _)| *n == name)?;
    Some(Expr::new(
        Op::Column { up, list, index },
        Some(list.columns[index].1),
    ))
}

fn only_triggers(word: &str, span: Range<usize>) -> Fault {
    Fault::new(
        span,
        format!("`{word}` asks about time or other processes, and a rule judges one moment of one"),
    )
    .help("use it in a trigger; rules have the facts of family `growth`")
}

/// The facts that an expression names, each once, in order.
#[must_use]
pub fn facts_named_in(expr: &Expr) -> Vec<&'static Fact> {
    let mut facts: Vec<&'static Fact> = Vec::new();
    expr.visit(&mut |e| {
        if let Op::Fact(fact) | Op::Window { fact, .. } | Op::Siblings { fact, .. } = e.op
            && !facts.iter().any(|f| std::ptr::eq(*f, fact))
        {
            facts.push(fact);
        }
    });
    facts
}

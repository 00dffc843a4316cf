//! The shape of an expression as it was written: names are not looked up, units are not checked.
//!
//! Printing a [`Node`] gives text that parses to the same node again.

use std::fmt;
use std::ops::Range;

use crate::units::{Quantity, format_exact};

/// A node and the bytes it was written in.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Its bytes in the expression.
    pub span: Range<usize>,
    /// Nodes on the longest way down, itself included.
    pub depth: usize,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// A number with or without a unit.
    Quantity(Quantity),
    /// A quoted text.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// A fact, a column or a parameter.
    Name(String),
    /// `not x`
    Not(Box<Node>),
    /// `-x`
    Negate(Box<Node>),
    /// Two operands.
    Binary(Operator, Box<Node>, Box<Node>),
    /// `min(a, b)`, `average(x, 7 days)`
    Call(String, Vec<Node>),
    /// `sum bytes in pinned where generation == "gen2"`
    Aggregate(Aggregate),
    /// `x for 30 s`
    Held(Box<Node>, Box<Node>),
}

/// A question about a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// How the elements are summed up.
    pub how: How,
    /// What is summed up; `None` for the elements themselves.
    pub value: Option<Box<Node>>,
    /// Name of the list.
    pub list: String,
    /// Where the name stands.
    pub list_span: Range<usize>,
    /// Which elements count; `None` for all.
    pub filter: Option<Box<Node>>,
}

/// How the elements of a list are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// At least one element is so.
    Any,
    /// No element is otherwise.
    All,
    /// How many.
    Count,
    /// Total.
    Sum,
    /// Largest; 0 when there is none, since no fact is negative.
    Max,
    /// Smallest; unknown when there is none.
    Min,
    /// The first; lists are ordered, the largest first. Unknown when there is none.
    First,
}

impl How {
    /// Every way, with its word.
    pub const ALL: [(&'static str, Self); 7] = [
        ("any", Self::Any),
        ("all", Self::All),
        ("count", Self::Count),
        ("sum", Self::Sum),
        ("max", Self::Max),
        ("min", Self::Min),
        ("first", Self::First),
    ];

    /// The way that `word` names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, how)| *how)
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::All => "all",
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Min => "min",
            Self::First => "first",
        }
    }
}

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `or`
    Or,
    /// `and`
    And,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `contains`
    Contains,
    /// `starts_with`
    StartsWith,
    /// `ends_with`
    EndsWith,
    /// `matches`
    Matches,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `of`
    Of,
}

/// How tightly each operator binds; a higher number binds tighter.
pub mod binding {
    /// `or`
    pub const OR: u8 = 1;
    /// `and`
    pub const AND: u8 = 2;
    /// `… for 30 s`
    pub const HELD: u8 = 3;
    /// `not …`
    pub const NOT: u8 = 4;
    /// Comparisons.
    pub const COMPARE: u8 = 5;
    /// `+` and `-`
    pub const ADD: u8 = 6;
    /// `*` and `/`
    pub const MULTIPLY: u8 = 7;
    /// `of`
    pub const OF: u8 = 8;
    /// `-x`
    pub const NEGATE: u8 = 9;
    /// Names, numbers, calls and brackets.
    pub const ATOM: u8 = 10;
}

impl Operator {
    /// Every operator with its text.
    pub const ALL: [(&'static str, Self); 17] = [
        ("or", Self::Or),
        ("and", Self::And),
        ("<", Self::Less),
        ("<=", Self::LessOrEqual),
        (">", Self::Greater),
        (">=", Self::GreaterOrEqual),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("contains", Self::Contains),
        ("starts_with", Self::StartsWith),
        ("ends_with", Self::EndsWith),
        ("matches", Self::Matches),
        ("+", Self::Add),
        ("-", Self::Subtract),
        ("*", Self::Multiply),
        ("/", Self::Divide),
        ("of", Self::Of),
    ];

    /// The operator written `text`.
    #[must_use]
    pub fn written(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(t, _)| *t == text)
            .map(|(_, operator)| *operator)
    }

    /// Its text.
    #[must_use]
    pub fn text(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, operator)| *operator == self)
            .map_or("?", |(text, _)| text)
    }

    /// How tightly it binds.
    #[must_use]
    pub fn binding(self) -> u8 {
        match self {
            Self::Or => binding::OR,
            Self::And => binding::AND,
            Self::Add | Self::Subtract => binding::ADD,
            Self::Multiply | Self::Divide => binding::MULTIPLY,
            Self::Of => binding::OF,
            _ => binding::COMPARE,
        }
    }

    /// A comparison of sizes or of equality.
    #[must_use]
    pub fn compares(self) -> bool {
        self.binding() == binding::COMPARE
    }
}

/// Two nodes are equal when they mean the same; where they stand does not matter.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Node {
    fn binding(&self) -> u8 {
        match &self.kind {
            NodeKind::Binary(operator, ..) => operator.binding(),
            NodeKind::Held(..) => binding::HELD,
            NodeKind::Not(_) => binding::NOT,
            NodeKind::Negate(_) => binding::NEGATE,
            // An aggregate runs to the end of its condition, so it needs brackets inside anything.
            NodeKind::Aggregate(_) => 0,
            _ => binding::ATOM,
        }
    }

    /// Prints the node, in brackets when it binds less tightly than `least`.
    fn print(&self, f: &mut fmt::Formatter<'_>, least: u8) -> fmt::Result {
        if self.binding() < least {
            return write!(f, "({self})");
        }
        write!(f, "{self}")
    }
}

/// A text in quotes, as it is read again.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NodeKind::Quantity(quantity) => f.write_str(&format_exact(*quantity)),
            NodeKind::Text(text) => f.write_str(&quoted(text)),
            NodeKind::Bool(value) => write!(f, "{value}"),
            NodeKind::Name(name) => f.write_str(name),
            NodeKind::Not(inner) => {
                f.write_str("not ")?;
                inner.print(f, binding::NOT)
            }
            NodeKind::Negate(inner) => {
                f.write_str("-")?;
                inner.print(f, binding::NEGATE)
            }
            NodeKind::Binary(operator, left, right) => {
                let least = operator.binding();
                // Comparisons do not chain; the others lean to the left.
                left.print(
                    f,
                    if operator.compares() {
                        least + 1
                    } else {
                        least
                    },
                )?;
                write!(f, " {} ", operator.text())?;
                right.print(f, least + 1)
            }
            NodeKind::Call(name, arguments) => {
                write!(f, "{name}(")?;
                for (i, argument) in arguments.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    argument.print(f, binding::OR)?;
                }
                f.write_str(")")
            }
            NodeKind::Held(inner, span) => {
                inner.print(f, binding::HELD)?;
                write!(f, " for {span}")
            }
            NodeKind::Aggregate(aggregate) => aggregate.fmt(f),
        }
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.how.word())?;
        if let Some(value) = &self.value {
            f.write_str(" ")?;
            // In brackets, so that a column called `count` does not run into the `in`, nor `min(8)`.
            let is_call = matches!(value.kind, NodeKind::Call(..));
            value.print(f, binding::ATOM + u8::from(is_call))?;
        }
        write!(f, " in {}", self.list)?;
        if let Some(filter) = &self.filter {
            f.write_str(" where ")?;
            filter.print(f, binding::OR)?;
        }
        Ok(())
    }
}

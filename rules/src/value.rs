//! What an expression yields, and logic in three values.

use crate::sheet::Value;
use crate::units::format_value;
use crate::vocabulary::Kind;

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Val<'a> {
    /// A fact that it needs could not be read.
    Unknown,
    /// A number in base units.
    Number(f64),
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(&'a str),
    /// Several texts.
    Texts(&'a [String]),
}

/// Yes, no, or not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// A fact that decides it could not be read.
    Unknown,
}

impl Truth {
    /// True only when it is known to be so.
    #[must_use]
    pub fn is_true(self) -> bool {
        self == Self::True
    }

    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::True, Self::True) => Self::True,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        self.negate().and(other.negate()).negate()
    }

    pub(crate) fn negate(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl<'a> Val<'a> {
    pub(crate) fn number(value: f64) -> Self {
        if value.is_finite() {
            Self::Number(value)
        } else {
            Self::Unknown
        }
    }

    pub(crate) fn of(truth: Truth) -> Self {
        match truth {
            Truth::True => Self::Bool(true),
            Truth::False => Self::Bool(false),
            Truth::Unknown => Self::Unknown,
        }
    }

    pub(crate) fn truth(self) -> Truth {
        match self {
            Self::Bool(value) => value.into(),
            _ => Truth::Unknown,
        }
    }

    /// The value of a sheet's cell, when it fits the vocabulary's kind.
    pub(crate) fn read(value: &'a Value, kind: Kind) -> Self {
        match (value, kind) {
            (Value::Bool(v), Kind::Bool) => Self::Bool(*v),
            (Value::Text(v), Kind::Text) => Self::Text(v),
            (Value::Texts(v), Kind::Texts) => Self::Texts(v),
            (_, Kind::Bool | Kind::Text | Kind::Texts) => Self::Unknown,
            (Value::Int(v), _) => Self::Number(*v as f64),
            (Value::Float(v), _) => Self::number(*v),
            _ => Self::Unknown,
        }
    }

    /// For people, by unit; `None` when unknown.
    #[must_use]
    pub fn text(self, kind: Option<Kind>) -> Option<String> {
        match self {
            Self::Unknown => None,
            Self::Number(v) => Some(format_value(v, kind.unwrap_or(Kind::Count))),
            Self::Bool(v) => Some(if v { "yes" } else { "no" }.to_owned()),
            Self::Text(t) => Some(t.to_owned()),
            Self::Texts(t) => Some(t.join(" → ")),
        }
    }

    /// Exact for JSON: bytes, counts, milliseconds and rates are whole, ratios have four decimals.
    pub(crate) fn exact(self, kind: Option<Kind>) -> Option<Value> {
        match self {
            Self::Unknown => None,
            Self::Number(v) if kind == Some(Kind::Ratio) => Some(Value::Float(round4(v))),
            // A counter may say anything, and says it whole.
            Self::Number(v) if kind == Some(Kind::Number) && v.fract() != 0.0 => {
                Some(Value::Float(v))
            }
            Self::Number(v) => Some(Value::Int(v.round() as i64)),
            Self::Bool(v) => Some(Value::Bool(v)),
            Self::Text(t) => Some(Value::Text(t.to_owned())),
            Self::Texts(t) => Some(Value::Texts(t.to_vec())),
        }
    }
}

/// Rounded to the four decimals that ratios have in JSON.
#[must_use]
pub fn round4(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

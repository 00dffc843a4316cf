//! Small helpers to write list facts.

use leakhound_rules::{Row, Value};

/// A row from its columns.
#[must_use]
pub fn row<const N: usize>(columns: [(&str, Value); N]) -> Row {
    columns
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A whole number.
#[must_use]
pub fn int(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A name.
#[must_use]
pub fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

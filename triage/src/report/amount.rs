//! Numbers as people read them, in the same words as rules and messages: everything ends in `leakhound_rules::units`.

use leakhound_rules::Value;
use leakhound_rules::units::{
    format_bytes, format_count, format_duration, format_ratio, format_value,
};
use leakhound_rules::vocabulary::Kind;

/// `870 MB`, `1.02 GB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    format_bytes(bytes as f64)
}

/// `1,234,567`.
#[must_use]
pub fn count(count: u64) -> String {
    format_count(count as f64)
}

/// `68%`, `7.4%`; `100%` only when it is everything.
#[must_use]
pub fn share(share: f64) -> String {
    if share.is_finite() {
        format_ratio(share)
    } else {
        "?".to_owned()
    }
}

/// `2 days 4 h`, `45 s`.
#[must_use]
pub fn duration(ms: u64) -> String {
    format_duration(ms as f64)
}

/// A value of a fact with its unit.
#[must_use]
pub fn value(value: &Value, kind: Kind) -> String {
    let number = |x: f64| match kind {
        // A fact that the vocabulary does not know, or whose value is not what it promises: the bare number.
        Kind::Bool | Kind::Text | Kind::Texts => format_count(x),
        kind => format_value(x, kind),
    };
    match value {
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Text(text) => text.clone(),
        Value::Texts(texts) => texts.join(" → "),
        Value::Int(n) => number(*n as f64),
        Value::Float(x) if x.is_finite() => number(*x),
        Value::Float(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_carry_their_unit() {
        assert_eq!(value(&Value::Int(1_520_000_000), Kind::Bytes), "1.52 GB");
        assert_eq!(value(&Value::Float(0.99993), Kind::Ratio), "99.9%");
        assert_eq!(value(&Value::Int(412_310), Kind::Text), "412,310");
        assert_eq!(value(&Value::Float(f64::NAN), Kind::Ratio), "?");
        assert_eq!(value(&Value::Bool(true), Kind::Bool), "yes");
        assert_eq!(share(f64::INFINITY), "?");
    }
}

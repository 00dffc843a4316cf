//! When to capture.

use crate::config::{Located, Problems};

/// Adds what is wrong with a trigger's expression.
pub fn check(key: &str, when: &Located, problems: &mut Problems) {
    if when.text.trim().is_empty() {
        problems.push(key, "the expression is empty", when.span.clone(), None);
    }
}

//! The diagnosis as JSON: the contract of `leakhound triage --format json`, exact numbers, stable order.

use leakhound_rules::diagnosis::Diagnosis;

/// The diagnosis as indented JSON with a line break at its end.
///
/// Fields come in the order of the contract and maps in the order of their keys, so that equal diagnoses are equal bytes.
#[must_use]
pub fn render(diagnosis: &Diagnosis) -> String {
    // Keys are text and numbers are integers or floats, which is all that could fail.
    let mut text = serde_json::to_string_pretty(diagnosis).unwrap_or_else(|error| {
        format!("{{\"error\": \"{}\"}}", error.to_string().replace('"', "'"))
    });
    text.push('\n');
    text
}

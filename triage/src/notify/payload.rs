//! The diagnosis for machines: the contract's JSON with what must not leave the node taken out, and of bounded size.

use std::borrow::Cow;

use leakhound_rules::{Diagnosis, FactValue};
use serde_json::Value;

use super::scrub;

/// Bytes of the JSON document that travels.
pub const DOCUMENT_LIMIT_BYTES: usize = 128 * 1024;

/// Longest string of it, in characters, before anything else is looked at.
const TEXT_CHARS: usize = 1000;
/// Longest list of it: findings, evidence, steps of a path.
const LIST_LIMIT: usize = 32;

/// Columns that hold the contents of strings of the heap: list, column.
const HEAP_TEXT: &[(&str, &str)] = &[("duplicate_strings", "value")];

/// What stands where a string of the heap was.
const WITHHELD: &str = "[text withheld]";

/// Shorter strings are not looked for inside sentences: they would hit ordinary words.
const SEARCHED_CHARS: usize = 4;

/// Contents of strings of the heap that must not leave.
#[derive(Debug, Default)]
pub(crate) struct Withheld {
    strings: Vec<String>,
}

/// Collects what must stay; nothing if the operator allows heap strings.
pub(crate) fn withheld(diagnosis: &Diagnosis, allowed: bool) -> Withheld {
    if allowed {
        return Withheld::default();
    }
    let mut strings: Vec<String> = Vec::new();
    let mut keep = |value: &leakhound_rules::Value| match value {
        leakhound_rules::Value::Text(text) if text.chars().count() >= SEARCHED_CHARS => {
            strings.push(text.clone())
        }
        _ => {}
    };
    for (list, column) in HEAP_TEXT {
        // Only what a finding speaks of can have reached its sentences; the list itself stays on the node.
        let spoken = |fact: &str| fact.starts_with(list);
        if !diagnosis
            .findings
            .iter()
            .any(|f| f.evidence.iter().any(|e| spoken(&e.fact)))
        {
            continue;
        }
        if let Some(FactValue::List(rows)) = diagnosis.facts.get(*list) {
            rows.iter()
                .filter_map(|row| row.get(column))
                .for_each(&mut keep);
        }
        let column = format!("{list}.{column}");
        diagnosis
            .findings
            .iter()
            .flat_map(|f| &f.evidence)
            .filter(|e| e.fact == column)
            .for_each(|e| keep(&e.value));
    }
    // Longest first: a string inside another must not break it up.
    strings.sort_by_key(|text| std::cmp::Reverse(text.len()));
    strings.dedup();
    Withheld { strings }
}

impl Withheld {
    /// The text with every withheld string replaced.
    pub(crate) fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for string in &self.strings {
            if text.contains(string.as_str()) {
                text = Cow::Owned(text.replace(string.as_str(), WITHHELD));
            }
        }
        text
    }

    fn hide_all(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(hidden) = self.hide(text) {
                    *text = hidden;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_all(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.hide_all(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// The document and the names of what was left out of it.
///
/// Lists of facts always stay on the node: they are large, and may hold contents of the heap.
pub(crate) fn document(diagnosis: &Diagnosis, withheld: &Withheld) -> (Value, Vec<String>) {
    let mut omitted = Vec::new();
    let mut travelling = Diagnosis {
        facts: Default::default(),
        ..diagnosis.clone()
    };
    for (name, value) in &diagnosis.facts {
        match value {
            FactValue::Scalar(_) => drop(travelling.facts.insert(name.clone(), value.clone())),
            FactValue::List(_) => omitted.push(format!("facts.{name}")),
        }
    }
    for evidence in travelling.findings.iter_mut().flat_map(|f| &mut f.evidence) {
        let is_heap_text = HEAP_TEXT
            .iter()
            .any(|(list, column)| evidence.fact == format!("{list}.{column}"));
        if is_heap_text && !withheld.strings.is_empty() {
            evidence.value = leakhound_rules::Value::Text(WITHHELD.into());
            evidence.text = WITHHELD.into();
        }
    }
    // A damaged sheet may hold names of megabytes: what is cut now need not be searched.
    travelling.findings.truncate(LIST_LIMIT);
    // Serializing our own types to JSON cannot fail on values that are finite and keys that are strings.
    let mut document = serde_json::to_value(&travelling).unwrap_or(Value::Null);
    if clip(&mut document) || diagnosis.findings.len() > LIST_LIMIT {
        omitted.push("long texts and lists".to_owned());
    }
    withheld.hide_all(&mut document);
    scrub::json(&mut document);
    fit(&mut document, &mut omitted);
    (document, omitted)
}

/// Cuts strings and lists that are too long; whether there were any.
fn clip(value: &mut Value) -> bool {
    match value {
        Value::String(text) => match text.char_indices().nth(TEXT_CHARS) {
            Some((end, _)) => {
                text.truncate(end);
                text.push('…');
                true
            }
            None => false,
        },
        Value::Array(items) => {
            let long = items.len() > LIST_LIMIT;
            items.truncate(LIST_LIMIT);
            items.iter_mut().fold(long, |cut, item| clip(item) | cut)
        }
        Value::Object(map) => map.values_mut().fold(false, |cut, item| clip(item) | cut),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Drops what a receiver misses least until the document fits.
fn fit(document: &mut Value, omitted: &mut Vec<String>) {
    for key in ["facts", "not_judged"] {
        if size(document) <= DOCUMENT_LIMIT_BYTES {
            return;
        }
        document[key] = if key == "facts" {
            Value::Object(Default::default())
        } else {
            Value::Array(Vec::new())
        };
        omitted.retain(|name| !name.starts_with(key));
        omitted.push(key.to_owned());
    }
    while size(document) > DOCUMENT_LIMIT_BYTES {
        let Some(findings) = document.get_mut("findings").and_then(Value::as_array_mut) else {
            break;
        };
        let Some(last) = findings.pop() else { break };
        omitted.push(format!(
            "findings[{}]",
            last.get("rank").and_then(Value::as_u64).unwrap_or_default()
        ));
    }
    if size(document) > DOCUMENT_LIMIT_BYTES {
        *document = Value::Null;
        *omitted = vec!["diagnosis".to_owned()];
    }
}

fn size(document: &Value) -> usize {
    document.to_string().len()
}

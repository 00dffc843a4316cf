//! One finding, ready to be laid out.

use leakhound_rules::Value;
use leakhound_rules::finding::{Evidence, Finding, Severity};
use serde::Serialize;

use super::{Cut, name, sentence};
use crate::report::amount;

const EVIDENCE_MAX: usize = 12;
const PATH_HEAD: usize = 8;
const PATH_TAIL: usize = 4;
const ADVICE_MAX: usize = 8;
const ABSORBED_MAX: usize = 8;

/// A fact that the rule read.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// Name in the vocabulary.
    pub fact: String,
    /// The value with its unit.
    pub text: String,
    /// What the fact means.
    pub meaning: String,
}

/// How to check it by hand with one tool.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// `sos`, `windbg`; empty when the line names none.
    pub tool: String,
    /// What to type.
    pub command: String,
}

/// One finding.
#[derive(Debug, Clone, Serialize)]
pub struct Card {
    /// 1 is the first to read.
    pub rank: u32,
    /// Id of the rule.
    pub rule: String,
    /// Category.
    pub category: &'static str,
    /// `critical`, `warning`, `info`.
    pub severity: &'static str,
    /// The same, as a number: 2, 1, 0.
    pub level: u8,
    /// 0 to 100.
    pub confidence: u8,
    /// What it is, in general.
    pub title: String,
    /// What it is, here.
    pub message: String,
    /// What to blame; empty when there is no one thing.
    pub culprit: String,
    /// `1.02 GB`; empty when the finding accounts for no bytes.
    pub bytes: String,
    /// `68%` of the commit; empty when unknown or nothing.
    pub share_text: String,
    /// 0 to 1.
    pub share: f64,
    /// What the rule read.
    pub evidence: Cut<Proof>,
    /// From a root to what accumulates; a long one without its middle.
    pub path: Vec<String>,
    /// What to do.
    pub advice: Cut<String>,
    /// How to check it.
    pub verify: Cut<Check>,
    /// Symptoms that this explains.
    pub absorbed: Cut<String>,
    /// Facts that could not be read.
    pub unknown: Cut<String>,
    /// Why it has this rank.
    pub why_here: String,
    /// Identity across captures.
    pub fingerprint: String,
}

impl Card {
    /// Works out what to show.
    #[must_use]
    pub fn new(finding: &Finding) -> Self {
        let share = finding.share_of_commit.unwrap_or(0.0).clamp(0.0, 1.0);
        let accounts = finding.explained_bytes > 0;
        let known = accounts && finding.share_of_commit.is_some();
        Self {
            rank: finding.rank,
            rule: name(&finding.rule),
            category: finding.category.name(),
            severity: finding.severity.name(),
            level: match finding.severity {
                Severity::Critical => 2,
                Severity::Warning => 1,
                Severity::Info => 0,
            },
            confidence: finding.confidence.min(100),
            title: sentence(&finding.title),
            message: sentence(&finding.message),
            culprit: name(&finding.culprit),
            bytes: if accounts {
                amount::bytes(finding.explained_bytes)
            } else {
                String::new()
            },
            share_text: if known {
                amount::share(share)
            } else {
                String::new()
            },
            share,
            evidence: Cut::first(&numbers_first(&finding.evidence), EVIDENCE_MAX, |e| {
                proof(e)
            }),
            path: path(&finding.path),
            advice: Cut::first(&finding.advice, ADVICE_MAX, |text| sentence(text)),
            verify: Cut::first(&finding.verify, ADVICE_MAX, |text| check(text)),
            absorbed: Cut::first(&finding.absorbed, ABSORBED_MAX, |symptom| {
                let text = if symptom.message.is_empty() {
                    &symptom.title
                } else {
                    &symptom.message
                };
                sentence(text)
            }),
            unknown: Cut::first(&finding.unknown, ABSORBED_MAX, |text| sentence(text)),
            why_here: sentence(&finding.why_here),
            fingerprint: name(&finding.fingerprint),
        }
    }
}

/// Numbers are the proof; names, which stand in the message anyway, and conditions come after them.
fn numbers_first(evidence: &[Evidence]) -> Vec<&Evidence> {
    let is_number = |e: &&Evidence| matches!(e.value, Value::Int(_) | Value::Float(_));
    let (numbers, others): (Vec<_>, Vec<_>) = evidence.iter().partition(is_number);
    numbers.into_iter().chain(others).collect()
}

fn proof(evidence: &Evidence) -> Proof {
    Proof {
        fact: name(&evidence.fact),
        text: if evidence.text.is_empty() {
            match &evidence.value {
                Value::Text(text) => name(text),
                value => name(&amount::value(
                    value,
                    leakhound_rules::vocabulary::Kind::Count,
                )),
            }
        } else {
            name(&evidence.text)
        },
        meaning: sentence(&evidence.meaning),
    }
}

/// A path with at most twelve steps: the root and the end are what matters.
fn path(steps: &[String]) -> Vec<String> {
    if steps.len() <= PATH_HEAD + PATH_TAIL + 1 {
        return steps.iter().map(|step| name(step)).collect();
    }
    let hidden = steps.len() - PATH_HEAD - PATH_TAIL;
    let head = steps[..PATH_HEAD].iter().map(|step| name(step));
    let tail = steps[steps.len() - PATH_TAIL..]
        .iter()
        .map(|step| name(step));
    head.chain(std::iter::once(format!("… {hidden} more …")))
        .chain(tail)
        .collect()
}

/// `sos: !eeheap -gc` names its tool before a colon.
fn check(text: &str) -> Check {
    match text.split_once(": ") {
        Some((tool, command)) if !tool.is_empty() && tool.len() <= 16 && !tool.contains(' ') => {
            Check {
                tool: name(tool),
                command: sentence(command),
            }
        }
        _ => Check {
            tool: String::new(),
            command: sentence(text),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_loses_its_middle() {
        let steps: Vec<String> = (0..100).map(|i| format!("Node{i}")).collect();
        let shown = path(&steps);
        assert_eq!(shown.len(), PATH_HEAD + PATH_TAIL + 1);
        assert_eq!(shown.first().map(String::as_str), Some("Node0"));
        assert_eq!(shown.last().map(String::as_str), Some("Node99"));
        assert_eq!(shown[PATH_HEAD], "… 88 more …");
        assert_eq!(
            path(&steps[..13]).len(),
            13,
            "hiding one step would save nothing"
        );
    }

    #[test]
    fn a_check_names_its_tool() {
        let sos = check("sos: !eeheap -gc");
        assert_eq!(
            (sos.tool.as_str(), sos.command.as_str()),
            ("sos", "!eeheap -gc")
        );
        let plain = check("look at the heap: it is full");
        assert_eq!(plain.tool, "");
    }
}

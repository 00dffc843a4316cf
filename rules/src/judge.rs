//! A fact sheet against rules: the diagnosis.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnosis::{DIAGNOSIS_SCHEMA, Diagnosis, FactValue, MemoryAccount, NotJudged};
use crate::eval::{Evaluation, Reads};
use crate::expr::Expr;
use crate::facts::Facts;
use crate::finding::{Evidence, Finding, Role, Severity};
use crate::fingerprint::fingerprint;
use crate::pack::RuleSet;
use crate::rank::{self, Draft};
use crate::rule::Rule;
use crate::sheet::{Completeness, FactSheet, Row, Value};
use crate::template::Template;
use crate::units::format_bytes;
use crate::value::{Truth, Val, round4};
use crate::verdict;
use crate::vocabulary::{Scope, fact_named};

/// Most findings of one `for_each` rule: the largest are kept.
const MAX_FINDINGS_PER_RULE: usize = 5;

/// What is known beside the sheet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// Fingerprints that were seen before for this service. With them, what is new ranks higher;
    /// without them (`None`) nothing is called new.
    pub fingerprints: Option<&'a BTreeSet<String>>,
}

/// Judges a sheet.
#[must_use]
pub fn judge(sheet: &FactSheet, rules: &RuleSet) -> Diagnosis {
    judge_knowing(sheet, rules, Known::default())
}

/// Judges a sheet of a service that has a past.
#[must_use]
pub fn judge_knowing(sheet: &FactSheet, rules: &RuleSet, known: Known<'_>) -> Diagnosis {
    let mut diagnosis = assess(sheet, rules, known);
    diagnosis.facts = all_facts(sheet);
    diagnosis
}

/// The same with `facts` left empty: for judging many archived sheets, where copying what each of them
/// holds costs more than judging it.
#[must_use]
pub fn assess(sheet: &FactSheet, rules: &RuleSet, known: Known<'_>) -> Diagnosis {
    let mut drafts = Vec::new();
    let mut not_judged = Vec::new();
    for rule in rules.rules() {
        let judged = judge_rule(rule, sheet);
        if judged.findings.is_empty() && judged.truth == Truth::Unknown {
            not_judged.push(NotJudged {
                rule: rule.id.clone(),
                missing: judged.missing,
            });
        }
        drafts.extend(judged.findings.into_iter().map(|finding| {
            let is_new = known
                .fingerprints
                .is_some_and(|seen| !seen.contains(&finding.fingerprint));
            let growth_bytes = judged
                .growth
                .get(&finding.fingerprint)
                .copied()
                .unwrap_or(0.0);
            Draft {
                finding,
                growth_bytes,
                is_new,
                element_wise: rule.for_each.is_some(),
                suppresses: rule.suppresses.as_slice(),
            }
        }));
    }
    let memory = MemoryAccount::of(sheet);
    let findings = rank::rank(drafts, memory.commit);
    let (verdict, headline) = verdict::conclude(&findings, &memory, sheet);
    Diagnosis {
        schema: DIAGNOSIS_SCHEMA,
        verdict,
        headline,
        subject: sheet.subject.clone(),
        runtime: sheet.runtime.clone(),
        completeness: rounded_completeness(&sheet.completeness),
        findings,
        memory,
        facts: BTreeMap::new(),
        not_judged,
    }
}

/// What one rule says about a sheet.
#[derive(Debug)]
pub(crate) struct Judged {
    /// One per element that fired, the largest first; ranks are not set yet.
    pub findings: Vec<Finding>,
    /// True when it fired, unknown when it did not and a fact was missing.
    pub truth: Truth,
    /// Facts that were missing.
    pub missing: Vec<String>,
    /// Bytes by which each finding grew, by fingerprint.
    pub growth: BTreeMap<String, f64>,
}

pub(crate) fn judge_rule(rule: &Rule, sheet: &FactSheet) -> Judged {
    let mut judged = Judged {
        findings: Vec::new(),
        truth: Truth::False,
        missing: Vec::new(),
        growth: BTreeMap::new(),
    };
    let Some(list) = rule.for_each else {
        if let Some(severity) = severity(rule, sheet, None, &mut judged) {
            judged.add(finding(rule, sheet, None, severity));
        }
        return judged;
    };
    let Some(rows) = sheet.rows(list) else {
        judged.truth = Truth::Unknown;
        judged.missing.push(match sheet.why_unknown(list.name) {
            Some(why) => format!("{}: {why}", list.name),
            None => list.name.to_owned(),
        });
        return judged;
    };
    let mut fired: Vec<(Severity, f64, &Row)> = Vec::new();
    for row in rows {
        if let Some(severity) = severity(rule, sheet, Some(row), &mut judged) {
            let explained = match &rule.explains {
                Some(expr) => bytes(Evaluation::new(sheet).element(Some(row)).value(expr)),
                None => 0.0,
            };
            fired.push((severity, explained, row));
        }
    }
    // Stable: rows of equal size keep the order of the sheet.
    fired.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
    for (severity, _, row) in fired.into_iter().take(MAX_FINDINGS_PER_RULE) {
        judged.add(finding(rule, sheet, Some(row), severity));
    }
    judged
}

impl Judged {
    fn add(&mut self, (finding, growth): (Finding, f64)) {
        self.growth.insert(finding.fingerprint.clone(), growth);
        self.findings.push(finding);
    }
}

/// A number of bytes; none when it is not known.
fn bytes(value: Val<'_>) -> f64 {
    match value {
        Val::Number(bytes) => bytes.max(0.0),
        _ => 0.0,
    }
}

/// How bad one element is; `None` when the rule does not fire for it.
fn severity(
    rule: &Rule,
    sheet: &FactSheet,
    row: Option<&Row>,
    judged: &mut Judged,
) -> Option<Severity> {
    let holds = |expr: &Expr| Evaluation::new(sheet).element(row).truth(expr);
    let when = holds(&rule.when);
    if when == Truth::True {
        judged.truth = Truth::True;
        // `critical` raises what `when` found; alone it says nothing.
        let critical = rule.critical.as_ref().is_some_and(|c| holds(c).is_true());
        return Some(if critical {
            Severity::Critical
        } else {
            rule.severity
        });
    }
    let info = rule.info.as_ref().map_or(Truth::False, holds);
    if info == Truth::True {
        judged.truth = Truth::True;
        return Some(Severity::Info);
    }
    if when == Truth::Unknown || info == Truth::Unknown {
        if judged.truth == Truth::False {
            judged.truth = Truth::Unknown;
        }
        if judged.missing.is_empty() {
            let mut reads = Reads::default();
            for condition in [Some(&rule.when), rule.info.as_ref()].into_iter().flatten() {
                Evaluation::new(sheet)
                    .element(row)
                    .recording(&mut reads)
                    .truth(condition);
            }
            judged.missing = reads.missing;
        }
    }
    None
}

/// The finding of a rule that fired; ranks are not set yet.
fn finding(
    rule: &Rule,
    sheet: &FactSheet,
    row: Option<&Row>,
    severity: Severity,
) -> (Finding, f64) {
    let mut reads = Reads::default();
    for condition in [Some(&rule.when), rule.critical.as_ref(), rule.info.as_ref()]
        .into_iter()
        .flatten()
    {
        Evaluation::new(sheet)
            .element(row)
            .recording(&mut reads)
            .truth(condition);
    }
    let mut read = |expr: &Option<Expr>| {
        let value = expr.as_ref().map(|e| {
            Evaluation::new(sheet)
                .element(row)
                .recording(&mut reads)
                .value(e)
        });
        value.map_or(0.0, bytes)
    };
    let explained = read(&rule.explains);
    let growth = read(&rule.growth);
    let message = rule
        .message
        .render(&mut Evaluation::new(sheet).element(row).recording(&mut reads));
    let fill = |template: &Template| template.render(&mut Evaluation::new(sheet).element(row));
    let path = match rule
        .path
        .as_ref()
        .map(|e| Evaluation::new(sheet).element(row).value(e))
    {
        Some(Val::Texts(path)) => path.to_vec(),
        _ => Vec::new(),
    };
    let culprit = rule
        .culprit
        .iter()
        .map(fill)
        .find(|rendered| rendered.complete && !rendered.text.is_empty())
        .map_or_else(|| "unknown".to_owned(), |rendered| rendered.text);
    let identity = rule
        .identity
        .as_ref()
        .map_or_else(|| culprit.clone(), |i| fill(i).text);
    let family = rule.same_incident_as.as_deref().unwrap_or(&rule.id);
    let doubted = rule
        .doubts
        .iter()
        .find(|(when, _)| Evaluation::new(sheet).element(row).truth(when).is_true())
        .map_or(rule.confidence, |(_, confidence)| *confidence);
    // What has a gap in it helps nobody: a line of advice with an unknown value is left out.
    let lines = |templates: &[Template]| -> Vec<String> {
        let filled = templates.iter().map(fill);
        filled
            .filter(|line| line.complete)
            .map(|line| line.text)
            .collect()
    };
    let verify = rule
        .verify
        .iter()
        .map(|(tool, command)| (tool, fill(command)))
        .filter(|(_, command)| command.complete)
        .map(|(tool, command)| format!("{tool}: {}", command.text))
        .collect();
    let commit = sheet.get_int("memory.commit").filter(|commit| *commit > 0);
    let finding = Finding {
        rank: 0,
        rule: rule.id.clone(),
        category: rule.category,
        severity,
        confidence: confidence(doubted, rule.role, &reads.evidence, &sheet.completeness),
        title: rule.title.clone(),
        message: message.text,
        fingerprint: fingerprint(family, &identity, path.iter().map(String::as_str)),
        culprit,
        explained_bytes: explained.round() as u64,
        share_of_commit: commit.map(|commit| round4(explained / commit as f64)),
        evidence: reads.evidence,
        path,
        advice: lines(&rule.advice),
        verify,
        role: rule.role,
        why_here: String::new(),
        absorbed: Vec::new(),
        unknown: reads.missing,
    };
    (finding, growth)
}

/// What is read from a heap is as sure as the heap is complete.
fn confidence(rule: u8, role: Role, evidence: &[Evidence], completeness: &Completeness) -> u8 {
    let from_heap = |e: &Evidence| {
        let outside = [
            "memory.",
            "threads.",
            "native_regions",
            "completeness.",
            "runtime.",
        ];
        let live = fact_named(&e.fact).is_some_and(|f| f.scope == Scope::Live);
        !live && !outside.iter().any(|prefix| e.fact.starts_with(prefix))
    };
    let whole = completeness
        .heap
        .filter(|h| h.is_finite())
        .unwrap_or(1.0)
        .clamp(0.0, 1.0);
    if role == Role::Integrity || !evidence.iter().any(from_heap) {
        return rule;
    }
    (f64::from(rule) * whole).round() as u8
}

fn rounded_completeness(completeness: &Completeness) -> Completeness {
    Completeness {
        heap: completeness.heap.map(round4),
        names: completeness.names.map(round4),
        references: completeness.references.map(round4),
        ..completeness.clone()
    }
}

fn all_facts(sheet: &FactSheet) -> BTreeMap<String, FactValue> {
    let rounded = |value: &Value| match value {
        Value::Float(v) => Value::Float(round4(*v)),
        other => other.clone(),
    };
    let scalars = sheet
        .facts
        .iter()
        .map(|(name, value)| (name.to_string(), FactValue::Scalar(rounded(value))));
    let lists = sheet.lists.iter().map(|(name, rows)| {
        let rows = rows
            .iter()
            .map(|row| {
                row.iter()
                    .map(|(column, value)| (column.clone(), rounded(value)))
                    .collect()
            })
            .collect();
        (name.clone(), FactValue::List(rows))
    });
    scalars.chain(lists).collect()
}

/// Bytes and their share of the commit: `870 MB (63% of commit)`.
pub(crate) fn bytes_and_share(finding: &Finding) -> String {
    let bytes = format_bytes(finding.explained_bytes as f64);
    match finding.share_of_commit {
        Some(share) => format!("{bytes} ({} of commit)", crate::units::format_ratio(share)),
        None => bytes,
    }
}

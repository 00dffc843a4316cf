//! What an archived diagnosis says. Its facts are most of the document and stand behind the findings: reading ends before them.

use super::Short;
use leakhound_rules::{Diagnosis, Severity, Verdict};
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// A diagnosis without its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub(super) verdict: Verdict,
    pub(super) headline: String,
    findings: Vec<SaidFinding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct SaidFinding {
    rule: String,
    culprit: String,
    severity: Severity,
}

impl Said {
    /// From a diagnosis of today.
    pub(super) fn of(diagnosis: &Diagnosis) -> Self {
        let findings = diagnosis.findings.iter().map(|finding| SaidFinding {
            rule: finding.rule.clone(),
            culprit: finding.culprit.clone(),
            severity: finding.severity,
        });
        Self {
            verdict: diagnosis.verdict,
            headline: diagnosis.headline.clone(),
            findings: findings.collect(),
        }
    }

    /// From an archived one; `None` when it is none, or damaged before its facts.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let mut parts = Parts::default();
        let mut reader = serde_json::Deserializer::from_slice(json);
        // What was not read is an error to the reader, and none to us.
        let _ = reader.deserialize_map(&mut parts);
        Some(Self {
            verdict: parts.verdict?,
            headline: parts.headline?,
            findings: parts.findings?,
        })
    }

    pub(super) fn short(&self) -> Short {
        Short {
            verdict: self.verdict,
            headline: self.headline.clone(),
        }
    }

    /// Rules with what they blame.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let name = |finding: &SaidFinding| match finding.culprit.as_str() {
            "" => format!("{} ({})", finding.rule, finding.severity),
            culprit => format!("{} {culprit} ({})", finding.rule, finding.severity),
        };
        self.findings.iter().map(name).collect()
    }
}

#[derive(Default)]
struct Parts {
    verdict: Option<Verdict>,
    headline: Option<String>,
    findings: Option<Vec<SaidFinding>>,
}

impl Parts {
    fn are_there(&self) -> bool {
        self.verdict.is_some() && self.headline.is_some() && self.findings.is_some()
    }
}

impl<'de> Visitor<'de> for &mut Parts {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a diagnosis")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while !self.are_there() {
            let Some(key) = map.next_key::<String>()? else {
                break;
            };
            match key.as_str() {
                "verdict" => self.verdict = Some(map.next_value()?),
                "headline" => self.headline = Some(map.next_value()?),
                "findings" => self.findings = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_rules::{FactSheet, RuleSet};

    #[test]
    fn an_archived_diagnosis_says_what_it_said_and_its_facts_are_not_read() {
        let mut sheet = FactSheet::default();
        sheet.int("threadpool.queued", 6_000);
        let diagnosis = leakhound_rules::judge(&sheet, &RuleSet::shipped());
        let json = serde_json::to_string(&diagnosis).unwrap();
        let said = Said::read(json.as_bytes()).unwrap();
        assert_eq!(said, Said::of(&diagnosis));
        assert!(
            said.names()
                .iter()
                .any(|name| name.starts_with("threadpool-backlog"))
        );
        let facts = json.find("\"facts\"").unwrap();
        assert_eq!(Said::read(&json.as_bytes()[..facts]), Some(said));
        let findings = json.find("\"findings\"").unwrap();
        assert_eq!(Said::read(&json.as_bytes()[..findings + 30]), None);
        assert_eq!(Said::read(b"[]"), None);
    }
}

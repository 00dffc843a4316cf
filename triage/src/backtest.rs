//! Two sets of rules over the same archived captures: which captures they judge differently, and which set is right more often
//! where a person has labelled them.

use crate::diagnose;
use crate::facts::growth;
use crate::rerun::history::{self, Capture};
use crate::service_rules::ServiceRules;
use leakhound_archive::{Archive, Bundle, Label};
use leakhound_rules::{Diagnosis, Severity, Verdict};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

/// What one set of rules says about a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The answer in one word.
    pub verdict: Verdict,
    /// The answer in one sentence.
    pub headline: String,
    /// Findings of warning or above, by rank: category and culprit.
    pub findings: Vec<(String, String)>,
}

impl Said {
    fn of(diagnosis: &Diagnosis) -> Self {
        let alarming = diagnosis
            .findings
            .iter()
            .filter(|finding| finding.severity >= Severity::Warning);
        Self {
            verdict: diagnosis.verdict,
            headline: diagnosis.headline.clone(),
            findings: alarming
                .map(|f| (f.category.name().to_owned(), f.culprit.clone()))
                .collect(),
        }
    }

    /// The first finding is what the label says; or both say that there is none.
    #[must_use]
    pub fn agrees(&self, label: &Label) -> bool {
        match self.findings.first() {
            None => label.categories.is_empty(),
            Some((category, culprit)) => {
                label.categories.contains(category)
                    && label
                        .culprit
                        .as_ref()
                        .is_none_or(|wanted| culprit.contains(wanted.as_str()))
            }
        }
    }
}

/// One capture under both sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Key of the bundle.
    pub key: String,
    /// What the rules in force say.
    pub before: Said,
    /// What the new ones say.
    pub after: Said,
    /// What a person found out.
    pub label: Option<Label>,
}

impl Tried {
    /// The sets disagree about the verdict or about what comes first.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.before.verdict != self.after.verdict
            || self.before.findings.first() != self.after.findings.first()
    }
}

/// One capture, or why it could not be judged.
pub type Outcome = Result<Tried, (String, String)>;

/// Judges every bundle's sheet by both sets, in parallel; nothing is written. `done` hears of the share that is done.
pub fn backtest(
    archive: &Archive,
    bundles: &[Bundle],
    before: &ServiceRules,
    after: &ServiceRules,
    stop: &AtomicBool,
    done: &mut dyn FnMut(f64),
) -> Vec<Outcome> {
    let look = |capture: Capture<'_>| {
        let key = capture.bundle.id().key();
        let found = capture.sheet.and_then(|sheet| {
            let label = capture.bundle.label().map_err(|error| error.to_string())?;
            Ok((sheet, label))
        });
        let (sheet, label) = match found {
            Ok(found) => found,
            Err(reason) => return (Err((key, reason)), None),
        };
        let service = capture.bundle.id().service();
        let first = diagnose::assess(sheet, &capture.earlier, before.of(service));
        let mut sheet = first.sheet;
        let second =
            leakhound_rules::assess(&sheet, after.of(service), leakhound_rules::Known::default());
        growth::erase(&mut sheet);
        let tried = Tried {
            key,
            before: Said::of(&first.diagnosis),
            after: Said::of(&second),
            label,
        };
        (Ok(tried), Some(sheet))
    };
    history::each(archive, bundles, &[before, after], look, &mut |share, _| {
        done(share);
        !stop.load(Ordering::Relaxed)
    })
}

/// How often a category is said and right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Said first, and the label says it too.
    pub right: u64,
    /// Said first, and the label says otherwise.
    pub wrong: u64,
    /// The label says it, and something else, or nothing, was said first.
    pub missed: u64,
}

impl Tally {
    /// Of what was said, the share that is right; `None` when nothing was said.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        share(self.right, self.right + self.wrong)
    }

    /// Of what is there, the share that was said; `None` when nothing is there.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        share(self.right, self.right + self.missed)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Precision and recall of one set over labelled captures, by category; what was said of healthy processes is wrong.
#[must_use]
pub fn measure<'t>(
    tried: impl IntoIterator<Item = &'t Tried>,
    said: impl Fn(&Tried) -> &Said,
) -> BTreeMap<String, Tally> {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for one in tried {
        let Some(label) = &one.label else { continue };
        let said = said(one);
        let first = said.findings.first().map(|(category, _)| category.clone());
        if said.agrees(label) {
            if let Some(category) = first {
                tallies.entry(category).or_default().right += 1;
            }
            continue;
        }
        if let Some(category) = first {
            tallies.entry(category).or_default().wrong += 1;
        }
        if let Some(category) = label.categories.first() {
            tallies.entry(category.clone()).or_default().missed += 1;
        }
    }
    tallies
}

/// Categories of both measurements, in order.
#[must_use]
pub fn categories<'m>(maps: &[&'m BTreeMap<String, Tally>]) -> BTreeSet<&'m str> {
    maps.iter()
        .flat_map(|map| map.keys().map(String::as_str))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_archive::bundle::SHEET_FILE;
    use leakhound_archive::{Filter, Manifest};
    use leakhound_rules::{FactSheet, Overrides, RuleSet};

    fn said(findings: &[(&str, &str)]) -> Said {
        Said {
            verdict: if findings.is_empty() {
                Verdict::Healthy
            } else {
                Verdict::Leak
            },
            headline: String::new(),
            findings: findings
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
        }
    }

    fn label(categories: &[&str], culprit: Option<&str>) -> Label {
        Label {
            categories: categories.iter().map(|c| (*c).to_owned()).collect(),
            culprit: culprit.map(str::to_owned),
            note: None,
        }
    }

    #[test]
    fn precision_and_recall_are_those_of_the_first_finding() {
        let one = |findings: &[(&str, &str)], label: Option<Label>| Tried {
            key: String::new(),
            before: said(&[]),
            after: said(findings),
            label,
        };
        let tried = [
            one(
                &[("timer-leak", "A.B")],
                Some(label(&["timer-leak"], Some("A.B"))),
            ),
            one(
                &[("timer-leak", "A.C")],
                Some(label(&["timer-leak"], Some("A.B"))),
            ),
            one(&[("static-root", "A.b")], Some(label(&[], None))),
            one(&[], Some(label(&["static-root"], None))),
            one(&[], Some(label(&[], None))),
            one(&[("thread-leak", "threads")], None),
        ];
        let after = measure(&tried, |one| &one.after);
        let tally = |right, wrong, missed| Tally {
            right,
            wrong,
            missed,
        };
        assert_eq!(
            after,
            BTreeMap::from([
                ("timer-leak".to_owned(), tally(1, 1, 1)),
                ("static-root".to_owned(), tally(0, 1, 1)),
            ])
        );
        assert_eq!(after["timer-leak"].precision(), Some(0.5));
        assert_eq!(after["static-root"].recall(), Some(0.0));
        assert_eq!(Tally::default().precision(), None);
        let before = measure(&tried, |one| &one.before);
        assert_eq!(before["timer-leak"].missed, 2);
        assert_eq!(categories(&[&before, &after]).len(), 2);
    }

    #[test]
    fn a_stricter_rule_changes_the_captures_that_it_concerns() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open_or_create(folder.path()).unwrap();
        for (pid, queued) in [(1, 6_000), (2, 100), (3, 9_000)] {
            let mut sheet = FactSheet {
                schema: leakhound_rules::sheet::SHEET_SCHEMA,
                ..FactSheet::default()
            };
            sheet.int("threadpool.queued", queued);
            sheet.int("memory.commit", 100_000_000);
            sheet.subject.service = "Shop.Cart".to_owned();
            sheet.subject.pid = pid;
            let writer = archive
                .begin("Shop.Cart", jiff::Timestamp::UNIX_EPOCH, "node-1", pid)
                .unwrap();
            let json = serde_json::to_vec(&sheet).unwrap();
            writer.put(SHEET_FILE, &json).unwrap();
            let bundle = writer.seal(Manifest::default()).unwrap();
            if pid == 1 {
                archive.label(&bundle, &label(&[], None)).unwrap();
            }
        }
        let bundles = archive.list(&Filter::default()).unwrap().bundles;
        let before = RuleSet::shipped();
        let strict = before
            .get("threadpool-backlog")
            .unwrap()
            .text
            .replace("queued = \"1_000\"", "queued = \"8_000\"");
        let after = before
            .clone()
            .overlay([("own.toml", strict.as_str())])
            .unwrap();
        let stop = AtomicBool::new(false);
        // The service has said what is much to it: only what exceeds that may change.
        let patient = Overrides::from([("queued".to_owned(), "7_000".to_owned())]);
        let patient = BTreeMap::from([("threadpool-backlog".to_owned(), patient)]);
        let of_service = ServiceRules::new(before.clone(), [("Shop.Cart", &patient)]).unwrap();
        let outcomes = backtest(
            &archive,
            &bundles,
            &of_service,
            &before.clone().into(),
            &stop,
            &mut |_| {},
        );
        let tried: Vec<Tried> = outcomes.into_iter().map(Result::unwrap).collect();
        let changed: Vec<bool> = tried.iter().map(Tried::changed).collect();
        assert_eq!(changed, [true, false, false]);
        let (before, after) = (before.into(), after.into());
        let outcomes = backtest(&archive, &bundles, &before, &after, &stop, &mut |_| {});
        let tried: Vec<Tried> = outcomes.into_iter().map(Result::unwrap).collect();
        let changed: Vec<bool> = tried.iter().map(Tried::changed).collect();
        assert_eq!(changed, [true, false, false]);
        let right = |map: BTreeMap<String, Tally>| map.get("threadpool-backlog").map(|t| t.wrong);
        assert_eq!(right(measure(&tried, |one| &one.before)), Some(1));
        assert_eq!(right(measure(&tried, |one| &one.after)), None);
    }
}

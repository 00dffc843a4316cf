//! Archived sheets judged again: what today's rules say, and what that changes.
//!
//! Judging takes a fraction of a millisecond, walking a dump seconds: a dump is walked again only when its sheet was written by a
//! reader that did not know the facts that a rule asks for, and the new sheet is stored, so that a run that was stopped does not
//! walk it twice.

pub(crate) mod history;
mod said;

use crate::case::{Case, read_sheet};
use crate::diagnose::{self, Judged};
use crate::facts::growth;
use crate::service_rules::ServiceRules;
use crate::worker::{self, WalkLimits};
use history::Capture;
use leakhound_archive::bundle::{DIAGNOSIS_FILE, SHEET_FILE};
use leakhound_archive::{Archive, Bundle};
use leakhound_rules::vocabulary::{self, Scope};
use leakhound_rules::{Diagnosis, FactSheet, RuleSet, Verdict};
pub use said::Said;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// When a dump is walked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Walk {
    /// Never: sheets alone.
    Never,
    /// When its sheet lacks a fact that a rule asks for, and was written by a reader that did not know that fact.
    #[default]
    Missing,
    /// Always, where the dump is still there.
    All,
}

/// How a re-run goes about it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Store what changes: sheets of dumps that were walked, diagnoses, reports.
    pub write: bool,
    /// When a dump is walked again.
    pub walk: Walk,
    /// What a walk may use and show.
    pub limits: WalkLimits,
    /// Raised to stop; what is done by then is done.
    pub stop: Arc<AtomicBool>,
}

/// A diagnosis in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Short {
    /// The answer in one word.
    pub verdict: Verdict,
    /// The answer in one sentence.
    pub headline: String,
}

/// What a re-run changes about one capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The archived diagnosis; `None` when there was none.
    pub before: Option<Short>,
    /// Today's.
    pub after: Short,
    /// Findings that are new: rule and culprit.
    pub appeared: Vec<String>,
    /// Findings that are gone.
    pub disappeared: Vec<String>,
}

/// The result for one capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was judged.
    Judged {
        /// Key of the bundle.
        key: String,
        /// What changed, if anything.
        change: Option<Change>,
        /// Its dump was walked again.
        walked: bool,
    },
    /// It could not be judged.
    Failed {
        /// Key of the bundle.
        key: String,
        /// Why, for the user.
        reason: String,
    },
}

/// Judges every bundle's sheet again, in parallel; outcomes are in the order given. `done` hears of the share that is done, and of
/// what is new.
pub fn rerun(
    archive: &Archive,
    bundles: &[Bundle],
    rules: &ServiceRules,
    options: &Options,
    done: &mut dyn FnMut(f64, &[Outcome]),
) -> Vec<Outcome> {
    // A walk uses all processors and much memory: one at a time.
    let walking = Mutex::new(());
    history::each(
        archive,
        bundles,
        &[rules],
        |capture| {
            let rules = rules.of(capture.bundle.id().service());
            judge_one(archive, capture, rules, options, &walking)
        },
        &mut |share, new| {
            done(share, new);
            !options.stop.load(Ordering::Relaxed)
        },
    )
}

/// Judges one capture, and gives its sheet back without its growth.
fn judge_one(
    archive: &Archive,
    capture: Capture<'_>,
    rules: &RuleSet,
    options: &Options,
    walking: &Mutex<()>,
) -> (Outcome, Option<FactSheet>) {
    let Capture {
        bundle,
        sheet,
        earlier,
    } = capture;
    let key = bundle.id().key();
    let failed = |reason: String| {
        let key = bundle.id().key();
        Outcome::Failed { key, reason }
    };
    let judged = sheet.map(|sheet| diagnose::assess(sheet, &earlier, rules));
    let wanted = match (&judged, options.walk) {
        (_, Walk::Never) => false,
        (Err(_), _) | (_, Walk::All) => true,
        (Ok(judged), Walk::Missing) => lacks_facts(judged),
    };
    let (judged, walked) = if wanted && matches!(bundle.dump_path(), Ok(Some(_))) {
        let _one = walking.lock().unwrap_or_else(PoisonError::into_inner);
        match walk(archive, bundle, options) {
            Ok(sheet) => (Ok(diagnose::assess(sheet, &earlier, rules)), true),
            // The old sheet is better than none.
            Err(reason) if judged.is_ok() => {
                tracing::warn!(bundle = key, reason, "Its dump cannot be walked again");
                (judged, false)
            }
            Err(reason) => (Err(reason), false),
        }
    } else {
        (judged, false)
    };
    let mut judged = match judged {
        Ok(judged) => judged,
        Err(reason) => return (failed(reason), None),
    };
    let archived = bundle.read_bytes(DIAGNOSIS_FILE).ok();
    let before = archived.and_then(|json| Said::read(&json));
    let change = compare(before.as_ref(), &judged.diagnosis);
    growth::erase(&mut judged.sheet);
    let stored = if options.write && (change.is_some() || walked) {
        store(archive, bundle, &judged.sheet, walked, &earlier, rules)
    } else {
        Ok(())
    };
    let outcome = match stored {
        Ok(()) => Outcome::Judged {
            key,
            change,
            walked,
        },
        Err(reason) => failed(reason),
    };
    (outcome, Some(judged.sheet))
}

/// Stores the diagnosis with every fact, also those for which no rule asks.
fn store(
    archive: &Archive,
    bundle: &Bundle,
    judged: &FactSheet,
    walked: bool,
    earlier: &[&FactSheet],
    rules: &RuleSet,
) -> Result<(), String> {
    let whole = if walked {
        judged.clone()
    } else {
        read_sheet(&bundle.path().join(SHEET_FILE)).map_err(|error| error.to_string())?
    };
    let mut sheet = whole;
    growth::write(earlier, &mut sheet);
    let diagnosis = leakhound_rules::judge(&sheet, rules);
    let judged = Judged { sheet, diagnosis };
    worker::store(archive, bundle, &judged).map_err(|error| error.to_string())
}

/// Walks the dump of a bundle again.
fn walk(archive: &Archive, bundle: &Bundle, options: &Options) -> Result<FactSheet, String> {
    let case = Case::of_bundle(bundle).map_err(|error| error.to_string())?;
    let sheet = worker::sheet_of(&case, None, &options.limits, &options.stop, &mut |_| {})
        .map_err(|error| error.to_string())?;
    if options.write {
        archive
            .put_file(bundle, SHEET_FILE, &worker::to_json(&sheet))
            .map_err(|error| error.to_string())?;
    }
    Ok(sheet)
}

/// A rule asked for a fact of the dump that the sheet has not got, without a reason, and its writer knew another vocabulary than
/// today's: another walk may find it.
fn lacks_facts(judged: &Judged) -> bool {
    judged.sheet.vocabulary != vocabulary::fingerprint()
        && judged.diagnosis.not_judged.iter().any(|rule| {
            rule.missing.iter().any(|missing| {
                let name = missing.split('.').next().unwrap_or_default();
                let scalar = vocabulary::fact_named(missing).map(|fact| fact.scope);
                let list = vocabulary::list_named(name).map(|list| list.scope);
                scalar.or(list) == Some(Scope::Sheet)
            })
        })
}

/// What differs between two diagnoses; `None` when they say the same.
#[must_use]
pub fn compare(before: Option<&Said>, after: &Diagnosis) -> Option<Change> {
    let after = Said::of(after);
    let (old, new) = (before.map(Said::names).unwrap_or_default(), after.names());
    let same = before.is_some_and(|b| b.verdict == after.verdict && b.headline == after.headline);
    if same && old == new {
        return None;
    }
    Some(Change {
        before: before.map(Said::short),
        after: after.short(),
        appeared: new.difference(&old).cloned().collect(),
        disappeared: old.difference(&new).cloned().collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::diagnose::{diagnose, earlier_sheets};
    use leakhound_archive::{Filter, Manifest};
    use leakhound_rules::{Row, Value};

    const MB: i64 = 1_000_000;
    const HOUR_MS: i64 = 3_600_000;
    const START_MS: i64 = 1_790_000_000_000;

    /// A sheet whose one static field holds more each hour.
    fn sheet(pid: u32, hour: i64) -> FactSheet {
        let mut sheet = FactSheet {
            schema: leakhound_rules::sheet::SHEET_SCHEMA,
            ..FactSheet::default()
        };
        sheet.subject.service = "Shop.Cart".to_owned();
        sheet.subject.node = "node-1".to_owned();
        sheet.subject.pid = pid;
        sheet.subject.captured_at_ms = Some(START_MS + hour * HOUR_MS);
        sheet.int("heap.live", 500_000_000);
        sheet.int("memory.commit", 700_000_000);
        sheet.float("cpu", 0.1 + 0.2);
        let row = Row::from([
            (
                "field".to_owned(),
                Value::Text("Shop.Cart.Lines".to_owned()),
            ),
            ("owned".to_owned(), Value::Int((100 + 30 * hour) * MB)),
        ]);
        sheet.lists.insert("statics".to_owned(), vec![row]);
        sheet
    }

    fn put(archive: &Archive, sheet: &FactSheet) {
        let subject = &sheet.subject;
        let at = jiff::Timestamp::from_millisecond(subject.captured_at_ms.unwrap()).unwrap();
        let writer = archive
            .begin(&subject.service, at, &subject.node, subject.pid)
            .unwrap();
        writer
            .put(SHEET_FILE, &serde_json::to_vec(sheet).unwrap())
            .unwrap();
        writer.seal(Manifest::default()).unwrap();
    }

    #[test]
    fn many_captures_are_judged_as_each_would_be_alone() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open_or_create(folder.path()).unwrap();
        // More than one piece of one process, and one of another that lies between.
        for hour in 0..22 {
            put(&archive, &sheet(7, hour));
        }
        for hour in 0..3 {
            put(&archive, &sheet(8, hour));
        }
        let bundles = archive.list(&Filter::default()).unwrap().bundles;
        let rules = ServiceRules::from(RuleSet::shipped());
        let mut shares = Vec::new();
        let outcomes = rerun(
            &archive,
            &bundles,
            &rules,
            &Options::default(),
            &mut |share, _| {
                shares.push(share);
            },
        );
        assert_eq!(outcomes.len(), bundles.len());
        assert_eq!(shares.last(), Some(&1.0));
        for (bundle, outcome) in bundles.iter().zip(&outcomes) {
            let alone = read_sheet(&bundle.path().join(SHEET_FILE)).unwrap();
            let earlier = earlier_sheets(&archive, &alone);
            let expected = compare(None, &diagnose(alone, &earlier, rules.of("")).diagnosis);
            let key = bundle.id().key();
            let change = expected;
            let walked = false;
            assert_eq!(
                *outcome,
                Outcome::Judged {
                    key,
                    change,
                    walked
                }
            );
        }
        let grown = outcomes.iter().filter(|outcome| match outcome {
            Outcome::Judged {
                change: Some(change),
                ..
            } => change
                .appeared
                .iter()
                .any(|f| f.starts_with("static-root-growth Shop.Cart.Lines")),
            _ => false,
        });
        assert!(grown.count() >= 19);
    }

    #[test]
    fn what_was_stored_changes_nothing_the_next_time_and_has_its_facts() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open_or_create(folder.path()).unwrap();
        for hour in 0..4 {
            put(&archive, &sheet(7, hour));
        }
        let bundles = archive.list(&Filter::default()).unwrap().bundles;
        let rules = ServiceRules::from(RuleSet::shipped());
        let changed = |outcomes: Vec<Outcome>| {
            let changed = outcomes.iter().filter(|outcome| {
                matches!(
                    outcome,
                    Outcome::Judged {
                        change: Some(_),
                        ..
                    }
                )
            });
            changed.count()
        };
        let writing = Options {
            write: true,
            ..Options::default()
        };
        // Only the last one: what came before it counts all the same.
        let last = &bundles[3..];
        assert_eq!(
            changed(rerun(&archive, last, &rules, &writing, &mut |_, _| {})),
            1
        );
        assert_eq!(
            changed(rerun(&archive, last, &rules, &writing, &mut |_, _| {})),
            0
        );
        let stored: Diagnosis = last[0].read_json(DIAGNOSIS_FILE).unwrap();
        assert!(stored.facts.contains_key("growing_statics"));
        assert_eq!(stored.findings[0].rule, "static-root-growth");
        assert_eq!(
            changed(rerun(&archive, &bundles, &rules, &writing, &mut |_, _| {})),
            3
        );
    }

    #[test]
    fn a_dump_is_walked_again_only_when_its_sheet_did_not_know_a_fact_that_a_rule_asks_for() {
        let rules = RuleSet::shipped();
        let earlier: [&FactSheet; 0] = [];
        // The sheet has no handles, and says nothing about why.
        let old = diagnose::assess(sheet(7, 0), &earlier, &rules);
        assert!(lacks_facts(&old));
        let mut today = sheet(7, 0);
        today.vocabulary = vocabulary::fingerprint().to_owned();
        assert!(!lacks_facts(&diagnose::assess(today, &earlier, &rules)));
        // Growth comes from other captures, not from the dump.
        let growth_only = RuleSet::parse([(
            "own.toml",
            "id = 'own'\ncategory = 'retained-growth'\nrole = 'symptom'\ntitle = 'Grows'\nmessage = 'Grows'\n\
             culprit = 'heap'\nwhen = 'growth.managed > 1 GB'\nadvice = ['Look']",
        )])
        .unwrap();
        assert!(!lacks_facts(&diagnose::assess(
            sheet(7, 0),
            &earlier,
            &growth_only
        )));
    }

    #[test]
    fn a_stopped_run_keeps_what_it_did() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open_or_create(folder.path()).unwrap();
        // More pieces than are worked between two looks at the flag.
        for pid in 1..40 {
            put(&archive, &sheet(pid, 0));
        }
        let bundles = archive.list(&Filter::default()).unwrap().bundles;
        let options = Options {
            write: true,
            ..Options::default()
        };
        let stop = options.stop.clone();
        let rules = ServiceRules::from(RuleSet::shipped());
        let some = rerun(&archive, &bundles, &rules, &options, &mut |_, _| {
            stop.store(true, Ordering::Relaxed);
        });
        assert!(!some.is_empty() && some.len() < bundles.len());
        options.stop.store(false, Ordering::Relaxed);
        let all = rerun(&archive, &bundles, &rules, &options, &mut |_, _| {});
        let changed = all.iter().filter(|outcome| {
            matches!(
                outcome,
                Outcome::Judged {
                    change: Some(_),
                    ..
                }
            )
        });
        assert_eq!(changed.count(), bundles.len() - some.len());
    }
}

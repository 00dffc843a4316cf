//! Archived sheets judged again: what today's rules say, and what that changes.

use crate::case::read_sheet;
use crate::diagnose::{diagnose, earlier_sheets};
use crate::worker;
use leakhound_archive::bundle::{DIAGNOSIS_FILE, SHEET_FILE};
use leakhound_archive::{Archive, Bundle};
use leakhound_rules::{Diagnosis, RuleSet, Verdict};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeSet;

/// Bundles between two reports of progress.
const PROGRESS_STEP: usize = 64;

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
    },
    /// It could not be judged.
    Failed {
        /// Key of the bundle.
        key: String,
        /// Why, for the user.
        reason: String,
    },
}

/// Judges every bundle's sheet again, in parallel, in the order given; with `write`, changed diagnoses are stored.
pub fn rerun(
    archive: &Archive,
    bundles: &[Bundle],
    rules: &RuleSet,
    write: bool,
    progress: &mut dyn FnMut(f64),
) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(bundles.len());
    for part in bundles.chunks(PROGRESS_STEP) {
        outcomes.par_extend(part.par_iter().map(|b| one(archive, b, rules, write)));
        progress(outcomes.len() as f64 / bundles.len().max(1) as f64);
    }
    outcomes
}

fn one(archive: &Archive, bundle: &Bundle, rules: &RuleSet, write: bool) -> Outcome {
    let key = bundle.id().key();
    let failed = |reason: String| Outcome::Failed {
        key: key.clone(),
        reason,
    };
    if !bundle.has(SHEET_FILE) {
        return failed("it has no fact sheet; `leakhound triage` on its dump makes one".to_owned());
    }
    let sheet = match read_sheet(&bundle.path().join(SHEET_FILE)) {
        Ok(sheet) => sheet,
        Err(error) => return failed(error.to_string()),
    };
    let earlier = earlier_sheets(archive, &sheet);
    let judged = diagnose(sheet, &earlier, rules);
    let before: Option<Diagnosis> = bundle.read_json(DIAGNOSIS_FILE).ok();
    let change = compare(before.as_ref(), &judged.diagnosis);
    if write
        && change.is_some()
        && let Err(error) = worker::store(archive, bundle, &judged)
    {
        return failed(error.to_string());
    }
    Outcome::Judged { key, change }
}

/// What differs between two diagnoses; `None` when they say the same.
#[must_use]
pub fn compare(before: Option<&Diagnosis>, after: &Diagnosis) -> Option<Change> {
    let short = |d: &Diagnosis| Short {
        verdict: d.verdict,
        headline: d.headline.clone(),
    };
    let findings = |d: &Diagnosis| -> BTreeSet<String> {
        let name = |f: &leakhound_rules::Finding| match f.culprit.as_str() {
            "" => format!("{} ({})", f.rule, f.severity),
            culprit => format!("{} {culprit} ({})", f.rule, f.severity),
        };
        d.findings.iter().map(name).collect()
    };
    let old = before.map(findings).unwrap_or_default();
    let new = findings(after);
    let same = before.is_some_and(|b| b.verdict == after.verdict && b.headline == after.headline);
    if same && old == new {
        return None;
    }
    Some(Change {
        before: before.map(short),
        after: short(after),
        appeared: new.difference(&old).cloned().collect(),
        disappeared: old.difference(&new).cloned().collect(),
    })
}

//! Archived sheets judged again: what today's rules say, and what that changes.
//!
//! The captures of one process lie beside each other and are judged in order, so that a sheet that growth looks back on is read
//! once, not once for each capture after it.

use crate::case::read_sheet;
use crate::diagnose::{self, Judged, LOOK_BACK};
use crate::facts::growth;
use crate::worker;
use leakhound_archive::bundle::{DIAGNOSIS_FILE, SHEET_FILE};
use leakhound_archive::{Archive, Bundle};
use leakhound_rules::{Diagnosis, FactSheet, RuleSet, Severity, Verdict};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Pieces of work between two reports of progress.
const PROGRESS_STEP: usize = 16;
/// Captures of one process that one thread judges in a row; the next piece reads its predecessors again.
const PIECE: usize = if cfg!(test) { 10 } else { 64 };

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

/// What an archived diagnosis says, without its facts, which are most of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Said {
    verdict: Verdict,
    headline: String,
    findings: Vec<SaidFinding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct SaidFinding {
    rule: String,
    culprit: String,
    severity: Severity,
}

impl Said {
    fn of(diagnosis: &Diagnosis) -> Self {
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

    fn short(&self) -> Short {
        Short {
            verdict: self.verdict,
            headline: self.headline.clone(),
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let name = |finding: &SaidFinding| match finding.culprit.as_str() {
            "" => format!("{} ({})", finding.rule, finding.severity),
            culprit => format!("{} {culprit} ({})", finding.rule, finding.severity),
        };
        self.findings.iter().map(name).collect()
    }
}

/// Judges every bundle's sheet again, in parallel; outcomes are in the order given. With `write`, changed diagnoses are stored.
pub fn rerun(
    archive: &Archive,
    bundles: &[Bundle],
    rules: &RuleSet,
    write: bool,
    progress: &mut dyn FnMut(f64),
) -> Vec<Outcome> {
    let pieces = pieces(archive, bundles);
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    for part in pieces.chunks(PROGRESS_STEP) {
        let judged: Vec<Vec<(usize, Outcome)>> = part
            .par_iter()
            .map(|piece| judge_piece(archive, piece, rules, write))
            .collect();
        outcomes.extend(judged.into_iter().flatten());
        progress(outcomes.len() as f64 / bundles.len().max(1) as f64);
    }
    outcomes.into_values().collect()
}

/// Captures of one process in order of time; those that are wanted, with their place among all.
type Piece = Vec<(Bundle, Option<usize>)>;

fn pieces(archive: &Archive, bundles: &[Bundle]) -> Vec<Piece> {
    let wanted: HashMap<String, usize> = (0..)
        .zip(bundles)
        .map(|(place, bundle)| (bundle.id().key(), place))
        .collect();
    let services: BTreeSet<&str> = bundles.iter().map(|bundle| bundle.id().service()).collect();
    let mut archived: Vec<Bundle> = Vec::new();
    for service in services {
        match archive.sheets(service) {
            Ok(found) => archived.extend(found),
            Err(error) => {
                tracing::warn!(%error, "Earlier captures cannot be listed; growth stays unknown");
            }
        }
    }
    let known: BTreeSet<String> = archived.iter().map(|bundle| bundle.id().key()).collect();
    let unlisted = bundles
        .iter()
        .filter(|bundle| !known.contains(&bundle.id().key()));
    archived.extend(unlisted.cloned());
    let mut processes: BTreeMap<(String, String, u32), Piece> = BTreeMap::new();
    for bundle in archived {
        let id = bundle.id();
        let process = (id.service().to_owned(), id.node().to_owned(), id.pid());
        let place = wanted.get(&id.key()).copied();
        processes.entry(process).or_default().push((bundle, place));
    }
    let mut pieces = Vec::new();
    for captures in processes.into_values() {
        for start in (0..captures.len()).step_by(PIECE) {
            let lead = start.saturating_sub(LOOK_BACK);
            let end = captures.len().min(start + PIECE);
            let own = captures[lead..start]
                .iter()
                .map(|(bundle, _)| (bundle.clone(), None))
                .chain(captures[start..end].iter().cloned());
            let own: Piece = own.collect();
            // What comes after the last that is wanted is of no use.
            if let Some(last) = own.iter().rposition(|(_, place)| place.is_some()) {
                pieces.push(own.into_iter().take(last + 1).collect());
            }
        }
    }
    pieces
}

fn judge_piece(
    archive: &Archive,
    piece: &[(Bundle, Option<usize>)],
    rules: &RuleSet,
    write: bool,
) -> Vec<(usize, Outcome)> {
    let mut earlier: VecDeque<FactSheet> = VecDeque::new();
    let first = piece.iter().position(|(_, place)| place.is_some());
    let skipped = first.unwrap_or(piece.len()).saturating_sub(LOOK_BACK);
    let mut outcomes = Vec::new();
    for (bundle, place) in &piece[skipped..] {
        let sheet = match sheet_of(bundle) {
            Ok(sheet) => sheet,
            Err(reason) => {
                match place {
                    Some(place) => outcomes.push((
                        *place,
                        Outcome::Failed {
                            key: bundle.id().key(),
                            reason,
                        },
                    )),
                    None => tracing::warn!(reason, "An earlier sheet is skipped"),
                }
                continue;
            }
        };
        let sheet = match place {
            None => sheet,
            Some(place) => {
                let (outcome, sheet) = judge_one(
                    archive,
                    bundle,
                    sheet,
                    earlier.make_contiguous(),
                    rules,
                    write,
                );
                outcomes.push((*place, outcome));
                sheet
            }
        };
        if earlier.len() == LOOK_BACK {
            earlier.pop_front();
        }
        earlier.push_back(sheet);
    }
    outcomes
}

fn sheet_of(bundle: &Bundle) -> Result<FactSheet, String> {
    if !bundle.has(SHEET_FILE) {
        return Err("it has no fact sheet; `leakhound triage` on its dump makes one".to_owned());
    }
    read_sheet(&bundle.path().join(SHEET_FILE)).map_err(|error| error.to_string())
}

/// Judges one sheet, and gives it back without its growth.
fn judge_one(
    archive: &Archive,
    bundle: &Bundle,
    sheet: FactSheet,
    earlier: &[FactSheet],
    rules: &RuleSet,
    write: bool,
) -> (Outcome, FactSheet) {
    let key = bundle.id().key();
    let same: Vec<&FactSheet> = earlier
        .iter()
        .filter(|earlier| diagnose::is_earlier_of_same_process(earlier, &sheet))
        .collect();
    let mut judged = diagnose::assess(sheet, &same, rules);
    let before: Option<Said> = bundle.read_json(DIAGNOSIS_FILE).ok();
    let change = compare(before.as_ref(), &judged.diagnosis);
    let stored = if write && change.is_some() {
        // Only what is stored needs a copy of every fact.
        let whole = Judged {
            diagnosis: leakhound_rules::judge(&judged.sheet, rules),
            ..judged.clone()
        };
        worker::store(archive, bundle, &whole)
    } else {
        Ok(())
    };
    growth::erase(&mut judged.sheet);
    let outcome = match stored {
        Ok(()) => Outcome::Judged { key, change },
        Err(error) => Outcome::Failed {
            key,
            reason: error.to_string(),
        },
    };
    (outcome, judged.sheet)
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
        let rules = RuleSet::shipped();
        let mut shares = Vec::new();
        let outcomes = rerun(&archive, &bundles, &rules, false, &mut |share| {
            shares.push(share)
        });
        assert_eq!(outcomes.len(), bundles.len());
        assert_eq!(shares.last(), Some(&1.0));
        for (bundle, outcome) in bundles.iter().zip(&outcomes) {
            let alone = read_sheet(&bundle.path().join(SHEET_FILE)).unwrap();
            let earlier = earlier_sheets(&archive, &alone);
            let expected = compare(None, &diagnose(alone, &earlier, &rules).diagnosis);
            let key = bundle.id().key();
            let change = expected;
            assert_eq!(*outcome, Outcome::Judged { key, change });
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
        let rules = RuleSet::shipped();
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
        // Only the last one: what came before it counts all the same.
        let last = &bundles[3..];
        assert_eq!(changed(rerun(&archive, last, &rules, true, &mut |_| {})), 1);
        assert_eq!(changed(rerun(&archive, last, &rules, true, &mut |_| {})), 0);
        let stored: Diagnosis = last[0].read_json(DIAGNOSIS_FILE).unwrap();
        assert!(stored.facts.contains_key("growing_statics"));
        assert_eq!(stored.findings[0].rule, "static-root-growth");
        assert_eq!(
            changed(rerun(&archive, &bundles, &rules, true, &mut |_| {})),
            3
        );
    }
}

//! A fact sheet, what came before it, and the rules: one diagnosis. Pure but for reading earlier sheets.

use crate::case::read_sheet;
use crate::facts::growth;
use leakhound_archive::bundle::SHEET_FILE;
use leakhound_archive::{Archive, Bundle};
use leakhound_rules::{Diagnosis, FactSheet, Known, RuleSet};
use std::borrow::Borrow;

/// Earlier captures that growth looks back on; more would make old history outvote today's.
pub const LOOK_BACK: usize = 8;

/// A diagnosis and the sheet that was judged, growth included.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The sheet with its growth facts.
    pub sheet: FactSheet,
    /// What the rules said about it.
    pub diagnosis: Diagnosis,
}

/// As [`diagnose`], with the diagnosis' copy of the facts left empty: for judging many sheets.
#[must_use]
pub fn assess(mut sheet: FactSheet, earlier: &[impl Borrow<FactSheet>], rules: &RuleSet) -> Judged {
    growth::write(earlier, &mut sheet);
    let diagnosis = leakhound_rules::assess(&sheet, rules, Known::default());
    Judged { sheet, diagnosis }
}

/// Judges `sheet` in the light of `earlier` sheets of the same service, oldest first.
#[must_use]
pub fn diagnose(mut sheet: FactSheet, earlier: &[FactSheet], rules: &RuleSet) -> Judged {
    growth::write(earlier, &mut sheet);
    let diagnosis = leakhound_rules::judge(&sheet, rules);
    Judged { sheet, diagnosis }
}

/// The archived sheets that growth of `sheet` can be measured against: the same process on the same node, earlier.
///
/// A process that was restarted starts small again, and replicas of a service differ in load; neither says anything about
/// the growth of this one.
#[must_use]
pub fn earlier_sheets(archive: &Archive, sheet: &FactSheet) -> Vec<FactSheet> {
    let bundles: Vec<Bundle> = match archive.sheets(&sheet.subject.service) {
        Ok(bundles) => bundles,
        Err(error) => {
            tracing::warn!(%error, "Earlier captures cannot be listed; growth stays unknown");
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for bundle in bundles.iter().rev() {
        if found.len() == LOOK_BACK {
            break;
        }
        if bundle.id().pid() != sheet.subject.pid {
            continue;
        }
        match read_sheet(&bundle.path().join(SHEET_FILE)) {
            Ok(earlier) if is_earlier_of_same_process(&earlier, sheet) => found.push(earlier),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "An earlier sheet is skipped"),
        }
    }
    found.reverse();
    found
}

/// Whether growth of `sheet` can be measured against `earlier`.
#[must_use]
pub fn is_earlier_of_same_process(earlier: &FactSheet, sheet: &FactSheet) -> bool {
    let (a, b) = (&earlier.subject, &sheet.subject);
    a.pid == b.pid
        && a.node == b.node
        && a.process_started == b.process_started
        && match (a.captured_at_ms, b.captured_at_ms) {
            (Some(then), Some(now)) => {
                then < now && b.baseline_at_ms.is_none_or(|first| then >= first)
            }
            _ => false,
        }
}

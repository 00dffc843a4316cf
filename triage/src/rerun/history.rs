//! Archived captures with what came before them, in parallel.
//!
//! The captures of one process lie beside each other and are looked at in order, so that a sheet that growth looks back on is read
//! once, not once for each capture after it.

use crate::case::read_part;
use crate::diagnose::{self, LOOK_BACK};
use crate::facts::growth;
use crate::service_rules::ServiceRules;
use leakhound_archive::bundle::SHEET_FILE;
use leakhound_archive::{Archive, Bundle};
use leakhound_rules::FactSheet;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Pieces of work between two reports of progress.
const PROGRESS_STEP: usize = 16;
/// Captures of one process that one thread looks at in a row; the next piece reads its predecessors again.
const PIECE: usize = if cfg!(test) { 10 } else { 64 };

/// Captures of one process in order of time; those that are wanted, with their place among all.
type Piece = Vec<(Bundle, Option<usize>)>;

/// One capture as it is looked at.
pub(crate) struct Capture<'c> {
    /// Its bundle.
    pub bundle: &'c Bundle,
    /// Its sheet, without growth and with the lists alone for which growth or the rules ask; or why there is none.
    pub sheet: Result<FactSheet, String>,
    /// Sheets of the same process before it, oldest first.
    pub earlier: Vec<&'c FactSheet>,
}

/// Looks at every bundle with `rules`; results are in the order given. `look` gives the sheet back, without growth, for those that come after.
/// `done` hears of the share that is done, and of what is new; when it returns false, no more are looked at.
pub(crate) fn each<T: Send>(
    archive: &Archive,
    bundles: &[Bundle],
    rules: &[&ServiceRules],
    look: impl Fn(Capture<'_>) -> (T, Option<FactSheet>) + Sync,
    done: &mut dyn FnMut(f64, &[T]) -> bool,
) -> Vec<T> {
    let asked: BTreeSet<&str> = rules.iter().flat_map(|rules| rules.lists()).collect();
    let wanted = |list: &str| asked.contains(list) || growth::compares(list);
    let pieces = pieces(archive, bundles);
    let mut results: BTreeMap<usize, T> = BTreeMap::new();
    let mut looked_at = 0;
    for part in pieces.chunks(PROGRESS_STEP) {
        let found: Vec<Vec<(usize, T)>> = part
            .par_iter()
            .map(|piece| look_through(piece, &wanted, &look))
            .collect();
        let (places, found): (Vec<usize>, Vec<T>) = found.into_iter().flatten().unzip();
        looked_at += found.len();
        let go_on = done(looked_at as f64 / bundles.len().max(1) as f64, &found);
        results.extend(places.into_iter().zip(found));
        if !go_on {
            break;
        }
    }
    results.into_values().collect()
}

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

fn look_through<T>(
    piece: &[(Bundle, Option<usize>)],
    wanted: &dyn Fn(&str) -> bool,
    look: &impl Fn(Capture<'_>) -> (T, Option<FactSheet>),
) -> Vec<(usize, T)> {
    let mut before: VecDeque<FactSheet> = VecDeque::new();
    let first = piece.iter().position(|(_, place)| place.is_some());
    let skipped = first.unwrap_or(piece.len()).saturating_sub(LOOK_BACK);
    let mut results = Vec::new();
    for (bundle, place) in &piece[skipped..] {
        let sheet = sheet_of(bundle, wanted);
        let sheet = match (place, sheet) {
            (None, Ok(sheet)) => Some(sheet),
            (None, Err(reason)) => {
                tracing::warn!(reason, "An earlier sheet is skipped");
                None
            }
            (Some(place), sheet) => {
                let same = |earlier: &&FactSheet| {
                    sheet
                        .as_ref()
                        .is_ok_and(|sheet| diagnose::is_earlier_of_same_process(earlier, sheet))
                };
                let earlier = before.iter().filter(same).collect();
                let (result, sheet) = look(Capture {
                    bundle,
                    sheet,
                    earlier,
                });
                results.push((*place, result));
                sheet
            }
        };
        if let Some(sheet) = sheet {
            if before.len() == LOOK_BACK {
                before.pop_front();
            }
            before.push_back(sheet);
        }
    }
    results
}

fn sheet_of(bundle: &Bundle, wanted: &dyn Fn(&str) -> bool) -> Result<FactSheet, String> {
    if !bundle.has(SHEET_FILE) {
        return Err("it has no fact sheet; `leakhound triage` on its dump makes one".to_owned());
    }
    read_part(&bundle.path().join(SHEET_FILE), wanted).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_archive::{Filter, Manifest};
    use leakhound_rules::vocabulary::{FACTS, Kind, LISTS, Scope};
    use leakhound_rules::{RuleSet, Value};

    /// A sheet in which every fact and every list stands, numbers `times` as large as the first time.
    fn everything(times: i64) -> FactSheet {
        let value = |kind: Kind, row: i64| match kind {
            Kind::Bytes | Kind::Count | Kind::Duration => Value::Int(times * 1_000_000_000 / row),
            Kind::Ratio => Value::Float(0.9),
            Kind::BytesPerHour | Kind::CountPerHour | Kind::Number => Value::Float(1e9),
            Kind::Bool => Value::Bool(row % 2 == 0),
            Kind::Text => Value::Text(format!("Shop.Part{row}")),
            Kind::Texts => Value::Texts(vec!["Shop.Root".to_owned(), format!("Shop.Part{row}")]),
        };
        let mut sheet = FactSheet {
            schema: leakhound_rules::sheet::SHEET_SCHEMA,
            ..FactSheet::default()
        };
        sheet.subject.service = "Shop.Cart".to_owned();
        sheet.subject.node = "node-1".to_owned();
        sheet.subject.pid = 7;
        sheet.subject.captured_at_ms = Some(1_790_000_000_000 + times * 3_600_000);
        for fact in FACTS.iter().filter(|fact| fact.scope != Scope::Growth) {
            sheet
                .facts
                .insert(fact.name.to_owned(), value(fact.kind, 1));
        }
        for list in LISTS.iter().filter(|list| list.scope != Scope::Growth) {
            let row = |row| {
                let columns = list.columns.iter();
                columns
                    .map(|(name, kind, _)| ((*name).to_owned(), value(*kind, row)))
                    .collect()
            };
            sheet
                .lists
                .insert(list.name.to_owned(), (1..=3).map(row).collect());
        }
        sheet
    }

    #[test]
    fn what_is_stepped_over_changes_no_judgement() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open_or_create(folder.path()).unwrap();
        let sheets = [everything(1), everything(2)];
        for sheet in &sheets {
            let subject = &sheet.subject;
            let at = jiff::Timestamp::from_millisecond(subject.captured_at_ms.unwrap()).unwrap();
            let writer = archive.begin(&subject.service, at, &subject.node, subject.pid);
            let writer = writer.unwrap();
            let json = serde_json::to_vec(sheet).unwrap();
            writer.put(SHEET_FILE, &json).unwrap();
            writer.seal(Manifest::default()).unwrap();
        }
        let bundles = archive.list(&Filter::default()).unwrap().bundles;
        let rules = RuleSet::shipped();
        let judged = each(
            &archive,
            &bundles,
            &[&ServiceRules::from(rules.clone())],
            |capture| {
                let sheet = capture.sheet.unwrap();
                let n_lists = sheet.lists.len();
                let judged = diagnose::assess(sheet, &capture.earlier, &rules);
                let mut sheet = judged.sheet;
                growth::erase(&mut sheet);
                ((judged.diagnosis, n_lists), Some(sheet))
            },
            &mut |_, _| true,
        );
        for (at, (diagnosis, n_lists)) in judged.iter().enumerate() {
            assert!(*n_lists < sheets[at].lists.len(), "{n_lists}");
            let whole = diagnose::assess(sheets[at].clone(), &sheets[..at], &rules);
            assert!(whole.diagnosis.findings.len() > 20);
            assert_eq!(*diagnosis, whole.diagnosis);
        }
    }
}

//! How well the capture could be read: a report that hides its gaps is not worth much.

use leakhound_rules::diagnosis::{Diagnosis, Verdict};
use leakhound_rules::sheet::{Completeness, FactSheet};
use serde::Serialize;

use super::{Cut, name, sentence};
use crate::report::amount;

const PROBLEMS_MAX: usize = 10;
const NOT_JUDGED_MAX: usize = 20;
const UNKNOWN_MAX: usize = 40;

/// Below this share of the heap, its numbers are lower bounds that a reader must know about at once.
const HEAP_GOOD: f64 = 0.99;

/// How well the capture could be read.
#[derive(Debug, Clone, Serialize)]
pub struct Reading {
    /// `heap 100%, names 100%, references 99.9%`; empty when nothing is known.
    pub summary: String,
    /// What a reader must know before the findings; empty when the reading is good.
    pub alerts: Vec<String>,
    /// What could not be read.
    pub problems: Cut<String>,
    /// Rules that could not be judged, each with what was missing.
    pub not_judged: Cut<(String, String)>,
    /// Facts that are unknown, each with the reason.
    pub unknown: Cut<(String, String)>,
}

impl Reading {
    /// Works out what to show.
    #[must_use]
    pub fn new(diagnosis: &Diagnosis, sheet: &FactSheet) -> Self {
        let completeness = &diagnosis.completeness;
        let unknown: Vec<(&String, &String)> = sheet.unknown.iter().collect();
        Self {
            summary: summary(completeness),
            alerts: alerts(completeness, diagnosis.verdict),
            problems: Cut::first(&completeness.problems, PROBLEMS_MAX, |text| sentence(text)),
            not_judged: Cut::first(&diagnosis.not_judged, NOT_JUDGED_MAX, |rule| {
                let mut missing = rule.missing.clone();
                missing.truncate(PROBLEMS_MAX);
                (name(&rule.rule), sentence(&missing.join("; ")))
            }),
            unknown: Cut::first(&unknown, UNKNOWN_MAX, |(fact, why)| {
                (name(fact), sentence(why))
            }),
        }
    }
}

fn summary(completeness: &Completeness) -> String {
    let parts = [
        ("heap", completeness.heap),
        ("names", completeness.names),
        ("references", completeness.references),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter_map(|(what, share)| Some(format!("{what} {}", amount::share(share?))))
        .collect();
    parts.join(", ")
}

fn alerts(completeness: &Completeness, verdict: Verdict) -> Vec<String> {
    let mut alerts = Vec::new();
    if let Some(heap) = completeness.heap.filter(|heap| *heap < HEAP_GOOD) {
        alerts.push(format!(
            "Only {} of the managed heap could be read; its numbers are lower bounds.",
            amount::share(heap)
        ));
    }
    if completeness.during_gc == Some(true) {
        alerts.push("The capture was taken while a garbage collection moved objects; parts of the heap may be inconsistent.".to_owned());
    }
    if verdict == Verdict::Unreliable && alerts.is_empty() {
        alerts.push("The capture could not be read well enough to trust what follows.".to_owned());
    }
    alerts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_reading_raises_no_alert() {
        let good = Completeness {
            heap: Some(1.0),
            during_gc: Some(false),
            ..Completeness::default()
        };
        assert!(alerts(&good, Verdict::Leak).is_empty());
        let torn = Completeness {
            heap: Some(0.81),
            during_gc: Some(true),
            ..Completeness::default()
        };
        assert_eq!(alerts(&torn, Verdict::Leak).len(), 2);
        assert_eq!(alerts(&good, Verdict::Unreliable).len(), 1);
    }
}

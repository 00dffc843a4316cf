//! Confidence against being right, over the first finding of each run that alarms.
//!
//! Runs of one service on eight runtimes are no eight observations: they are right or wrong together. So a service counts once in
//! each group, with the share of its runs that are right, and the interval is that of so many services (Wilson's, 95 %).

use crate::score::Outcome;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Groups of confidence, both ends included.
const GROUPS: [(u64, u64); 5] = [(0, 69), (70, 79), (80, 89), (90, 94), (95, 100)];

/// 1.96 standard deviations: 95 %.
const DEVIATIONS: f64 = 1.96;

/// What one group said and how right it was.
struct Group {
    services: usize,
    runs: usize,
    /// Mean confidence, a service counting once.
    said: f64,
    /// Share that is right, a service counting once.
    right: f64,
}

impl Group {
    fn of(outcomes: &[&Outcome]) -> Option<Self> {
        let mut by_service: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
        for outcome in outcomes {
            by_service
                .entry(&outcome.service)
                .or_default()
                .push(outcome);
        }
        let mean = |value: fn(&Outcome) -> f64| {
            let of_services = by_service
                .values()
                .map(|runs| runs.iter().map(|run| value(run)).sum::<f64>() / runs.len() as f64);
            of_services.sum::<f64>() / by_service.len() as f64
        };
        (!outcomes.is_empty()).then(|| Self {
            services: by_service.len(),
            runs: outcomes.len(),
            said: mean(|run| run.confidence.unwrap_or_default() as f64 / 100.0),
            right: mean(|run| f64::from(u8::from(run.alarm_right))),
        })
    }

    /// Wilson's score interval.
    fn interval(&self) -> (f64, f64) {
        let (n, p, z) = (self.services as f64, self.right, DEVIATIONS);
        let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        ((middle - half).max(0.0), (middle + half).min(1.0))
    }
}

/// The table: the corpus by groups, then the services held out, which are too few for groups, as they were at first.
pub fn table(all: &[Outcome], held_out: &[Outcome]) -> String {
    let mut text = String::from(
        "| confidence | services | runs | said, on average | right | 95 % interval | |\n|---|---|---|---|---|---|---|\n",
    );
    let said = |outcomes: &[Outcome]| -> Vec<Outcome> {
        let alarming = outcomes.iter().filter(|o| o.confidence.is_some());
        alarming.cloned().collect()
    };
    let is_held_out = |o: &&Outcome| held_out.iter().any(|first| first.service == o.service);
    let corpus = said(all);
    for (from, to) in GROUPS {
        let group: Vec<&Outcome> = corpus
            .iter()
            .filter(|o| !is_held_out(o))
            .filter(|o| o.confidence.is_some_and(|c| (from..=to).contains(&c)))
            .collect();
        row(&mut text, &format!("{from} to {to}"), &group);
    }
    let first = said(held_out);
    row(
        &mut text,
        "held out, first run",
        &first.iter().collect::<Vec<_>>(),
    );
    text
}

fn row(text: &mut String, name: &str, outcomes: &[&Outcome]) {
    let Some(group) = Group::of(outcomes) else {
        let _ = writeln!(text, "| {name} | 0 | 0 | – | – | – | |");
        return;
    };
    let (low, high) = group.interval();
    let verdict = match group.said {
        said if said < low => "too careful",
        said if said > high => "too sure",
        _ => "fits",
    };
    let _ = writeln!(
        text,
        "| {name} | {} | {} | {:.0}% | {:.1}% | {:.0}% to {:.0}% | {verdict} |",
        group.services,
        group.runs,
        group.said * 100.0,
        group.right * 100.0,
        low * 100.0,
        high * 100.0
    );
}

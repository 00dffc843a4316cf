//! The past of a process and of its service, in a fixed amount of memory.
//!
//! Two parts. *Recent* samples belong to one process: the last 360 of every fact that its triggers name, exact,
//! 16 bytes each. The *long* window belongs to the service, whatever its processes are called today: buckets of
//! 15 minutes for 7 days, kept in the archive's state database, so that "four times the average of 7 days"
//! survives restarts of the service and of the collector. It holds the facts over which triggers ask for
//! windows, 13 kB each, so a service with one process and two windows takes about 60 kB.

mod store;
mod window;

pub use store::HistoryStore;
pub use window::{BUCKET_MS, Long, RECENT_SAMPLES, Recent};

use crate::sample::Facts;
use crate::siblings::Others;
use leakhound_rules::{History, Measured, Statistic, Trigger};
use std::collections::BTreeMap;

/// Facts of which recent samples are kept at most, per process.
pub const MAX_RECENT: usize = 12;
/// Facts of which a long window is kept at most, per service.
pub const MAX_LONG: usize = 6;
/// Facts that are always kept: manifests show them, and `time_to_limit` needs the last one.
const ALWAYS: [&str; 4] = ["private_bytes", "rss", "threads", "limit_used"];
/// Shortest past from which a slope is taken.
const SLOPE_MIN_MS: u64 = 30_000;
/// A slope that is smaller than this does not count as growth.
const SLOPE_MIN_BYTES_PER_H: f64 = 1e6;

/// The facts whose past a service needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// Exactly, per process.
    pub recent: Vec<&'static str>,
    /// For 7 days, per service.
    pub long: Vec<&'static str>,
}

impl Keep {
    /// What these triggers ask about, and what is always kept.
    #[must_use]
    pub fn of(triggers: &[Trigger]) -> Self {
        let mut keep = Self {
            recent: ALWAYS.to_vec(),
            long: vec!["private_bytes"],
        };
        for window in triggers.iter().flat_map(Trigger::windows) {
            add(&mut keep.long, window.fact, MAX_LONG);
            add(&mut keep.recent, window.fact, MAX_RECENT);
        }
        for fact in triggers.iter().flat_map(Trigger::facts) {
            add(&mut keep.recent, fact.name, MAX_RECENT);
        }
        keep
    }
}

fn add(list: &mut Vec<&'static str>, fact: &'static str, most: usize) {
    if list.len() < most && !list.contains(&fact) {
        list.push(fact);
    }
}

/// The long window of one service.
#[derive(Debug, Default)]
pub struct ServiceHistory {
    facts: BTreeMap<&'static str, Long>,
}

impl ServiceHistory {
    /// Adds a sample of any process of the service.
    pub fn add(&mut self, keep: &[&'static str], facts: &Facts, now_ms: i64) {
        for name in keep {
            if let Some(value) = facts.get(name) {
                self.facts.entry(name).or_default().add(now_ms, value);
            }
        }
    }

    /// The window of a fact.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&Long> {
        self.facts.get(name)
    }
}

/// The recent samples of one process.
#[derive(Debug, Default)]
pub struct ProcessHistory {
    facts: BTreeMap<&'static str, Recent>,
}

impl ProcessHistory {
    /// Adds a sample.
    pub fn add(&mut self, keep: &[&'static str], facts: &Facts, now_ms: i64) {
        for name in keep {
            if let Some(value) = facts.get(name) {
                self.facts.entry(name).or_default().add(now_ms, value);
            }
        }
    }

    /// Samples of a fact, the oldest first: milliseconds since 1970 and value.
    pub fn samples(&self, name: &str) -> impl Iterator<Item = (i64, f64)> + '_ {
        self.facts.get(name).into_iter().flat_map(Recent::iter)
    }

    /// Milliseconds until the limit is reached if use grows on as it does; `None` when it does not grow.
    #[must_use]
    pub fn time_to_limit(&self, facts: &Facts) -> Option<f64> {
        let (limit, used) = (facts.get("limit")?, facts.get("limit_used")?);
        let recent = self.facts.get("limit_used")?;
        if recent.span_ms() < SLOPE_MIN_MS {
            return None;
        }
        let per_hour = recent.slope_per_ms()? * 3_600_000.0;
        if per_hour < SLOPE_MIN_BYTES_PER_H {
            return None;
        }
        Some(((limit - used) / per_hour * 3_600_000.0).max(0.0))
    }
}

/// What a trigger sees: the sample of now, the recent past of the process, the long past of its service.
#[derive(Debug)]
pub struct View<'a> {
    /// The sample of now.
    pub now: &'a Facts,
    /// Milliseconds since 1970 of that sample.
    pub now_ms: i64,
    /// The process.
    pub recent: &'a ProcessHistory,
    /// The service.
    pub long: &'a ServiceHistory,
    /// The other processes of the service.
    pub others: Others<'a>,
    /// Why facts are unknown, where that is known.
    pub reasons: &'a Reasons,
}

/// Why facts are unknown, by name.
pub type Reasons = BTreeMap<&'static str, String>;

impl History for View<'_> {
    fn now(&self, fact: &str) -> Option<f64> {
        self.now.get(fact)
    }

    fn siblings(&self, fact: &str) -> Option<f64> {
        self.others.median(fact)
    }

    fn why_unknown(&self, fact: &str) -> Option<&str> {
        self.reasons.get(fact).map(String::as_str)
    }

    fn measure(&self, fact: &str, statistic: Statistic, window_ms: u64) -> Option<Measured> {
        let since = self
            .now_ms
            .saturating_sub(i64::try_from(window_ms).unwrap_or(i64::MAX));
        let recent = self.recent.facts.get(fact);
        // The exact samples serve as long as they reach back far enough, or as far as anything does.
        let exact = recent.and_then(|r| r.measure(statistic, since));
        if recent.is_some_and(|r| r.oldest_ms().is_some_and(|oldest| oldest <= since)) {
            return exact;
        }
        let long = self
            .long
            .facts
            .get(fact)
            .and_then(|l| l.measure(statistic, since, self.now_ms));
        match (exact, long) {
            (Some(e), Some(l)) if e.covered_ms >= l.covered_ms => Some(e),
            (e, l) => l.or(e),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    fn facts(private: f64) -> Facts {
        let mut facts = Facts::default();
        facts.set("private_bytes", private);
        facts
    }

    #[test]
    fn four_times_the_average_of_seven_days_fires_on_a_new_process_too() {
        let trigger = Trigger::parse("private_bytes > 4 * average(private_bytes, 7 days)").unwrap();
        let keep = Keep::of(std::slice::from_ref(&trigger)).long;
        let mut long = ServiceHistory::default();
        let start = 1_700_000_000_000_i64;
        for at in (0..7 * DAY).step_by(60_000) {
            long.add(&keep, &facts(400e6), start + at);
        }
        // The process restarted a moment ago: its own past is empty.
        let recent = ProcessHistory::default();
        let check = |value: f64| {
            let now = facts(value);
            let view = View {
                now: &now,
                now_ms: start + 7 * DAY,
                recent: &recent,
                long: &long,
                others: Others::default(),
                reasons: &Reasons::new(),
            };
            trigger.check(&view, &mut trigger.clocks(), 0)
        };
        assert_eq!(check(1.5e9).truth, leakhound_rules::Truth::False);
        let fired = check(1.7e9);
        assert_eq!(fired.truth, leakhound_rules::Truth::True);
        assert!(
            fired.evidence.iter().any(|e| e.text.contains("400 MB")),
            "{:?}",
            fired.evidence
        );
    }

    #[test]
    fn a_short_past_is_unknown_not_an_average() {
        let trigger = Trigger::parse("private_bytes > 4 * average(private_bytes, 7 days)").unwrap();
        let keep = Keep::of(std::slice::from_ref(&trigger)).long;
        let (mut recent, mut long) = (ProcessHistory::default(), ServiceHistory::default());
        for second in 0..300 {
            let now = facts(if second < 5 { 1e6 } else { 1e9 });
            recent.add(&keep, &now, second * 1000);
            long.add(&keep, &now, second * 1000);
            let view = View {
                now: &now,
                now_ms: second * 1000,
                recent: &recent,
                long: &long,
                others: Others::default(),
                reasons: &Reasons::new(),
            };
            let decision = trigger.check(&view, &mut trigger.clocks(), 0);
            assert_ne!(
                decision.truth,
                leakhound_rules::Truth::True,
                "at {second} s"
            );
        }
    }

    #[test]
    fn time_to_limit_follows_the_slope_and_is_unknown_without_growth() {
        let mut history = ProcessHistory::default();
        let mut now = Facts::default();
        for second in 0..120 {
            now.set("limit", 2e9);
            now.set("limit_used", 1e9 + f64::from(second) * 1e6);
            history.add(&["limit_used"], &now, i64::from(second) * 1000);
        }
        let left = history.time_to_limit(&now).unwrap();
        assert!((left - 881_000.0).abs() < 2000.0, "{left}");
        let mut flat = ProcessHistory::default();
        for second in 0..120 {
            flat.add(&["limit_used"], &now, second * 1000);
        }
        assert_eq!(flat.time_to_limit(&now), None);
    }

    #[test]
    fn memory_is_bounded_whatever_is_added() {
        let mut long = ServiceHistory::default();
        let mut recent = ProcessHistory::default();
        for at in (0..60 * DAY).step_by(300_000) {
            long.add(
                &["rss"],
                &{
                    let mut f = Facts::default();
                    f.set("rss", 1.0);
                    f
                },
                at,
            );
            recent.add(
                &["rss"],
                &{
                    let mut f = Facts::default();
                    f.set("rss", 1.0);
                    f
                },
                at,
            );
        }
        assert_eq!(recent.samples("rss").count(), RECENT_SAMPLES);
        assert!(long.fact("rss").unwrap().bytes() <= 672 * 20);
    }
}

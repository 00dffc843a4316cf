//! Counters of running programs (EventCounters), for triggers that name them: `counter("System.Runtime/cpu-usage")`.
//!
//! The runtime is asked over its diagnostics socket to send their values, and sends them: no debugger, no profiler, nothing is
//! attached, no thread of the process waits for us. One session for each process, with all sources that its triggers name, read
//! by a thread of its own that sleeps in between; the watcher takes the last values from a board and waits for nobody. The
//! session ends when the process ends, when nobody asks any more, and when this program dies: the runtime closes it at the next
//! value that it cannot send.
//!
//! A value is known from the first that comes until three intervals have passed without another.

mod board;
#[cfg_attr(windows, path = "windows/counters.rs")]
mod session;

use crate::history::Reasons;
use crate::identity::Identity;
use crate::sample::Facts;
use board::Board;
use leakhound_rules::vocabulary::Counter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Processes of which counters are read at a time; each costs a thread.
pub const MAX_PROCESSES: usize = 64;
/// Counters that are read of a process.
pub const MAX_COUNTERS: usize = 64;
/// Runtimes take whole seconds everywhere, and sources send no oftener for less.
const EVERY_LEAST_S: u64 = 1;
/// Longest interval.
const EVERY_MOST_S: u64 = 3_600;
/// How long a counter may be unknown before somebody is told: a process that was just found answers after a while.
const PATIENCE: Duration = Duration::from_secs(10);

static PROCESSES: AtomicUsize = AtomicUsize::new(0);

/// The counters of one process, read for as long as this lives.
pub struct Counters {
    board: Arc<Board>,
    wanted: Vec<&'static Counter>,
    every: Duration,
}

/// What a thread that reads holds; its place is free when it ends.
struct Place;

impl Drop for Place {
    fn drop(&mut self) {
        PROCESSES.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    /// Begins to read these counters of a process, at the pace at which it is sampled but no faster than once a second.
    ///
    /// # Errors
    /// A sentence: too many processes, or no thread.
    pub fn watch(
        identity: &Identity,
        wanted: &[&'static Counter],
        every: Duration,
    ) -> Result<Self, String> {
        let taken = PROCESSES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
            (n < MAX_PROCESSES).then_some(n + 1)
        });
        if taken.is_err() {
            return Err(format!(
                "counters are read of {MAX_PROCESSES} processes at a time, and there are more"
            ));
        }
        let place = Place;
        let every = interval(every);
        let read = &wanted[..wanted.len().min(MAX_COUNTERS)];
        let board = Arc::new(Board::new(read, every));
        session::start(identity.clone(), Arc::clone(&board), place)
            .map_err(|error| format!("no thread for them could be started: {error}"))?;
        Ok(Self {
            board,
            wanted: wanted.to_vec(),
            every,
        })
    }

    /// Whether it does what [`Self::watch`] with these would do.
    #[must_use]
    pub fn does(&self, wanted: &[&'static Counter], every: Duration) -> bool {
        let names = |all: &[&'static Counter]| -> Vec<&'static str> {
            all.iter().map(|c| c.fact.name).collect()
        };
        self.every == interval(every) && names(&self.wanted) == names(wanted)
    }

    /// Adds the values that are known now, and why the others are not.
    pub fn read(&self, facts: &mut Facts, reasons: &mut Reasons, now: Instant) {
        for (counter, value) in self.wanted.iter().zip(self.board.read(now)) {
            match value {
                Ok(value) => facts.set(counter.fact.name, value),
                Err(why) => {
                    reasons.insert(counter.fact.name, why);
                }
            }
        }
        for counter in self.wanted.iter().skip(MAX_COUNTERS) {
            let why =
                format!("{MAX_COUNTERS} counters are read of a process, and triggers name more");
            reasons.insert(counter.fact.name, why);
        }
    }
}

/// Counters of one process that are unknown, for the log: each is told once, when it has been unknown for a while.
#[derive(Debug, Default)]
pub struct Unknown {
    /// Since when; `None` once it was told.
    since: BTreeMap<&'static str, Option<Instant>>,
}

impl Unknown {
    /// What is to be told now, with the reasons of this moment; the process is sampled each `every`.
    pub fn news(
        &mut self,
        reasons: &Reasons,
        every: Duration,
        now: Instant,
    ) -> Vec<(&'static str, String)> {
        let patience = PATIENCE.max(board::stale_after(interval(every)));
        self.since
            .retain(|name, since| since.is_none() || reasons.contains_key(name));
        let mut news = Vec::new();
        for (name, why) in reasons {
            let since = self.since.entry(name).or_insert(Some(now));
            if since.is_some_and(|since| now.saturating_duration_since(since) >= patience) {
                *since = None;
                news.push((*name, why.clone()));
            }
        }
        news
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        self.board.stop();
    }
}

/// The interval that is asked for where a process is sampled each `every`, in whole seconds.
fn interval(every: Duration) -> Duration {
    let seconds = every.as_secs() + u64::from(every.subsec_nanos() > 0);
    Duration::from_secs(seconds.clamp(EVERY_LEAST_S, EVERY_MOST_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_unknown_is_told_once() {
        let start = Instant::now();
        let mut unknown = Unknown::default();
        let mut at = |second: u64, names: &[&'static str]| {
            let reasons = names.iter().map(|n| (*n, "gone".to_owned())).collect();
            let now = start + Duration::from_secs(second);
            let news = unknown.news(&reasons, Duration::from_secs(1), now);
            news.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert!(at(0, &["a", "b"]).is_empty());
        // `b` came in time, and begins anew.
        assert!(at(5, &["a"]).is_empty());
        assert_eq!(at(10, &["a", "b"]), ["a"]);
        assert!(at(11, &["a", "b"]).is_empty());
        assert!(at(12, &["b"]).is_empty());
        assert_eq!(at(20, &["a", "b"]), ["b"]);
        assert!(at(99, &["a", "b"]).is_empty());
    }

    #[test]
    fn intervals_are_whole_seconds() {
        for (every_ms, seconds) in [
            (100, 1),
            (1_000, 1),
            (1_001, 2),
            (5_000, 5),
            (7_200_000, 3_600),
        ] {
            assert_eq!(
                interval(Duration::from_millis(every_ms)),
                Duration::from_secs(seconds)
            );
        }
    }
}

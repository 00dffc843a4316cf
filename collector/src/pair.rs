//! A second capture after a first, so that growth can be judged: at a delay, or when so much was added.
//!
//! What is still to come lies in the state database, so a collector that restarts takes it up. A second capture is exempt
//! from the cool-down, which the first one began, and counts towards the limits.

use crate::config::Pair;
use crate::identity::Identity;
use jiff::Timestamp;
use leakhound_archive::state::State;
use leakhound_archive::{ArchiveError, Manifest};
use rusqlite::params;

const STEPS: &[&str] = &["CREATE TABLE pairs (
    first TEXT PRIMARY KEY,
    first_ms INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    start_ticks INTEGER NOT NULL,
    cause TEXT NOT NULL,
    after TEXT NOT NULL,
    due_ms INTEGER,
    due_bytes INTEGER,
    attempts INTEGER NOT NULL
) STRICT, WITHOUT ROWID"];
/// Times that a second capture is begun before it is given up.
const ATTEMPTS: i64 = 3;
/// Wait after an attempt.
const RETRY_MS: i64 = 60_000;
/// A service that does not grow so much in this time will not: the first capture would be too old.
const KEEP_MS: i64 = 7 * 24 * 3_600_000;

/// A second capture that is still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Key of the first capture's bundle.
    pub first: String,
    /// Its time, milliseconds since 1970.
    pub first_ms: i64,
    /// Whom.
    pub pid: u32,
    /// Start of the process, in clock ticks since boot.
    pub start_ticks: u64,
    /// The trigger of the first capture.
    pub cause: String,
    /// `10 min` or `200 MB`, as configured.
    pub after: String,
    /// From when on it is due.
    due_ms: Option<i64>,
    /// From how many private bytes on it is due.
    due_bytes: Option<i64>,
}

impl Pending {
    /// Whether it is due for a process that holds so many private bytes.
    #[must_use]
    pub fn is_due(&self, private_bytes: Option<f64>, now_ms: i64) -> bool {
        let bytes = match (self.due_bytes, private_bytes) {
            (None, _) => true,
            (Some(due), Some(now)) => now >= due as f64,
            (Some(_), None) => false,
        };
        bytes && self.due_ms.is_none_or(|due| now_ms >= due)
    }
}

/// All second captures that are still to come.
#[derive(Debug, Clone)]
pub struct Pairs {
    state: State,
}

impl Pairs {
    /// Opens the table, creating it if need be.
    ///
    /// # Errors
    /// The database failed.
    pub fn open(state: State) -> Result<Self, ArchiveError> {
        state.migrate("pairs", STEPS)?;
        Ok(Self { state })
    }

    /// Plans the second capture after a first one. A process has at most one to come: the latest.
    ///
    /// # Errors
    /// The database failed; there will be no second capture.
    pub fn plan(
        &self,
        pair: Pair,
        first: &str,
        manifest: &Manifest,
        target: &Identity,
    ) -> Result<(), ArchiveError> {
        let first_ms = manifest
            .captured_at
            .unwrap_or_else(Timestamp::now)
            .as_millisecond();
        let held = manifest.process_facts.get("private_bytes").copied();
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let (due_ms, due_bytes) = match pair {
            Pair::After(span) => (Some(first_ms.saturating_add(signed(span.as_ms()))), None),
            Pair::Grown(size) => {
                let held = held.unwrap_or(0.0).max(0.0) as u64;
                (None, Some(signed(held.saturating_add(size.0))))
            }
        };
        let cause = manifest.trigger.as_ref().map_or("", |t| &t.name);
        self.state.write("plan a second capture", |t| {
            t.execute("DELETE FROM pairs WHERE pid = ?1", [target.pid])?;
            t.execute(
                "INSERT INTO pairs (first, first_ms, pid, start_ticks, cause, after, due_ms, due_bytes, attempts)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)",
                params![
                    first,
                    first_ms,
                    target.pid,
                    target.start_ticks.cast_signed(),
                    cause,
                    pair.to_string(),
                    due_ms,
                    due_bytes
                ],
            )
            .map(drop)
        })
    }

    /// What is still to come; what is too old is forgotten.
    ///
    /// # Errors
    /// The database failed.
    pub fn pending(&self, now_ms: i64) -> Result<Vec<Pending>, ArchiveError> {
        self.state.write("read what second captures are to come", |t| {
            t.execute("DELETE FROM pairs WHERE first_ms < ?1", [now_ms - KEEP_MS])?;
            let mut select = t.prepare(
                "SELECT first, first_ms, pid, start_ticks, cause, after, due_ms, due_bytes FROM pairs ORDER BY first_ms",
            )?;
            let rows = select.query_map([], |r| {
                Ok(Pending {
                    first: r.get(0)?,
                    first_ms: r.get(1)?,
                    pid: r.get(2)?,
                    start_ticks: r.get::<_, i64>(3)?.cast_unsigned(),
                    cause: r.get(4)?,
                    after: r.get(5)?,
                    due_ms: r.get(6)?,
                    due_bytes: r.get(7)?,
                })
            })?;
            rows.collect()
        })
    }

    /// An attempt begins. A collector that dies in it, or a capture that fails, leaves the next attempt for later.
    ///
    /// # Errors
    /// The database failed; then it must not begin.
    pub fn begin(&self, first: &str, now_ms: i64) -> Result<(), ArchiveError> {
        self.state.write("begin a second capture", |t| {
            t.execute(
                "UPDATE pairs SET attempts = attempts + 1, due_ms = ?2 WHERE first = ?1",
                params![first, now_ms + RETRY_MS],
            )?;
            t.execute("DELETE FROM pairs WHERE attempts >= ?1", [ATTEMPTS])
                .map(drop)
        })
    }

    /// It was taken, or never will be.
    ///
    /// # Errors
    /// The database failed.
    pub fn end(&self, first: &str) -> Result<(), ArchiveError> {
        self.state.write("end a pair of captures", |t| {
            t.execute("DELETE FROM pairs WHERE first = ?1", [first])
                .map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Size, Span};

    fn target(pid: u32) -> Identity {
        Identity {
            pid,
            start_ticks: 5,
            ..Identity::default()
        }
    }

    fn manifest(at_ms: i64, bytes: f64) -> Manifest {
        Manifest {
            captured_at: Timestamp::from_millisecond(at_ms).ok(),
            process_facts: [("private_bytes".to_owned(), bytes)].into(),
            ..Manifest::default()
        }
    }

    #[test]
    fn a_delay_and_a_growth_are_remembered_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Pairs::open(State::open(folder.path()).unwrap()).unwrap();
        let delay = Pair::After(Span::seconds(600));
        open()
            .plan(delay, "cart/a", &manifest(1_000, 1e6), &target(7))
            .unwrap();
        let growth = Pair::Grown(Size(2_000_000));
        open()
            .plan(growth, "cart/b", &manifest(2_000, 1e6), &target(8))
            .unwrap();
        let pending = open().pending(3_000).unwrap();
        let [a, b] = &pending[..] else {
            panic!("{pending:?}")
        };
        assert_eq!((a.first.as_str(), a.pid, a.start_ticks), ("cart/a", 7, 5));
        assert_eq!((a.after.as_str(), b.after.as_str()), ("10 min", "2 MB"));
        assert!(!a.is_due(None, 600_999) && a.is_due(None, 601_000));
        assert!(!b.is_due(None, i64::MAX) && !b.is_due(Some(2.9e6), 0) && b.is_due(Some(3e6), 0));
        open().end("cart/b").unwrap();
        assert_eq!(open().pending(3_000).unwrap().len(), 1);
        assert_eq!(open().pending(1_001 + KEEP_MS).unwrap(), []);
    }

    #[test]
    fn a_newer_first_capture_takes_the_place_of_an_older_and_attempts_end() {
        let folder = tempfile::tempdir().unwrap();
        let pairs = Pairs::open(State::open(folder.path()).unwrap()).unwrap();
        let delay = Pair::After(Span::seconds(1));
        for key in ["cart/a", "cart/b"] {
            pairs
                .plan(delay, key, &manifest(0, 0.0), &target(7))
                .unwrap();
        }
        for attempt in 0..ATTEMPTS {
            let pending = pairs.pending(0).unwrap();
            assert_eq!(pending.len(), 1, "attempt {attempt}");
            assert_eq!(pending[0].first, "cart/b");
            pairs.begin("cart/b", 5_000).unwrap();
        }
        assert_eq!(pairs.pending(0).unwrap(), []);
    }
}

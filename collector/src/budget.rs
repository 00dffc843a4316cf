//! How often a service may be captured: cool-down, count limit, and patience after failures.
//!
//! It lies in the archive's state database, so a collector that restarts, or crashes in the middle of a
//! capture, does not start to count again. A capture is written down before it begins: one that never
//! reports back counts as taken.

use crate::config::{CountLimit, Span};
use leakhound_archive::ArchiveError;
use leakhound_archive::state::State;
use leakhound_rules::units::format_duration;
use rusqlite::params;

const STEPS: &[&str] = &[
    "CREATE TABLE captures (
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    cause TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL
) STRICT;
CREATE INDEX captures_by_service ON captures (service, at_ms)",
    "ALTER TABLE captures ADD COLUMN is_second INTEGER NOT NULL DEFAULT 0",
];
/// Wait after a first failure; doubled with each one in a row, up to the cool-down.
const FIRST_RETRY_MS: u64 = 60_000;
/// How long captures are remembered: longer than any sensible limit looks back.
const KEEP_MS: i64 = 90 * 24 * 3_600_000;

/// The captures taken so far.
#[derive(Debug, Clone)]
pub struct Budget {
    state: State,
}

/// Why a service is not captured now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Milliseconds since 1970 from which it may be captured.
    pub until_ms: i64,
    /// A sentence.
    pub reason: String,
}

/// What a capture is as to the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A trigger holds: cool-down and limit apply.
    Own,
    /// The second of a pair: it belongs to the first one's cool-down; the limit applies.
    Second,
}

/// A capture that has begun.
#[derive(Debug)]
pub struct Ticket(i64);

impl Budget {
    /// Opens the table, creating it if need be.
    ///
    /// # Errors
    /// The database failed.
    pub fn open(state: State) -> Result<Self, ArchiveError> {
        state.migrate("captures", STEPS)?;
        Ok(Self { state })
    }

    /// Whether a service may be captured now, and if not, until when.
    ///
    /// # Errors
    /// The database failed.
    pub fn check(
        &self,
        service: &str,
        part: Part,
        cooldown: Span,
        limit: CountLimit,
        now_ms: i64,
    ) -> Result<Option<Wait>, ArchiveError> {
        let per_ms = i64::try_from(limit.per.as_millis()).unwrap_or(i64::MAX);
        let rows = self.state.read("read the captures of a service", |c| {
            let mut select = c.prepare(
                "SELECT at_ms, outcome, is_second FROM captures WHERE service = ?1 AND at_ms <= ?2 ORDER BY at_ms DESC LIMIT 10000",
            )?;
            let rows = select.query_map(params![service, now_ms], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?))
            })?;
            rows.collect::<Result<Vec<(i64, String, bool)>, _>>()
        })?;
        let failures = rows.iter().take_while(|(_, o, _)| o == "failed").count();
        let taken = || rows.iter().filter(|(_, o, _)| o != "failed");
        let mut waits = Vec::new();
        let own = taken().find(|(_, _, is_second)| !is_second);
        if let Some((last, ..)) = own.filter(|_| part == Part::Own) {
            let until_ms = last.saturating_add(signed(cooldown.as_ms()));
            waits.push((until_ms, "cooldown"));
        }
        let in_span = taken().filter(|(t, ..)| *t > now_ms.saturating_sub(per_ms));
        if let Some((oldest, ..)) = in_span
            .take(limit.count as usize)
            .nth(limit.count as usize - 1)
        {
            waits.push((oldest.saturating_add(per_ms), "limit"));
        }
        if let (1.., Some((last, ..)), Part::Own) = (failures, rows.first(), part) {
            let doubled = FIRST_RETRY_MS.saturating_mul(1 << (failures - 1).min(20));
            let pause = doubled.min(cooldown.as_ms().max(FIRST_RETRY_MS));
            waits.push((last.saturating_add(signed(pause)), "failure"));
        }
        let longest = waits.into_iter().filter(|(until, _)| *until > now_ms).max();
        Ok(longest.map(|(until_ms, why)| {
            let left = format_duration((until_ms - now_ms) as f64);
            let reason = match why {
                "cooldown" => format!("its cool-down of {cooldown} ends in {left}"),
                "limit" => format!("its limit of {limit} is used up for another {left}"),
                _ => format!("the last {failures} attempts failed; the next one is in {left}"),
            };
            Wait { until_ms, reason }
        }))
    }

    /// Whether this node may capture at all now, and if not, until when: the limit over all services.
    ///
    /// # Errors
    /// The database failed.
    pub fn check_node(&self, limit: CountLimit, now_ms: i64) -> Result<Option<Wait>, ArchiveError> {
        let per_ms = i64::try_from(limit.per.as_millis()).unwrap_or(i64::MAX);
        let nth = i64::from(limit.count.max(1)) - 1;
        let oldest: Option<i64> = self.state.read("read the captures of the node", |c| {
            let mut select = c.prepare(
                "SELECT at_ms FROM captures WHERE outcome <> 'failed' AND at_ms <= ?1 AND at_ms > ?2 ORDER BY at_ms DESC LIMIT 1 OFFSET ?3",
            )?;
            let mut rows = select.query_map(
                params![now_ms, now_ms.saturating_sub(per_ms), nth],
                |r| r.get(0),
            )?;
            rows.next().transpose()
        })?;
        Ok(oldest.map(|oldest| {
            let until_ms = oldest.saturating_add(per_ms);
            let left = format_duration((until_ms - now_ms) as f64);
            Wait {
                until_ms,
                reason: format!("the node's limit of {limit} is used up for another {left}"),
            }
        }))
    }

    /// Writes down that a capture begins.
    ///
    /// # Errors
    /// The database failed; then the capture must not begin, for it could not be counted.
    pub fn begin(
        &self,
        service: &str,
        part: Part,
        cause: &str,
        now_ms: i64,
    ) -> Result<Ticket, ArchiveError> {
        self.state.write("write down a capture", |t| {
            t.execute("DELETE FROM captures WHERE at_ms < ?1", [now_ms - KEEP_MS])?;
            t.execute(
                "INSERT INTO captures (service, cause, at_ms, outcome, is_second) VALUES (?1, ?2, ?3, 'begun', ?4)",
                params![service, cause, now_ms, part == Part::Second],
            )?;
            Ok(Ticket(t.last_insert_rowid()))
        })
    }

    /// Writes down how a capture ended.
    ///
    /// # Errors
    /// The database failed; the capture then counts as taken.
    pub fn end(&self, ticket: Ticket, succeeded: bool) -> Result<(), ArchiveError> {
        let outcome = if succeeded { "taken" } else { "failed" };
        self.state.write("write down the end of a capture", |t| {
            t.execute(
                "UPDATE captures SET outcome = ?2 WHERE id = ?1",
                params![ticket.0, outcome],
            )
            .map(drop)
        })
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    const HOUR: i64 = 3_600_000;
    const LIMIT: CountLimit = CountLimit {
        count: 3,
        per: Duration::from_secs(86_400),
    };

    fn budget(folder: &tempfile::TempDir) -> Budget {
        Budget::open(State::open(folder.path()).unwrap()).unwrap()
    }

    fn wait(b: &Budget, now: i64) -> Option<Wait> {
        b.check("cart", Part::Own, Span::seconds(3600), LIMIT, now)
            .unwrap()
    }

    #[test]
    fn cooldown_and_limit_hold_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let start = 1_700_000_000_000;
        for n in 0..3 {
            // A new collector each time.
            let b = budget(&folder);
            let now = start + n * 2 * HOUR;
            assert_eq!(wait(&b, now), None);
            let ticket = b.begin("cart", Part::Own, "t", now).unwrap();
            b.end(ticket, true).unwrap();
            let until = if n < 2 { now + HOUR } else { start + 24 * HOUR };
            assert_eq!(wait(&b, now + 60_000).unwrap().until_ms, until);
        }
        let b = budget(&folder);
        let blocked = wait(&b, start + 6 * HOUR).unwrap();
        assert_eq!(blocked.until_ms, start + 24 * HOUR);
        assert!(blocked.reason.contains("3 per 1 day"), "{}", blocked.reason);
        assert_eq!(wait(&b, start + 24 * HOUR), None);
        assert_eq!(
            b.check("other", Part::Own, Span::seconds(3600), LIMIT, start + HOUR)
                .unwrap(),
            None
        );
    }

    #[test]
    fn the_node_has_a_limit_of_its_own_over_all_services() {
        let folder = tempfile::tempdir().unwrap();
        let b = budget(&folder);
        for (service, at) in [("a", 0), ("b", HOUR), ("c", 2 * HOUR)] {
            assert_eq!(b.check_node(LIMIT, at).unwrap(), None);
            let ticket = b.begin(service, Part::Own, "t", at).unwrap();
            b.end(ticket, true).unwrap();
        }
        let wait = budget(&folder)
            .check_node(LIMIT, 3 * HOUR)
            .unwrap()
            .unwrap();
        assert_eq!(wait.until_ms, 24 * HOUR);
        assert!(wait.reason.contains("node's limit of 3 per 1 day"));
        assert_eq!(b.check_node(LIMIT, 24 * HOUR).unwrap(), None);
    }

    #[test]
    fn a_crash_during_a_capture_counts_and_failures_back_off() {
        let folder = tempfile::tempdir().unwrap();
        let b = budget(&folder);
        b.begin("cart", Part::Own, "t", 0).unwrap();
        assert!(wait(&budget(&folder), 60_000).is_some());
        let b = Budget::open(State::open(tempfile::tempdir().unwrap().path()).unwrap()).unwrap();
        for (n, at) in [(1, 0), (2, HOUR), (3, 2 * HOUR)] {
            let ticket = b.begin("cart", Part::Own, "t", at).unwrap();
            b.end(ticket, false).unwrap();
            assert_eq!(
                wait(&b, at + 1).unwrap().until_ms,
                at + 60_000 * (1 << (n - 1))
            );
        }
    }

    #[test]
    fn the_second_of_a_pair_needs_no_cooldown_begins_none_and_counts() {
        let folder = tempfile::tempdir().unwrap();
        let b = budget(&folder);
        let second = |now| {
            b.check("cart", Part::Second, Span::seconds(3600), LIMIT, now)
                .unwrap()
        };
        b.begin("cart", Part::Own, "t", 0).unwrap();
        assert!(wait(&b, HOUR / 2).is_some());
        assert_eq!(second(HOUR / 2), None);
        b.begin("cart", Part::Second, "t", HOUR / 2).unwrap();
        // The cool-down is still that of the first.
        assert_eq!(wait(&b, HOUR), None);
        b.begin("cart", Part::Own, "t", HOUR).unwrap();
        let full = second(HOUR + 1).unwrap();
        assert_eq!(full.until_ms, 24 * HOUR);
        assert!(
            full.reason.contains("limit of 3 per 1 day"),
            "{}",
            full.reason
        );
    }
}

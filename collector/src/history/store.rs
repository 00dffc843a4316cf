//! Long windows in the archive's state database.

use super::ServiceHistory;
use super::window::Bucket;
use leakhound_archive::ArchiveError;
use leakhound_archive::state::State;
use leakhound_rules::vocabulary::{counter_named, fact_named};
use rusqlite::params;
use std::collections::BTreeMap;

const STEPS: &[&str] = &["CREATE TABLE history (
    service TEXT NOT NULL,
    fact TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    mean REAL NOT NULL,
    min REAL NOT NULL,
    max REAL NOT NULL,
    PRIMARY KEY (service, fact, bucket)
) STRICT, WITHOUT ROWID"];
/// Days kept; a window reaches back 7.
const KEEP_MS: i64 = 8 * 24 * 3_600_000;

/// Reads and writes the long windows of all services.
#[derive(Debug)]
pub struct HistoryStore {
    state: State,
    /// Newest bucket written per service and fact, with its count of samples.
    written: BTreeMap<(String, &'static str), (u32, u32)>,
}

impl HistoryStore {
    /// Opens the table, creating it if need be.
    ///
    /// # Errors
    /// The database failed.
    pub fn open(state: State) -> Result<Self, ArchiveError> {
        state.migrate("history", STEPS)?;
        Ok(Self {
            state,
            written: BTreeMap::new(),
        })
    }

    /// The past of a service as it was last written.
    ///
    /// # Errors
    /// The database failed.
    pub fn load(&mut self, service: &str, now_ms: i64) -> Result<ServiceHistory, ArchiveError> {
        let oldest = Bucket::index_of(now_ms - KEEP_MS);
        let newest = Bucket::index_of(now_ms);
        let rows = self.state.read("read the history of a service", |c| {
            let mut select = c.prepare(
                "SELECT fact, bucket, samples, mean, min, max FROM history
                 WHERE service = ?1 AND bucket BETWEEN ?2 AND ?3 ORDER BY fact, bucket",
            )?;
            let rows = select.query_map(params![service, oldest, newest], |r| {
                let bucket = Bucket {
                    index: r.get(1)?,
                    samples: r.get(2)?,
                    mean: r.get::<_, f64>(3)? as f32,
                    min: r.get::<_, f64>(4)? as f32,
                    max: r.get::<_, f64>(5)? as f32,
                };
                Ok((r.get::<_, String>(0)?, bucket))
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        })?;
        let mut history = ServiceHistory::default();
        for (name, bucket) in rows {
            // A fact that this version does not know any more is left alone.
            // So is a counter that no trigger asks for any more.
            let counter = || counter_named(&name).map(|counter| &counter.fact);
            if let Some(fact) = fact_named(&name).or_else(counter) {
                history.facts.entry(fact.name).or_default().merge(bucket);
            }
        }
        Ok(history)
    }

    /// Writes what changed since the last time, in one transaction, and forgets what is too old.
    ///
    /// # Errors
    /// The database failed; the next call tries again.
    pub fn save<'a>(
        &mut self,
        services: impl Iterator<Item = (&'a str, &'a ServiceHistory)>,
        now_ms: i64,
    ) -> Result<(), ArchiveError> {
        let mut changed: Vec<(&str, &'static str, Bucket)> = Vec::new();
        for (service, history) in services {
            for (fact, long) in &history.facts {
                let before = self.written.get(&(service.to_owned(), *fact)).copied();
                let from = before.map_or(0, |(index, _)| index);
                let news = long
                    .since(from)
                    .filter(|b| Some((b.index, b.samples)) != before);
                changed.extend(news.map(|b| (service, *fact, b)));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let oldest = Bucket::index_of(now_ms - KEEP_MS);
        self.state.write("save the history of services", |t| {
            let mut put = t.prepare(
                "INSERT INTO history (service, fact, bucket, samples, mean, min, max)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET samples = ?4, mean = ?5, min = ?6, max = ?7",
            )?;
            for (service, fact, b) in &changed {
                let (mean, min, max) = (f64::from(b.mean), f64::from(b.min), f64::from(b.max));
                put.execute(params![service, fact, b.index, b.samples, mean, min, max])?;
            }
            t.execute("DELETE FROM history WHERE bucket < ?1", [oldest])
                .map(drop)
        })?;
        for (service, fact, b) in changed {
            self.written
                .insert((service.to_owned(), fact), (b.index, b.samples));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sample::Facts;
    use leakhound_rules::Statistic;

    #[test]
    fn the_past_survives_a_restart_and_is_not_counted_twice() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let now = 1_700_000_000_000;
        let mut facts = Facts::default();
        facts.set("rss", 100.0);
        let mut store = HistoryStore::open(state.clone()).unwrap();
        let mut history = store.load("cart", now).unwrap();
        for minute in 0..60 {
            history.add(&["rss"], &facts, now + minute * 60_000);
            store
                .save([("cart", &history)].into_iter(), now + minute * 60_000)
                .unwrap();
        }
        let mut again = HistoryStore::open(State::open(folder.path()).unwrap()).unwrap();
        let end = now + 60 * 60_000;
        let loaded = again.load("cart", end).unwrap();
        let measured = loaded
            .fact("rss")
            .unwrap()
            .measure(Statistic::Average, now, end)
            .unwrap();
        assert_eq!((measured.value, measured.samples), (100.0, 60));
        assert!(again.load("other", end).unwrap().fact("rss").is_none());
        // Eight days later nothing of it is left.
        let later = end + 9 * 24 * 3_600_000;
        assert!(again.load("cart", later).unwrap().fact("rss").is_none());
    }
}

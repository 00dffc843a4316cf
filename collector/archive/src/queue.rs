//! The queue of bundles that wait for analysis: claim, heartbeat, finish, give back.
//!
//! A claim is a lease: a worker that dies loses it when the lease ends, and the next claim takes the job over. Every claim carries
//! its attempt's number; what a worker does after it lost the lease is refused, so two workers never finish one job. A
//! job that failed or killed its worker [`MAX_ATTEMPTS`] times is dead: kept with its last error, not tried again on its own.
//!
//! Invariant: no clock is read here; the caller says what time it is. Leases of several nodes compare with their clocks,
//! so leases should be minutes, not seconds.

use crate::error::{ArchiveError, Result};
use crate::state::State;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Row, params};

/// Attempts before a job is dead.
pub const MAX_ATTEMPTS: u32 = 3;
/// Wait before the second attempt; doubles with each further one.
const FIRST_RETRY_MS: i64 = 30_000;
/// Longest error text that is kept.
const MAX_ERROR_BYTES: usize = 4096;

const COMPONENT: &str = "queue";
const STEPS: &[&str] = &["CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,
        bundle TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'dead')),
        attempts INTEGER NOT NULL DEFAULT 0,
        due_ms INTEGER NOT NULL,
        lease_ends_ms INTEGER,
        worker TEXT,
        last_error TEXT,
        enqueued_ms INTEGER NOT NULL,
        changed_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX jobs_by_state ON jobs (state, due_ms);"];

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Nobody works on it.
    Waiting,
    /// A worker holds a lease.
    Running,
    /// Finished.
    Done,
    /// Given up.
    Dead,
}

impl JobState {
    fn from_text(text: &str) -> Self {
        match text {
            "running" => Self::Running,
            "done" => Self::Done,
            "dead" => Self::Dead,
            // The table's check admits nothing else.
            _ => Self::Waiting,
        }
    }
}

/// A job as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Key of the bundle, `SERVICE/TIME-NODE-PID`.
    pub bundle: String,
    /// Where it stands.
    pub state: JobState,
    /// Attempts begun.
    pub attempts: u32,
    /// Not to be claimed before.
    pub due: Timestamp,
    /// Worker of the running or last attempt.
    pub worker: Option<String>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was enqueued.
    pub enqueued: Timestamp,
}

/// A lease on a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Key of the bundle, `SERVICE/TIME-NODE-PID`.
    pub bundle: String,
    /// The worker that holds it.
    pub worker: String,
    /// This attempt's number, from 1.
    pub attempt: u32,
    /// When the lease ends unless there is a heartbeat.
    pub lease_ends: Timestamp,
}

/// How many jobs stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for a worker.
    pub waiting: u64,
    /// Under a lease.
    pub running: u64,
    /// Finished.
    pub done: u64,
    /// Given up.
    pub dead: u64,
}

/// What became of a job that was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenBack {
    /// It will be tried again at that time.
    RetryAt(Timestamp),
    /// That was the last attempt.
    Dead,
}

/// The queue in `state.db`.
#[derive(Debug, Clone)]
pub struct Queue {
    state: State,
}

impl Queue {
    /// Uses the shared database, creating the table if need be.
    ///
    /// # Errors
    /// The database failed or is newer than this program.
    pub fn open(state: State) -> Result<Self> {
        state.migrate(COMPONENT, STEPS)?;
        Ok(Self { state })
    }

    /// Adds a job for a bundle; false if there is one already, in whatever state. So it may be repeated after a crash.
    ///
    /// # Errors
    /// The database failed.
    pub fn enqueue(&self, bundle: &str, now: Timestamp) -> Result<bool> {
        let sql = "INSERT INTO jobs (bundle, state, due_ms, enqueued_ms, changed_ms) VALUES (?1, 'waiting', ?2, ?2, ?2)
            ON CONFLICT (bundle) DO NOTHING";
        let now = now.as_millisecond();
        self.state.write("enqueue a bundle", |t| {
            Ok(t.execute(sql, params![bundle, now])? > 0)
        })
    }

    /// Makes a finished or dead job wait again from its first attempt, adding it if there is none. A running one is left alone.
    ///
    /// # Errors
    /// The database failed.
    pub fn requeue(&self, bundle: &str, now: Timestamp) -> Result<bool> {
        let sql = "INSERT INTO jobs (bundle, state, due_ms, enqueued_ms, changed_ms) VALUES (?1, 'waiting', ?2, ?2, ?2)
            ON CONFLICT (bundle) DO UPDATE SET state = 'waiting', attempts = 0, due_ms = ?2, lease_ends_ms = NULL,
                worker = NULL, changed_ms = ?2
            WHERE state <> 'running'";
        let now = now.as_millisecond();
        self.state.write("enqueue a bundle again", |t| {
            Ok(t.execute(sql, params![bundle, now])? > 0)
        })
    }

    /// Takes the oldest job that is due, or whose worker's lease ended, for `lease`.
    ///
    /// # Errors
    /// The database failed.
    pub fn claim(
        &self,
        worker: &str,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Option<Claim>> {
        let now_ms = now.as_millisecond();
        let ends_ms = now_ms.saturating_add(lease.as_millis().try_into().unwrap_or(i64::MAX / 2));
        // A worker that ended without a word as often as is allowed was most likely killed by this very dump.
        let bury = "UPDATE jobs SET state = 'dead', lease_ends_ms = NULL, changed_ms = ?1,
                last_error = 'worker ' || worker || ' ended without a word in attempt ' || attempts
            WHERE state = 'running' AND lease_ends_ms <= ?1 AND attempts >= ?2";
        let take = "UPDATE jobs SET state = 'running', attempts = attempts + 1, worker = ?2, lease_ends_ms = ?3,
                changed_ms = ?1,
                last_error = CASE state WHEN 'running'
                    THEN 'worker ' || worker || ' ended without a word in attempt ' || attempts ELSE last_error END
            WHERE id = (
                SELECT id FROM jobs
                WHERE state = 'waiting' AND due_ms <= ?1 OR state = 'running' AND lease_ends_ms <= ?1
                ORDER BY id LIMIT 1)
            RETURNING bundle, attempts";
        self.state.write("claim a job", |t| {
            t.execute(bury, params![now_ms, MAX_ATTEMPTS])?;
            t.query_row(take, params![now_ms, worker, ends_ms], |row| {
                Ok(Claim {
                    bundle: row.get(0)?,
                    worker: worker.to_owned(),
                    attempt: row.get(1)?,
                    lease_ends: timestamp(ends_ms),
                })
            })
            .optional()
        })
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// [`ArchiveError::LeaseLost`] if someone else took the job over: stop working on it. Or the database failed.
    pub fn heartbeat(
        &self,
        claim: &mut Claim,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<()> {
        let now_ms = now.as_millisecond();
        let ends_ms = now_ms.saturating_add(lease.as_millis().try_into().unwrap_or(i64::MAX / 2));
        self.update(
            claim,
            "renew a lease",
            "lease_ends_ms = ?4, changed_ms = ?5",
            params![ends_ms, now_ms],
        )?;
        claim.lease_ends = timestamp(ends_ms);
        Ok(())
    }

    /// The job is done.
    ///
    /// # Errors
    /// [`ArchiveError::LeaseLost`] if someone else took the job over: do not publish. Or the database failed.
    pub fn finish(&self, claim: &Claim, now: Timestamp) -> Result<()> {
        let set = "state = 'done', lease_ends_ms = NULL, last_error = NULL, changed_ms = ?4";
        self.update(claim, "finish a job", set, params![now.as_millisecond()])
    }

    /// The attempt failed: the job waits for another, or is dead after the last.
    ///
    /// # Errors
    /// As for [`Queue::finish`].
    pub fn give_back(&self, claim: &Claim, error: &str, now: Timestamp) -> Result<GivenBack> {
        if claim.attempt >= MAX_ATTEMPTS {
            self.bury(claim, error, now)?;
            return Ok(GivenBack::Dead);
        }
        let doublings = claim.attempt.saturating_sub(1).min(16);
        let now_ms = now.as_millisecond();
        let due_ms = now_ms.saturating_add(FIRST_RETRY_MS << doublings);
        let set = "state = 'waiting', lease_ends_ms = NULL, last_error = ?4, due_ms = ?5, changed_ms = ?6";
        self.update(
            claim,
            "give a job back",
            set,
            params![clipped(error), due_ms, now_ms],
        )?;
        Ok(GivenBack::RetryAt(timestamp(due_ms)))
    }

    /// Hands the job to others at once without counting the attempt: for an orderly shutdown.
    ///
    /// # Errors
    /// As for [`Queue::finish`].
    pub fn release(&self, claim: &Claim, now: Timestamp) -> Result<()> {
        let set = "state = 'waiting', attempts = attempts - 1, lease_ends_ms = NULL, due_ms = ?4, changed_ms = ?4";
        self.update(claim, "release a job", set, params![now.as_millisecond()])
    }

    /// The job cannot succeed (a damaged dump): no more attempts.
    ///
    /// # Errors
    /// As for [`Queue::finish`].
    pub fn bury(&self, claim: &Claim, error: &str, now: Timestamp) -> Result<()> {
        let set = "state = 'dead', lease_ends_ms = NULL, last_error = ?4, changed_ms = ?5";
        self.update(
            claim,
            "give a job up",
            set,
            params![clipped(error), now.as_millisecond()],
        )
    }

    /// Forgets the job of a deleted bundle.
    ///
    /// # Errors
    /// The database failed.
    pub fn forget(&self, bundle: &str) -> Result<bool> {
        let sql = "DELETE FROM jobs WHERE bundle = ?1";
        self.state
            .write("forget a job", |t| Ok(t.execute(sql, [bundle])? > 0))
    }

    /// The job of a bundle.
    ///
    /// # Errors
    /// The database failed.
    pub fn job(&self, bundle: &str) -> Result<Option<Job>> {
        let sql = format!("SELECT {JOB_COLUMNS} FROM jobs WHERE bundle = ?1");
        self.state.read("look up a job", |c| {
            c.query_row(&sql, [bundle], job).optional()
        })
    }

    /// Jobs that are waiting, running or dead, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database failed.
    pub fn unfinished(&self, limit: u32) -> Result<Vec<Job>> {
        let sql =
            format!("SELECT {JOB_COLUMNS} FROM jobs WHERE state <> 'done' ORDER BY id LIMIT ?1");
        self.state.read("list jobs", |c| {
            c.prepare(&sql)?.query_map([limit], job)?.collect()
        })
    }

    /// How many jobs stand where.
    ///
    /// # Errors
    /// The database failed.
    pub fn counts(&self) -> Result<Counts> {
        self.state.read("count jobs", |c| {
            let mut counts = Counts::default();
            let mut statement = c.prepare("SELECT state, count(*) FROM jobs GROUP BY state")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let n = row.get::<_, i64>(1)?.unsigned_abs();
                match JobState::from_text(&row.get::<_, String>(0)?) {
                    JobState::Waiting => counts.waiting = n,
                    JobState::Running => counts.running = n,
                    JobState::Done => counts.done = n,
                    JobState::Dead => counts.dead = n,
                }
            }
            Ok(counts)
        })
    }

    /// When the next waiting job is due or the next lease ends, so that a worker knows how long to sleep.
    ///
    /// # Errors
    /// The database failed.
    pub fn next_due(&self) -> Result<Option<Timestamp>> {
        let sql = "SELECT min(CASE state WHEN 'waiting' THEN due_ms ELSE lease_ends_ms END)
            FROM jobs WHERE state IN ('waiting', 'running')";
        let due: Option<i64> = self.state.read("look for the next job", |c| {
            c.query_row(sql, [], |r| r.get(0))
        })?;
        Ok(due.map(timestamp))
    }

    /// Changes the job of `claim`, provided that this very attempt still holds it. Parameters in `set` begin with ?4.
    fn update(
        &self,
        claim: &Claim,
        doing: &str,
        set: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<()> {
        let sql = format!(
            "UPDATE jobs SET {set} WHERE bundle = ?1 AND worker = ?2 AND attempts = ?3 AND state = 'running'"
        );
        let mut all: Vec<&dyn rusqlite::ToSql> = vec![&claim.bundle, &claim.worker, &claim.attempt];
        all.extend_from_slice(values);
        let n = self.state.write(doing, |t| t.execute(&sql, &all[..]))?;
        if n == 1 {
            return Ok(());
        }
        Err(ArchiveError::LeaseLost {
            bundle: claim.bundle.clone(),
            worker: claim.worker.clone(),
        })
    }
}

const JOB_COLUMNS: &str = "bundle, state, attempts, due_ms, worker, last_error, enqueued_ms";

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        bundle: row.get(0)?,
        state: JobState::from_text(&row.get::<_, String>(1)?),
        attempts: row.get(2)?,
        due: timestamp(row.get(3)?),
        worker: row.get(4)?,
        last_error: row.get(5)?,
        enqueued: timestamp(row.get(6)?),
    })
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

fn clipped(text: &str) -> &str {
    let mut end = text.len().min(MAX_ERROR_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LEASE: SignedDuration = SignedDuration::from_secs(60);

    fn queue() -> (tempfile::TempDir, Queue) {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(State::open(folder.path()).unwrap()).unwrap();
        (folder, queue)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn jobs_come_in_order_and_once() {
        let (_folder, queue) = queue();
        assert!(queue.enqueue("s/1", at(0)).unwrap());
        assert!(queue.enqueue("s/2", at(1)).unwrap());
        assert!(
            !queue.enqueue("s/1", at(2)).unwrap(),
            "a repeated enqueue is harmless"
        );
        let first = queue.claim("w1", LEASE, at(3)).unwrap().unwrap();
        let second = queue.claim("w2", LEASE, at(3)).unwrap().unwrap();
        assert_eq!(
            (first.bundle.as_str(), second.bundle.as_str()),
            ("s/1", "s/2")
        );
        assert_eq!(queue.claim("w3", LEASE, at(3)).unwrap(), None);
        queue.finish(&first, at(4)).unwrap();
        assert!(!queue.enqueue("s/1", at(5)).unwrap(), "done stays done");
        let counts = Counts {
            running: 1,
            done: 1,
            ..Counts::default()
        };
        assert_eq!(queue.counts().unwrap(), counts);
    }

    #[test]
    fn a_silent_worker_loses_its_lease_and_its_result() {
        let (_folder, queue) = queue();
        queue.enqueue("s/1", at(0)).unwrap();
        let mut slow = queue.claim("slow", LEASE, at(0)).unwrap().unwrap();
        queue.heartbeat(&mut slow, LEASE, at(50)).unwrap();
        assert_eq!(
            queue.claim("quick", LEASE, at(61)).unwrap(),
            None,
            "the heartbeat counts"
        );
        let quick = queue.claim("quick", LEASE, at(110)).unwrap().unwrap();
        assert_eq!(quick.attempt, 2);
        assert!(matches!(
            queue.finish(&slow, at(111)),
            Err(ArchiveError::LeaseLost { .. })
        ));
        assert!(matches!(
            queue.heartbeat(&mut slow, LEASE, at(111)),
            Err(ArchiveError::LeaseLost { .. })
        ));
        queue.finish(&quick, at(112)).unwrap();
        assert!(queue.finish(&quick, at(113)).is_err(), "once");
    }

    #[test]
    fn the_same_worker_name_does_not_revive_an_old_lease() {
        let (_folder, queue) = queue();
        queue.enqueue("s/1", at(0)).unwrap();
        let before_restart = queue.claim("w", LEASE, at(0)).unwrap().unwrap();
        let after_restart = queue.claim("w", LEASE, at(61)).unwrap().unwrap();
        assert!(queue.finish(&before_restart, at(62)).is_err());
        queue.finish(&after_restart, at(62)).unwrap();
    }

    #[test]
    fn failures_are_retried_later_and_then_given_up() {
        let (_folder, queue) = queue();
        queue.enqueue("s/1", at(0)).unwrap();
        let claim = queue.claim("w", LEASE, at(0)).unwrap().unwrap();
        assert_eq!(
            queue.give_back(&claim, "out of memory", at(1)).unwrap(),
            GivenBack::RetryAt(at(31))
        );
        assert_eq!(queue.next_due().unwrap(), Some(at(31)));
        assert_eq!(queue.claim("w", LEASE, at(30)).unwrap(), None);
        let claim = queue.claim("w", LEASE, at(31)).unwrap().unwrap();
        assert_eq!(
            queue.give_back(&claim, "out of memory", at(32)).unwrap(),
            GivenBack::RetryAt(at(92))
        );
        let claim = queue.claim("w", LEASE, at(92)).unwrap().unwrap();
        assert_eq!(
            queue
                .give_back(&claim, "still out of memory", at(93))
                .unwrap(),
            GivenBack::Dead
        );
        let job = queue.job("s/1").unwrap().unwrap();
        assert_eq!((job.state, job.attempts), (JobState::Dead, 3));
        assert_eq!(job.last_error.as_deref(), Some("still out of memory"));
        assert!(queue.requeue("s/1", at(100)).unwrap());
        assert_eq!(
            queue.claim("w", LEASE, at(100)).unwrap().unwrap().attempt,
            1
        );
    }

    #[test]
    fn a_dump_that_kills_its_workers_is_given_up() {
        let (_folder, queue) = queue();
        queue.enqueue("s/killer", at(0)).unwrap();
        queue.enqueue("s/good", at(0)).unwrap();
        for attempt in 1..=i64::from(MAX_ATTEMPTS) {
            let claim = queue.claim("w", LEASE, at(attempt * 100)).unwrap().unwrap();
            assert_eq!(claim.bundle, "s/killer");
        }
        let next = queue.claim("w", LEASE, at(1000)).unwrap().unwrap();
        assert_eq!(next.bundle, "s/good");
        let job = queue.job("s/killer").unwrap().unwrap();
        assert_eq!(job.state, JobState::Dead);
        assert_eq!(
            job.last_error.as_deref(),
            Some("worker w ended without a word in attempt 3")
        );
        assert_eq!(queue.unfinished(10).unwrap().len(), 2);
        assert!(queue.forget("s/killer").unwrap());
        assert_eq!(queue.job("s/killer").unwrap(), None);
    }

    #[test]
    fn an_orderly_shutdown_costs_no_attempt() {
        let (_folder, queue) = queue();
        queue.enqueue("s/1", at(0)).unwrap();
        let claim = queue.claim("w", LEASE, at(0)).unwrap().unwrap();
        queue.release(&claim, at(1)).unwrap();
        assert_eq!(queue.claim("v", LEASE, at(1)).unwrap().unwrap().attempt, 1);
    }

    #[test]
    fn many_threads_never_share_a_job() {
        let (folder, queue) = queue();
        for i in 0..40 {
            queue.enqueue(&format!("s/{i}"), at(0)).unwrap();
        }
        // Connections of their own, as separate processes have.
        let claims = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|w| {
                    let folder = folder.path();
                    scope.spawn(move || {
                        let queue = Queue::open(State::open(folder).unwrap()).unwrap();
                        let worker = format!("w{w}");
                        let mut taken = Vec::new();
                        while let Some(claim) = queue.claim(&worker, LEASE, at(1)).unwrap() {
                            queue.finish(&claim, at(2)).unwrap();
                            taken.push(claim.bundle);
                        }
                        taken
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|t| t.join().unwrap())
                .collect::<Vec<_>>()
        });
        let distinct: std::collections::HashSet<_> = claims.iter().collect();
        assert_eq!((claims.len(), distinct.len()), (40, 40));
    }
}

//! The outbox on disk: two tables in the node's database, and every statement that touches them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use leakhound_archive::error::Result;
use leakhound_archive::state::State;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::OutboxError;
use crate::notify::destination::{Proof, Receipt};
use crate::notify::message::{MESSAGE_SCHEMA, Message};

/// The schema, step by step; released steps are only followed by others.
const STEPS: &[&str] = &["
    CREATE TABLE outbox (
        id              INTEGER PRIMARY KEY,
        key             TEXT NOT NULL UNIQUE,
        destination     TEXT NOT NULL,
        service         TEXT NOT NULL,
        fingerprint     TEXT NOT NULL,
        event           TEXT NOT NULL,
        title           TEXT NOT NULL,
        state           TEXT NOT NULL CHECK (state IN ('planned', 'sending', 'sent', 'confirmed', 'dead')),
        message         TEXT,                           -- the Message as JSON; dropped once it is delivered
        planned_at_ms   INTEGER NOT NULL,
        next_at_ms      INTEGER NOT NULL,
        deadline_ms     INTEGER NOT NULL,
        finished_at_ms  INTEGER,
        n_attempts      INTEGER NOT NULL DEFAULT 0,
        maybe_sent      INTEGER NOT NULL DEFAULT 0,     -- an attempt ended without an answer
        owner           TEXT,                           -- of the attempt under way
        lease_until_ms  INTEGER,
        remote_id       TEXT,
        last_reply      TEXT
    ) STRICT;
    CREATE INDEX outbox_waiting ON outbox (destination, next_at_ms) WHERE state IN ('planned', 'sending');
    CREATE INDEX outbox_finished ON outbox (finished_at_ms) WHERE finished_at_ms IS NOT NULL;
    CREATE TABLE outbox_hold (
        destination     TEXT PRIMARY KEY,
        until_ms        INTEGER NOT NULL
    ) STRICT;
", "
    -- Waits to be part of a digest, or was.
    ALTER TABLE outbox ADD COLUMN gather INTEGER NOT NULL DEFAULT 0;
"];

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryState {
    /// Waits for its time.
    Planned,
    /// An attempt is under way, or was when its process died.
    Sending,
    /// The other side took it.
    Sent,
    /// The other side says it has it.
    Confirmed,
    /// Given up.
    Dead,
}

impl EntryState {
    /// As it is stored and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EntryState::Planned => "planned",
            EntryState::Sending => "sending",
            EntryState::Sent => "sent",
            EntryState::Confirmed => "confirmed",
            EntryState::Dead => "dead",
        }
    }

    fn named(name: &str) -> EntryState {
        match name {
            "planned" => EntryState::Planned,
            "sending" => EntryState::Sending,
            "sent" => EntryState::Sent,
            "confirmed" => EntryState::Confirmed,
            // The table's own check admits nothing else.
            _ => EntryState::Dead,
        }
    }
}

/// One message as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Idempotency key.
    pub key: String,
    /// Name of the destination.
    pub destination: String,
    /// The service it is about.
    pub service: String,
    /// What it is about.
    pub fingerprint: String,
    /// Which event of that.
    pub event: String,
    /// Its first line.
    pub title: String,
    /// Where it stands.
    pub state: EntryState,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// When it is tried next, while it waits.
    pub next_at: Option<Timestamp>,
    /// When it was delivered or given up.
    pub finished_at: Option<Timestamp>,
    /// Attempts so far.
    pub n_attempts: u32,
    /// Whether an attempt ended without an answer.
    pub maybe_sent: bool,
    /// The other side's name for it.
    pub remote_id: Option<String>,
    /// What was last said, or why it failed.
    pub last_reply: Option<String>,
}

/// Which messages to list. Everything, where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state.
    pub state: Option<EntryState>,
    /// For this destination.
    pub destination: Option<String>,
    /// About this service.
    pub service: Option<String>,
    /// At most so many; 0 means 1000.
    pub limit: u32,
}

/// How many messages stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting, or under way.
    pub n_waiting: u64,
    /// Taken or confirmed by the other side.
    pub n_delivered: u64,
    /// Given up.
    pub n_dead: u64,
    /// The oldest that waits.
    pub oldest_waiting: Option<Timestamp>,
}

/// A message to insert.
pub(super) struct NewRow<'a> {
    pub key: &'a str,
    pub destination: &'a str,
    pub event: &'a str,
    pub message: &'a Message,
    pub planned_at: Timestamp,
    /// Not before.
    pub due_at: Timestamp,
    /// As part of a digest.
    pub gather: bool,
    pub deadline: Timestamp,
}

/// An attempt that this process owns until its lease ends.
#[derive(Debug)]
pub(super) struct Claim {
    pub key: String,
    pub owner: String,
    /// The message, or why what is stored cannot be read.
    pub message: std::result::Result<Message, String>,
    pub n_attempts: u32,
    pub maybe_sent: bool,
    pub deadline: Timestamp,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    Done(Receipt),
    Retry {
        reason: String,
        ambiguous: bool,
        next_at: Timestamp,
        hold_until: Timestamp,
    },
    Dead {
        reason: String,
        ambiguous: bool,
    },
}

/// The tables.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) state: State,
}

impl Store {
    pub fn open(state: State) -> Result<Store> {
        state.migrate("outbox", STEPS)?;
        Ok(Store { state })
    }

    /// Whether the row is new. The limit counts what waits, not what was delivered.
    pub fn insert(
        &self,
        row: &NewRow<'_>,
        waiting_limit: u64,
    ) -> std::result::Result<bool, OutboxError> {
        let json = serde_json::to_string(row.message)?;
        let (n_inserted, full) = self.state.write("plan a message", |t| {
            let n_waiting: i64 = t
                .prepare("SELECT count(*) FROM outbox WHERE state IN ('planned', 'sending')")?
                .query_row([], |r| r.get(0))?;
            let known = t
                .prepare("SELECT 1 FROM outbox WHERE key = ?1")?
                .query_row([row.key], |_| Ok(()))
                .optional()?
                .is_some();
            if known || count(n_waiting) >= waiting_limit {
                return Ok((0, !known));
            }
            Ok((put(t, row, &json)?, false))
        })?;
        if full {
            return Err(OutboxError::Full {
                limit: waiting_limit,
            });
        }
        Ok(n_inserted == 1)
    }

    /// Takes the next message of a destination: one at a time over all processes, none while the destination is held.
    pub fn claim(
        &self,
        destination: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Option<Claim>> {
        // The right-hand sides see the row as it was: a row that is 'sending' here was left by an attempt that never ended.
        const SQL: &str = "
            UPDATE outbox SET
                maybe_sent = maybe_sent OR state = 'sending',
                state = 'sending',
                n_attempts = n_attempts + 1,
                owner = lower(hex(randomblob(16))),
                lease_until_ms = ?3
            WHERE id = (
                SELECT id FROM outbox
                WHERE destination = ?1 AND state IN ('planned', 'sending') AND gather = 0
                  AND CASE state WHEN 'planned' THEN next_at_ms ELSE lease_until_ms END <= ?2
                ORDER BY next_at_ms, id LIMIT 1)
              AND NOT EXISTS (SELECT 1 FROM outbox_hold WHERE destination = ?1 AND until_ms > ?2)
              AND NOT EXISTS (SELECT 1 FROM outbox
                              WHERE destination = ?1 AND state = 'sending' AND lease_until_ms > ?2)
            RETURNING key, owner, message, n_attempts, maybe_sent, deadline_ms";
        let times = (now.as_millisecond(), lease_until.as_millisecond());
        self.state.write("claim a message", |t| {
            t.prepare(SQL)?
                .query_row(params![destination, times.0, times.1], |row| {
                    Ok(Claim {
                        key: row.get(0)?,
                        owner: row.get(1)?,
                        message: read_message(row.get::<_, Option<String>>(2)?),
                        n_attempts: row.get(3)?,
                        maybe_sent: row.get(4)?,
                        deadline: timestamp(row.get(5)?),
                    })
                })
                .optional()
        })
    }

    /// Writes what came of an attempt; `false` if the attempt is no longer ours.
    pub fn record(&self, claim: &Claim, outcome: &Outcome, now: Timestamp) -> Result<bool> {
        let now_ms = now.as_millisecond();
        let n_changed = self.state.write("record a delivery", |t| match outcome {
            Outcome::Done(receipt) => {
                let state = match receipt.proof {
                    Proof::Accepted => EntryState::Sent,
                    Proof::Confirmed => EntryState::Confirmed,
                };
                let n = t.execute(
                    "UPDATE outbox SET state = ?3, finished_at_ms = ?4, remote_id = ?5, last_reply = ?6,
                            message = NULL, owner = NULL, lease_until_ms = NULL
                     WHERE key = ?1 AND owner = ?2",
                    params![claim.key, claim.owner, state.name(), now_ms, receipt.id, receipt.said.to_string()],
                )?;
                // It works again: what waited because of earlier failures need not wait on.
                t.execute(
                    "DELETE FROM outbox_hold WHERE destination = (SELECT destination FROM outbox WHERE key = ?1)",
                    [&claim.key],
                )?;
                Ok(n)
            }
            Outcome::Retry { reason, ambiguous, next_at, hold_until } => {
                let n = t.execute(
                    "UPDATE outbox SET state = 'planned', next_at_ms = ?3, maybe_sent = maybe_sent OR ?4, last_reply = ?5,
                            owner = NULL, lease_until_ms = NULL
                     WHERE key = ?1 AND owner = ?2",
                    params![claim.key, claim.owner, next_at.as_millisecond(), ambiguous, reason],
                )?;
                t.execute(
                    "INSERT INTO outbox_hold (destination, until_ms)
                     SELECT destination, ?2 FROM outbox WHERE key = ?1
                     ON CONFLICT (destination) DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)",
                    params![claim.key, hold_until.as_millisecond()],
                )?;
                Ok(n)
            }
            Outcome::Dead { reason, ambiguous } => t.execute(
                "UPDATE outbox SET state = 'dead', finished_at_ms = ?3, maybe_sent = maybe_sent OR ?4, last_reply = ?5,
                        owner = NULL, lease_until_ms = NULL
                 WHERE key = ?1 AND owner = ?2",
                params![claim.key, claim.owner, now_ms, ambiguous, reason],
            ),
        })?;
        Ok(n_changed == 1)
    }

    /// Gives up what waits past its deadline for a destination that no longer exists; key and destination of each.
    pub fn bury_orphans(
        &self,
        names: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Vec<(String, String)>> {
        let known = serde_json::json!(names).to_string();
        self.state
            .write("give up messages without a destination", |t| {
                t.prepare(
                    "UPDATE outbox SET state = 'dead', finished_at_ms = ?2,
                        last_reply = 'no destination of that name is configured any more'
                 WHERE state IN ('planned', 'sending') AND deadline_ms <= ?2
                   AND destination NOT IN (SELECT value FROM json_each(?1))
                 RETURNING key, destination",
                )?
                .query_map(params![known, now.as_millisecond()], |r| {
                    Ok((r.get(0)?, r.get(1)?))
                })?
                .collect()
            })
    }

    /// The earliest moment at which a message may become due.
    pub fn next_at(&self) -> Result<Option<Timestamp>> {
        self.state.read("look for waiting messages", |c| {
            let ms: Option<i64> = c
                .prepare(
                    "SELECT min(max(CASE o.state WHEN 'planned' THEN o.next_at_ms ELSE o.lease_until_ms END,
                                    coalesce(h.until_ms, 0)))
                     FROM outbox o LEFT JOIN outbox_hold h ON h.destination = o.destination
                     WHERE o.state IN ('planned', 'sending')",
                )?
                .query_row([], |r| r.get(0))?;
            Ok(ms.map(timestamp))
        })
    }

    /// The other side's name for the message of `event` about the same cause, service and destination as `key`.
    pub fn opening(&self, key: &str, event: &str) -> Result<Option<String>> {
        self.state.read("look for the beginning of an incident", |c| {
            c.prepare(
                "SELECT first.remote_id FROM outbox me JOIN outbox first
                 ON first.fingerprint = me.fingerprint AND first.service = me.service AND first.destination = me.destination
                 WHERE me.key = ?1 AND first.event = ?2 AND first.remote_id IS NOT NULL",
            )?
            .query_row(params![key, event], |r| r.get(0))
            .optional()
        })
    }

    pub fn list(&self, filter: &Filter) -> Result<Vec<Entry>> {
        let limit = if filter.limit == 0 {
            1000
        } else {
            filter.limit
        };
        self.state.read("list messages", |c| {
            c.prepare(
                "SELECT key, destination, service, fingerprint, event, title, state, planned_at_ms, next_at_ms,
                        finished_at_ms, n_attempts, maybe_sent, remote_id, last_reply
                 FROM outbox
                 WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR destination = ?2) AND (?3 IS NULL OR service = ?3)
                 ORDER BY id DESC LIMIT ?4",
            )?
            .query_map(
                params![filter.state.map(EntryState::name), filter.destination, filter.service, limit],
                read_entry,
            )?
            .collect()
        })
    }

    pub fn counts(&self) -> Result<Counts> {
        self.state.read("count messages", |c: &Connection| {
            c.prepare(
                "SELECT coalesce(sum(state IN ('planned', 'sending')), 0), coalesce(sum(state IN ('sent', 'confirmed')), 0),
                        coalesce(sum(state = 'dead'), 0),
                        min(CASE WHEN state IN ('planned', 'sending') THEN planned_at_ms END)
                 FROM outbox",
            )?
            .query_row([], read_counts)
        })
    }

    pub fn counts_by_destination(&self) -> Result<BTreeMap<String, Counts>> {
        self.state.read("count messages", |c: &Connection| {
            c.prepare(
                "SELECT coalesce(sum(state IN ('planned', 'sending')), 0), coalesce(sum(state IN ('sent', 'confirmed')), 0),
                        coalesce(sum(state = 'dead'), 0),
                        min(CASE WHEN state IN ('planned', 'sending') THEN planned_at_ms END), destination
                 FROM outbox GROUP BY destination",
            )?
            .query_map([], |r| Ok((r.get(4)?, read_counts(r)?)))?
            .collect()
        })
    }

    pub fn revive(
        &self,
        key_or_destination: &str,
        now: Timestamp,
        deadline: Timestamp,
    ) -> Result<usize> {
        self.state.write("revive dead letters", |t| {
            // Somebody asks because the cause is gone: no reason to wait for the end of an old pause.
            t.execute(
                "DELETE FROM outbox_hold WHERE destination IN
                    (SELECT destination FROM outbox WHERE state = 'dead' AND (key = ?1 OR destination = ?1))",
                [key_or_destination],
            )?;
            t.execute(
                "UPDATE outbox SET state = 'planned', next_at_ms = ?2, deadline_ms = ?3, finished_at_ms = NULL, n_attempts = 0
                 WHERE state = 'dead' AND message IS NOT NULL AND (key = ?1 OR destination = ?1)",
                params![key_or_destination, now.as_millisecond(), deadline.as_millisecond()],
            )
        })
    }

    pub fn prune(&self, before: Timestamp) -> Result<usize> {
        self.state.write("forget old messages", |t| {
            t.execute(
                "DELETE FROM outbox WHERE finished_at_ms < ?1",
                [before.as_millisecond()],
            )
        })
    }
}

pub(super) fn put(t: &Connection, row: &NewRow<'_>, json: &str) -> rusqlite::Result<usize> {
    t.execute(
        "INSERT INTO outbox (key, destination, service, fingerprint, event, title, state, message,
                             planned_at_ms, next_at_ms, deadline_ms, gather)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'planned', ?7, ?8, ?9, ?10, ?11)",
        params![
            row.key,
            row.destination,
            row.message.context.service,
            row.message.fingerprint(),
            row.event,
            row.message.title(),
            json,
            row.planned_at.as_millisecond(),
            row.due_at.as_millisecond(),
            row.deadline.as_millisecond(),
            row.gather,
        ],
    )
}

pub(super) fn read_message(json: Option<String>) -> std::result::Result<Message, String> {
    let json = json.ok_or("the stored message is gone")?;
    let message: Message = serde_json::from_str(&json)
        .map_err(|error| format!("the stored message cannot be read: {error}"))?;
    if message.schema > MESSAGE_SCHEMA {
        return Err(format!(
            "the stored message has version {}, this program knows up to {MESSAGE_SCHEMA}; use the newer leakhound",
            message.schema
        ));
    }
    Ok(message)
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let state = EntryState::named(&row.get::<_, String>(6)?);
    let waits = matches!(state, EntryState::Planned | EntryState::Sending);
    Ok(Entry {
        key: row.get(0)?,
        destination: row.get(1)?,
        service: row.get(2)?,
        fingerprint: row.get(3)?,
        event: row.get(4)?,
        title: row.get(5)?,
        state,
        planned_at: timestamp(row.get(7)?),
        next_at: waits.then_some(timestamp(row.get(8)?)),
        finished_at: row.get::<_, Option<i64>>(9)?.map(timestamp),
        n_attempts: row.get(10)?,
        maybe_sent: row.get(11)?,
        remote_id: row.get(12)?,
        last_reply: row.get(13)?,
    })
}

/// Times in the table are ours; one out of range is as late as can be.
fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

fn read_counts(row: &Row<'_>) -> rusqlite::Result<Counts> {
    Ok(Counts {
        n_waiting: count(row.get(0)?),
        n_delivered: count(row.get(1)?),
        n_dead: count(row.get(2)?),
        oldest_waiting: row.get::<_, Option<i64>>(3)?.map(timestamp),
    })
}

/// SQLite counts in signed numbers; a count is none below zero.
fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}
